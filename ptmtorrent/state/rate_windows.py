"""Request windows of hubs, kept across processes: a window outlives a process that is killed in it.

A row is one budget; credentials are kept as a hash. Times are kept as seconds since 1970 by a clock that does not step
while the machine runs: the time since it booted, and what the wall clock showed when the windows were first used after
that. Only a reboot asks the wall clock again. Writes are not synced: the first reply of a window restores what a power
cut loses.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from blake3 import blake3

from ptmtorrent.disk.database import Database, InDatabase

VERSION = 1
LONGEST_SECONDS = 3600.0
"""A window that ends later than this was written under a wrong clock."""

SLACK_SECONDS = 2.0
"""A stored window may end this much later than its length from now: its end is known to a second, and rounded up."""

_SCHEMA = """
CREATE TABLE window (
  host TEXT NOT NULL, kind TEXT NOT NULL, credential TEXT NOT NULL, quota INTEGER, seconds INTEGER, "left" INTEGER,
  ends_after REAL NOT NULL, ends REAL NOT NULL, closed_until REAL NOT NULL, PRIMARY KEY (host, kind, credential)
) WITHOUT ROWID;
"""
_BOOTS = "CREATE TABLE IF NOT EXISTS boot (id TEXT PRIMARY KEY, ahead REAL NOT NULL)"
"""The boot that the times are of; `ahead` is what the time since it lacks to seconds since 1970."""

Uptime = Callable[[], tuple[str, float]]
"""Returns the id of this boot of this machine, and the seconds since; an empty id where the system does not say."""


def no_uptime() -> tuple[str, float]:
    """Return that the time since the machine booted is unknown."""
    return "", 0.0


class Budget(NamedTuple):
    """The requests that a hub counts together: of one class, to one host, by one account (`credential_id`)."""

    host: str
    kind: str
    credential: str = ""


class Window(msgspec.Struct, kw_only=True):
    """The current window: `left` requests until a time between `ends_after` and `ends`.

    `quota` requests are allowed in every window of `seconds`. Nothing is sent before `closed_until`. `silent` marks a
    hub whose replies state no limits. None is unknown; times are of the caller's clock.
    """

    quota: int | None = None
    seconds: int | None = None
    left: int | None = None
    ends_after: float = 0.0
    ends: float = 0.0
    closed_until: float = 0.0
    silent: bool = False


class Windows(Protocol):
    """Where windows are kept. `now` is the current time of the caller's clock."""

    def read(self, budget: Budget, now: float, /) -> Window:
        """Return the window of a budget, an unknown one when none is kept."""
        ...

    def write(self, budget: Budget, window: Window, now: float, /) -> None:
        """Keep a window. Called before a request that it counts is sent."""
        ...

    def known(self) -> "Known":
        """Return all windows that are kept."""
        ...


Known = tuple[tuple[Budget, Window], ...]
"""Windows as they are stored and passed between processes: times are seconds since 1970."""


class NoWindows:
    """Keeps nothing."""

    def read(self, _budget: Budget, _now: float) -> Window:
        """Return an unknown window."""
        return Window()

    def write(self, _budget: Budget, _window: Window, _now: float) -> None:
        """Discard the window."""

    def known(self) -> Known:
        """Return nothing."""
        return ()


class SharedWindows(NoWindows):
    """Windows known to another process; each of `share` processes takes an equal part of what is left."""

    def __init__(self, known: Known, wall: Callable[[], float], share: int) -> None:
        self._known = dict(known)
        self._wall = wall
        self._share = share

    def read(self, budget: Budget, now: float) -> Window:
        """Return the window of a budget with this process's share of what is left."""
        kept = self._known.get(budget)
        if kept is None:
            return Window()
        window = _by_clock(kept, now, self._wall())
        window.left = None if kept.left is None else kept.left // self._share
        return window


