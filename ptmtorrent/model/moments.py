"""The two clocks, and instants as formats spell them: UTC, to the second, `2026-11-20T12:00:00Z`.

Neither says which of two things is newer: a number kept with them does.

An instant that is written down, or compared with one that was, comes from a `Clock`. A duration within one process
(seconds of a summary, progress, intervals, deadlines) comes from a `Monotonic`: the wall clock may step back.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ptmtorrent.model.records import Note

Clock = Callable[[], datetime]
"""Returns the current instant, in UTC. A parameter, so that tests and archives are independent of the machine's."""

Monotonic = Callable[[], float]
"""Returns seconds that never decrease, counted from an arbitrary start, as `time.monotonic` does."""

SKEW = timedelta(minutes=1)
"""How far apart the clocks of two machines may be before it is worth a warning."""


def spell(moment: datetime) -> str:
    """Return `moment` as formats spell it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_clock() -> datetime:
    """Return the time of the machine, in UTC."""
    return datetime.now(UTC)


def behind_note(now: datetime, seen: str | None, what: str) -> Note | None:
    """Return a warning if the clock shows `now`, before `what` has the time `seen`; None if the clock may be right.

    A `seen` that is not an instant is ignored.
    """
    try:
        is_behind = seen is not None and datetime.fromisoformat(seen) - now > SKEW
    except (TypeError, ValueError, OverflowError):
        return None
    if not is_behind:
        return None
    message = (
        f"The clock of this machine shows {spell(now)}, but {what} has the time {seen}: check the clock (`date -u`)"
    )
    return Note(message=message, warning=True)
