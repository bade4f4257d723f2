"""The two clocks, and instants as formats spell them: UTC, to the second, `2026-11-20T12:00:00Z`.

An instant that is written down, or compared with one that was, comes from a `Clock`. A duration within one process
(seconds of a summary, progress, intervals, deadlines) comes from a `Monotonic`: the wall clock may step back.
"""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current instant, in UTC. A parameter, so that tests and archives are independent of the machine's."""

Monotonic = Callable[[], float]
"""Returns seconds that never decrease, counted from an arbitrary start, as `time.monotonic` does."""


def spell(moment: datetime) -> str:
    """Return `moment` as formats spell it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_clock() -> datetime:
    """Return the time of the machine, in UTC."""
    return datetime.now(UTC)