class StoredWindows(InDatabase):
    """The windows in the file at `path`. For one thread at a time.

    `wall` returns seconds since 1970; it may step, which matters across a reboot only if `uptime` is known.

    Raises:
        StoreError: the file cannot be used.
        NoSpace: the disk is full.
        UnsupportedFormat: it was written by a newer version.
    """

    def __init__(self, path: Path, wall: Callable[[], float], uptime: Uptime = no_uptime) -> None:
        self._wall = wall
        self._uptime = uptime
        self._rows = Database(
            path,
            name="the request windows",
            schema=_SCHEMA,
            version=VERSION,
            synchronous="OFF",
            hint="remove that file; the next replies of the hub fill it again",
            any_thread=True,
            copied=True,
        )
        try:
            self._ahead = self._read_ahead()
        except BaseException:
            self._rows.close()
            raise

    def read(self, budget: Budget, now: float) -> Window:
        """Return the window of a budget, an unknown one when none is kept."""
        row = self._rows.first(
            'SELECT quota, seconds, "left", ends_after, ends, closed_until FROM window '
            "WHERE host = ? AND kind = ? AND credential = ?",
            *budget,
        )
        return Window() if row is None else _by_clock(_kept(row), now, self._steady())

    def known(self) -> Known:
        """Return all windows, with times in seconds since 1970 by the wall clock."""
        rows = self._rows.all(
            'SELECT host, kind, credential, quota, seconds, "left", ends_after, ends, closed_until FROM window'
        )
        wall, steady = self._wall(), self._steady()
        return tuple((Budget(*row[:3]), _by_clock(_kept(row[3:]), wall, steady)) for row in rows)

    def write(self, budget: Budget, window: Window, now: float) -> None:
        """Keep a window. It survives the end of the process, not a power cut.

        A time that has passed is kept as 0, so that it has passed for any clock.
        """
        ahead = self._steady() - now
        moments = (
            moment + ahead if moment > now else 0.0 for moment in (window.ends_after, window.ends, window.closed_until)
        )
        row = (*budget, window.quota, window.seconds, window.left, *moments)
        self._rows.run("INSERT OR REPLACE INTO window VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)

    def _steady(self) -> float:
        """Return seconds since 1970 by the clock that the stored times are of."""
        return self._wall() if self._ahead is None else self._uptime()[1] + self._ahead

    def _read_ahead(self) -> float | None:
        boot, seconds = self._uptime()
        if not boot:
            return None
        self._rows.run(_BOOTS)
        with self._rows.transaction():
            row = self._rows.first("SELECT ahead FROM boot WHERE id = ?", boot)
            if row is not None:
                return float(row[0])
            ahead = self._wall() - seconds
            self._rows.run("DELETE FROM boot")
            self._rows.run("INSERT INTO boot VALUES (?, ?)", boot, ahead)
        return ahead

    def quotas(self) -> dict[Budget, tuple[int, int]]:
        """Return the quota and the seconds of each budget whose limits are known."""
        rows = self._rows.all(
            "SELECT host, kind, credential, quota, seconds FROM window WHERE quota IS NOT NULL AND seconds IS NOT NULL"
        )
        return {Budget(host, kind, credential): (quota, seconds) for host, kind, credential, quota, seconds in rows}


def _kept(row: Sequence[Any]) -> Window:
    quota, seconds, left, ends_after, ends, closed = row
    return Window(quota=quota, seconds=seconds, left=left, ends_after=ends_after, ends=ends, closed_until=closed)


def _by_clock(kept: Window, now: float, wall: float) -> Window:
    """Convert times from seconds since 1970 to the caller's clock, which shows `now` when it is `wall`.

    No window ends later than its length from now, whatever the clocks say.
    """
    longest = LONGEST_SECONDS if kept.seconds is None else min(LONGEST_SECONDS, kept.seconds + SLACK_SECONDS)
    ends_after, ends = (now + min(moment - wall, longest) for moment in (kept.ends_after, kept.ends))
    closed = now + min(kept.closed_until - wall, LONGEST_SECONDS)
    return msgspec.structs.replace(kept, ends_after=ends_after, ends=ends, closed_until=closed)


def credential_id(authorization: str | None) -> str:
    """Return the stored form of a credential: the start of a hash, empty for none."""
    return blake3(authorization.encode()).hexdigest()[:16] if authorization else ""
