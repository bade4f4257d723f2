"""Progress: a meter counts bytes and packages from many threads and reports how far a run is, a few times a second."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.records import Emit, Progress

EVERY_SECONDS = 0.2
WINDOW_SECONDS = 8.0
"""The rate is that of the last eight seconds: long enough to be calm, short enough to be true."""


@dataclass(frozen=True)
class Reading:
    """One reading of a meter. Rate and ETA are None until they can be estimated."""

    bytes: int
    bytes_total: int | None
    packages: int
    packages_total: int | None
    bytes_per_second: float | None
    eta_seconds: float | None


@dataclass
class Meter:
    """A thread-safe counter that reports through `report`, at most every 0.2 seconds of `monotonic`."""

    report: Callable[[Reading], None]
    monotonic: Monotonic
    bytes_total: int | None = None
    packages_total: int | None = None
    bytes: int = 0
    packages: int = 0
    _samples: list[tuple[float, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *, bytes: int = 0, packages: int = 0) -> None:  # noqa: A002  # the unit is the name
        """Count; report if the last report is 0.2 seconds old."""
        with self._lock:
            self.bytes += bytes
            self.packages += packages
            now = self.monotonic()
            if self._samples and 0 <= now - self._samples[-1][0] < EVERY_SECONDS:
                return
            self._samples.append((now, self.bytes))
            self._samples = [sample for sample in self._samples if 0 <= now - sample[0] <= WINDOW_SECONDS]
            reading = self._read()
        self.report(reading)

    def finish(self) -> None:
        """Report once more, regardless of the time."""
        with self._lock:
            reading = self._read()
        self.report(reading)

    def _read(self) -> Reading:
        rate = self._rate()
        left = None if self.bytes_total is None else max(0, self.bytes_total - self.bytes)
        eta = left / rate if rate and left is not None else None
        return Reading(self.bytes, self.bytes_total, self.packages, self.packages_total, rate, eta)

    def _rate(self) -> float | None:
        if len(self._samples) < 2:
            return None
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else None


def new_meter(
    step: str,
    emit: Emit,
    monotonic: Monotonic,
    *,
    bytes_total: int | None = None,
    packages_total: int | None = None,
) -> Meter:
    """Return a meter that emits `Progress` records of `step`."""

    def report(reading: Reading) -> None:
        emit(Progress(step=step, **vars(reading)))

    return Meter(report, monotonic, bytes_total=bytes_total, packages_total=packages_total)
