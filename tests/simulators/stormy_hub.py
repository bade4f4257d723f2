"""The sample hub in bad weather: refusals in between, connections that are cut, and a count of what it should not see.

Every so-manieth request is refused with 429 though the quota has room, by turns with `Retry-After` in seconds, with a
date, and without; others get no reply at all, and bodies break off anywhere. All of it is drawn from a seed.
"""

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from ptmtorrent.demo.hub.exchange import Request, Response, refusal
from ptmtorrent.demo.hub.faults import Meter, Quota
from ptmtorrent.demo.hub.origin import Origin
from ptmtorrent.demo.package import Package
from ptmtorrent.demo.sample_hub import SampleHub


class StormyHub(SampleHub):
    """A sample hub that refuses one request in `storm`, leaves one in `silence` alone, and cuts one body in `cuts`.

    `over_quota` counts the requests sent above the quota of any window, `refused` and `cut` what the weather did.
    """

    def __init__(  # each is one thing a test turns
        self,
        packages: Iterable[Package],
        quota: Quota,
        *,
        seed: int,
        monotonic: Callable[[], float],
        storm: int = 8,
        silence: int = 40,
        cuts: int = 4,
    ) -> None:
        self._seed, self._cuts = seed, cuts
        super().__init__(packages, quota=quota, monotonic=monotonic)
        self._counting = _CountingMeter(quota, monotonic)
        self._meter = self._counting
        self._draw = random.Random(seed)
        self._draw_lock = threading.Lock()
        self._storm, self._silence = storm, silence
        self.refused = 0

    @property
    def over_quota(self) -> int:
        """How many requests came when the quota of their window was spent."""
        return self._counting.over

    @property
    def fullest(self) -> float:
        """The largest part of its quota that a window has seen."""
        return self._counting.fullest

    @property
    def cut(self) -> int:
        """How many bodies were cut off."""
        return self._cutting.done

    def _open_lfs(self, address: tuple[str, int], drop: int | None) -> Origin:
        self._cutting = _CuttingOrigin("lfs", self._answer_lfs, self.log, address, drop)
        self._cutting.draw_from(self._seed, self._cuts)
        return self._cutting

    def _answer(self, request: Request) -> Response:
        response = super()._answer(request)
        with self._draw_lock:
            storm, silence = self._draw.randrange(self._storm) == 0, self._draw.randrange(self._silence) == 0
            kind = self._draw.randrange(3)
            self.refused += storm and response.status != 429
        if silence:
            raise ConnectionAbortedError
        if not storm or response.status == 429:
            return response
        # A date has whole seconds: one that is a second away may be over by now.
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
        wait = ({"Retry-After": "1"}, {"Retry-After": date}, {})[kind]
        told = {name: value for name, value in response.headers.items() if name.startswith("RateLimit")}
        return refusal(429, "", "The hub is overloaded.", {**told, **wait})


class _CountingMeter(Meter):
    def __init__(self, quota: Quota, monotonic: Callable[[], float]) -> None:
        super().__init__(quota, monotonic)
        self.over = 0
        self.fullest = 0.0

    def admit(self, kind: str, token: str | None) -> tuple[Mapping[str, str], Response | None]:
        headers, refused = super().admit(kind, token)
        allowed = (self._quota.api if kind == "api" else self._quota.resolvers) or 1
        with self._lock:
            self.over += refused is not None
            self.fullest = max(
                self.fullest, *(count / allowed for key, count in self._counts.items() if key[0] == kind)
            )
        return headers, refused


class _CuttingOrigin(Origin):
    done = 0

    def draw_from(self, seed: int, cuts: int) -> None:
        self._draw = random.Random(seed)
        self._cuts = cuts

    def cut_at(self, etag: str, size: int) -> int | None:  # noqa: ARG002  # its own turn for every body
        """Cut one body in so many, at a random byte."""
        with self._lock:
            if size < 2 or self._draw.randrange(self._cuts):
                return None
            self.done += 1
            return self._draw.randrange(size)
