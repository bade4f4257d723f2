"""What is known of a hub's request windows, kept across processes: a window outlives the program that is killed in it.

A row is one budget; moments are kept as seconds since 1970 and credentials as a hash that opens nothing. Writing does
not wait for the disk: what a power cut takes away is told again by the first reply of the window.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import ensure_dir
from ptmtorrent.errors import NoSpace, StoreError, UnsupportedFormat

VERSION = 1
LONGEST_SECONDS = 3600.0
"""A moment further away was kept by a clock that went wrong."""

_SCHEMA = """
CREATE TABLE window (
  host TEXT NOT NULL, kind TEXT NOT NULL, credential TEXT NOT NULL, quota INTEGER, seconds INTEGER, "left" INTEGER,
  ends_after REAL NOT NULL, ends REAL NOT NULL, closed_until REAL NOT NULL, PRIMARY KEY (host, kind, credential)
) WITHOUT ROWID;
"""


class Budget(NamedTuple):
    """What a hub counts together: the requests of one class to one host by one account (`credential_id`)."""

    host: str
    kind: str
    credential: str = ""


class Window(msgspec.Struct, kw_only=True):
    """What is known of the window that runs: `left` requests until a moment between `ends_after` and `ends`.

    `quota` requests are allowed in every window of `seconds`. Nothing is sent before `closed_until`. `silent` is a hub
    that answers and says nothing of limits. None is what no hub told; moments are of the caller's clock.
    """

    quota: int | None = None
    seconds: int | None = None
    left: int | None = None
    ends_after: float = 0.0
    ends: float = 0.0
    closed_until: float = 0.0
    silent: bool = False


class Windows(Protocol):
    """Where windows are kept. `now` is the moment that is called so by the caller's clock."""

    def read(self, budget: Budget, now: float, /) -> Window:
        """Return what was kept last of a budget, or a window of which nothing is known."""
        ...

    def write(self, budget: Budget, window: Window, now: float, /) -> None:
        """Keep a window, before anything is done that it counts."""
        ...

    def known(self) -> "Known":
        """Return all that are kept."""
        ...


Known = tuple[tuple[Budget, Window], ...]
"""Windows as they are kept and passed on: their moments are seconds since 1970."""


class NoWindows:
    """Keeps nothing."""

    def read(self, _budget: Budget, _now: float) -> Window:
        """Return a window of which nothing is known."""
        return Window()

    def write(self, _budget: Budget, _window: Window, _now: float) -> None:
        """Forget it."""

    def known(self) -> Known:
        """Return nothing."""
        return ()


class GivenWindows(NoWindows):
    """What another process knew: of what was left, each of `share` processes takes its part."""

    def __init__(self, known: Known, wall: Callable[[], float], share: int) -> None:
        self._known = dict(known)
        self._wall = wall
        self._share = share

    def read(self, budget: Budget, now: float) -> Window:
        """Return what was known of a budget, or a window of which nothing is."""
        kept = self._known.get(budget)
        if kept is None:
            return Window()
        window = _by_clock(kept, now, self._wall())
        window.left = None if kept.left is None else kept.left // self._share
        return window


class KeptWindows:
    """The windows in the file at `path`; safe in one thread at a time, whichever. `wall` gives seconds since 1970.

    Raises:
        StoreError: the file cannot be used.
        NoSpace: the disk is full.
        UnsupportedFormat: it was written by a newer version.
    """

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        self._path = path
        self._wall = wall
        ensure_dir(path.parent)
        with self._ours():
            self._base = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._base.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def read(self, budget: Budget, now: float) -> Window:
        """Return what was kept last of a budget, or a window of which nothing is known."""
        with self._ours():
            row = self._base.execute(
                'SELECT quota, seconds, "left", ends_after, ends, closed_until FROM window '
                "WHERE host = ? AND kind = ? AND credential = ?",
                budget,
            ).fetchone()
        return Window() if row is None else _by_clock(_kept(row), now, self._wall())

    def known(self) -> Known:
        """Return all windows, their moments in seconds since 1970."""
        with self._ours():
            rows = self._base.execute(
                'SELECT host, kind, credential, quota, seconds, "left", ends_after, ends, closed_until FROM window'
            ).fetchall()
        return tuple((Budget(*row[:3]), _kept(row[3:])) for row in rows)

    def write(self, budget: Budget, window: Window, now: float) -> None:
        """Keep a window: the system has it when this returns, whatever becomes of the process."""
        ahead = self._wall() - now
        moments = (window.ends_after + ahead, window.ends + ahead, window.closed_until + ahead)
        with self._ours():
            self._base.execute(
                "INSERT OR REPLACE INTO window VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*budget, window.quota, window.seconds, window.left, *moments),
            )

    def quotas(self) -> dict[Budget, tuple[int, int]]:
        """Return how many requests, in how many seconds, each budget allows that a hub told of."""
        with self._ours():
            rows = self._base.execute(
                "SELECT host, kind, credential, quota, seconds FROM window "
                "WHERE quota IS NOT NULL AND seconds IS NOT NULL"
            ).fetchall()
        return {Budget(host, kind, credential): (quota, seconds) for host, kind, credential, quota, seconds in rows}

    def _prepare(self) -> None:
        with self._ours():
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = OFF")
            [(version,)] = self._base.execute("PRAGMA user_version").fetchall()
        if version == VERSION:
            return
        if version:
            raise UnsupportedFormat(
                f"`{self._path}` has version {version}; this program reads version {VERSION}",
                hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
            )
        with self._ours():
            self._base.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")

    @contextmanager
    def _ours(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise NoSpace(f"the disk is full: `{self._path}` could not be written") from error
            raise StoreError(
                f"the request windows in `{self._path}` could not be used: {error}",
                hint="remove that file; hubs tell their limits again",
            ) from error


def _kept(row: Sequence[Any]) -> Window:
    quota, seconds, left, ends_after, ends, closed = row
    return Window(quota=quota, seconds=seconds, left=left, ends_after=ends_after, ends=ends, closed_until=closed)


def _by_clock(kept: Window, now: float, wall: float) -> Window:
    """Return a window whose moments are of the caller's clock, by which it is `now` when it is `wall`."""
    moments = (kept.ends_after, kept.ends, kept.closed_until)
    ends_after, ends, closed = (now + min(moment - wall, LONGEST_SECONDS) for moment in moments)
    return msgspec.structs.replace(kept, ends_after=ends_after, ends=ends, closed_until=closed)


def credential_id(authorization: str | None) -> str:
    """Return what stands for a credential where budgets are kept: empty for nobody's, else the start of a hash."""
    return blake3(authorization.encode()).hexdigest()[:16] if authorization else ""
