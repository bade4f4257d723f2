"""Moments as formats spell them: UTC, to the second, `2026-11-20T12:00:00Z`."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the time now, in UTC. Passed in, so that tests and archives need not believe the machine's."""


def spell(moment: datetime) -> str:
    """Spell `moment` the one way formats do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_clock() -> datetime:
    """Return the machine's time, in UTC."""
    return datetime.now(UTC)
