"""Progress as events: a meter whose readings a workflow emits."""

from collections.abc import Callable

from ptmtorrent.model.records import Emit, Progress
from ptmtorrent.progress import Meter, Reading


def new_meter(
    step: str,
    emit: Emit,
    monotonic: Callable[[], float],
    *,
    bytes_total: int | None = None,
    packages_total: int | None = None,
) -> Meter:
    """Return a meter that emits `Progress` of `step`, a few times a second of `monotonic`."""

    def report(reading: Reading) -> None:
        emit(Progress(step=step, **vars(reading)))

    return Meter(report, monotonic, bytes_total=bytes_total, packages_total=packages_total)
