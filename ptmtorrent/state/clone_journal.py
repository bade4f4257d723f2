"""The journal of clones: what a run has listed, planned, done and yet to do.

A run is one hub, one request and one frozen listing. Its packages are worked by rank, the popular first, and go
through ::

    listed ─► todo ─► leased ─► done | notneeded | error | impossible        (or `left`, when the request has a limit)

Claiming is one statement, so several processes may share a journal; a lease that was not renewed can be claimed again.
The journal is not the truth about what is kept, the store is: a row is settled after the store has committed.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from ptmtorrent.disk.durable import ensure_dir
from ptmtorrent.errors import NoSpace, StoreError, UnsupportedFormat

VERSION = 1
LEASE_SECONDS = 600
RunState = Literal["listing", "planning", "working", "finished"]
WorkState = Literal["listed", "todo", "leased", "done", "notneeded", "error", "impossible", "left"]

_SCHEMA = """
CREATE TABLE run (
  id INTEGER PRIMARY KEY, hub TEXT NOT NULL, request TEXT NOT NULL, listed TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'listing', cursor TEXT, requests INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE work (
  run INTEGER NOT NULL REFERENCES run, name TEXT NOT NULL, rank INTEGER, downloads INTEGER, listed BLOB NOT NULL,
  plan BLOB, files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'listed',
  reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, owner TEXT, lease REAL,
  UNIQUE (run, name)
);
CREATE INDEX work_order ON work (run, rank);
CREATE INDEX work_waiting ON work (run, rank) WHERE state IN ('todo', 'leased');
"""
_WORK = "name, rank, downloads, listed, plan, files, bytes, state, reason, attempts"
_CLAIM = """
UPDATE work SET state = 'leased', owner = :owner, lease = :until, attempts = attempts + 1 WHERE rowid IN (
  SELECT rowid FROM work
  WHERE run = :run AND state IN ('todo', 'leased') AND (state = 'todo' OR lease < :now) ORDER BY rank LIMIT :count
) RETURNING name, rank, downloads, listed, plan, files, bytes, state, reason, attempts
"""
_RANK = """
UPDATE work SET rank = ordered.rank FROM (
  SELECT rowid AS id, row_number() OVER (ORDER BY downloads DESC NULLS LAST, name) AS rank FROM work WHERE run = :run
) AS ordered WHERE work.rowid = ordered.id
"""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run: `listed` is the moment of its listing, `cursor` where the listing goes on, `requests` what it has cost."""

    id: int
    hub: str
    request: str
    listed: str
    state: RunState
    cursor: str | None
    requests: int


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A package of a run. `listed` and `plan` are the workflow's own bytes; `rank` counts from 1 in working order."""

    name: str
    rank: int | None
    downloads: int | None
    listed: bytes
    plan: bytes | None
    files: int
    bytes: int
    state: WorkState
    reason: str
    attempts: int


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many packages of a run are in a state, with how many files and bytes."""

    packages: int = 0
    files: int = 0
    bytes: int = 0


class Journal:
    """The journal at `path`, or one in memory for None; everything it says is durable when a method returns.

    Raises:
        StoreError: it cannot be read or written.
        NoSpace: the disk is full.
        UnsupportedFormat: written by a newer version.
    """

    def __init__(self, path: Path | None) -> None:
        self._name = "the journal in memory" if path is None else f"the journal `{path}`"
        if path is not None:
            ensure_dir(path.parent)
        with self._ours():
            self._base = sqlite3.connect(":memory:" if path is None else path, timeout=30, isolation_level=None)
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

    def unfinished(self, hub: str, request: str) -> Run | None:
        """Return the newest run for the same hub and request that is not finished."""
        rows = self._all(
            "SELECT id, hub, request, listed, state, cursor, requests FROM run "
            "WHERE hub = ? AND request = ? AND state <> 'finished' ORDER BY id DESC LIMIT 1",
            (hub, request),
        )
        return next((_row(row, Run) for row in rows), None)

    def runs(self) -> list[Run]:
        """Return the runs that are not finished, the oldest first."""
        rows = self._all(
            "SELECT id, hub, request, listed, state, cursor, requests FROM run WHERE state <> 'finished' ORDER BY id",
            (),
        )
        return [_row(row, Run) for row in rows]

    def start(self, hub: str, request: str, listed: str) -> Run:
        """Begin a run, listed at the moment `listed`."""
        with self._transaction():
            cursor = self._base.execute(
                "INSERT INTO run (hub, request, listed) VALUES (?, ?, ?)", (hub, request, listed)
            )
        return Run(
            id=cursor.lastrowid or 0, hub=hub, request=request, listed=listed, state="listing", cursor=None, requests=0
        )

    def add_page(self, run: int, page: Sequence[tuple[str, int | None, bytes]], cursor: str | None) -> None:
        """Add a page of the listing, `(name, downloads, record)` each, and where the listing goes on, as one.

        A package that shifted onto a second page while the listing was read is kept once.
        """
        with self._transaction():
            self._base.executemany(
                "INSERT OR IGNORE INTO work (run, name, downloads, listed) VALUES (?, ?, ?, ?)",
                [(run, *row) for row in page],
            )
            self._base.execute("UPDATE run SET cursor = ?, requests = requests + 1 WHERE id = ?", (cursor, run))

    def rank(self, run: int, limit: int | None) -> None:
        """Number the packages, most downloads first, then by name; forget those beyond `limit`."""
        with self._transaction():
            self._base.execute(_RANK, {"run": run})
            if limit is not None:
                self._base.execute("DELETE FROM work WHERE run = ? AND rank > ?", (run, limit))

    def has(self, run: int, name: str) -> bool:
        """Tell whether a package was listed."""
        return bool(self._all("SELECT 1 FROM work WHERE run = ? AND name = ?", (run, name)))

    def listing(self, run: int) -> Iterator[bytes]:
        """Yield what was listed, before it is ranked, by name."""
        for (listed,) in self._all("SELECT listed FROM work WHERE run = ? ORDER BY name", (run,)):
            yield listed

    def missing(self, run: Run, least_downloads: int = 0) -> list[str]:
        """Return the packages that earlier runs on the same hub have captured and that this one did not list, by name.

        Those that had fewer downloads than `least_downloads` when they were captured are not among them.
        """
        rows = self._all(
            "SELECT DISTINCT work.name FROM work JOIN run ON run.id = work.run "
            "WHERE run.hub = ?1 AND run.id < ?2 AND work.state IN ('done', 'notneeded') "
            "AND coalesce(work.downloads, 0) >= ?3 "
            "AND NOT EXISTS (SELECT 1 FROM work AS now WHERE now.run = ?2 AND now.name = work.name) ORDER BY 1",
            (run.hub, run.id, least_downloads),
        )
        return [name for (name,) in rows]

    def set_state(self, run: int, state: RunState) -> None:
        """Move the run on."""
        with self._transaction():
            self._base.execute("UPDATE run SET state = ? WHERE id = ?", (state, run))

    def works(self, run: int, states: Sequence[WorkState] = ()) -> Iterator[Work]:
        """Yield the packages of a run in working order; of these `states` only, when any are named.

        Rows may be changed while this is read: it reads a few at a time, by rank.
        """
        marks = f"AND state IN ({', '.join('?' * len(states))})" if states else ""
        after = 0
        while rows := self._all(
            f"SELECT {_WORK} FROM work WHERE run = ? AND rank > ? {marks} ORDER BY rank LIMIT 64",  # noqa: S608  # marks only
            (run, after, *states),
        ):
            for row in rows:
                work = _row(row, Work)
                after = work.rank or after
                yield work

    def keep_plan(self, run: int, name: str, plan: bytes, *, files: int, size: int, requests: int) -> None:  # noqa: PLR0913  # a row
        """Keep what the hub said, in so many requests, of a listed package's files: it is to do now."""
        with self._transaction():
            self._base.execute(
                "UPDATE work SET state = 'todo', plan = ?, files = ?, bytes = ? WHERE run = ? AND name = ?",
                (plan, files, size, run, name),
            )
            self._base.execute("UPDATE run SET requests = requests + ? WHERE id = ?", (requests, run))

    def leave_after(self, run: int, rank: int) -> int:
        """Leave the packages from `rank` on out of the run; return how many those are."""
        with self._transaction():
            cursor = self._base.execute(
                "UPDATE work SET state = 'left', plan = NULL "
                "WHERE run = ? AND rank >= ? AND state IN ('listed', 'todo')",
                (run, rank),
            )
        return cursor.rowcount

    def move(self, run: int, ranks: Mapping[str, int]) -> None:
        """Give packages, by name, new ranks, which must be those of the same packages in another order."""
        with self._transaction():
            self._base.executemany(
                "UPDATE work SET rank = ? WHERE run = ? AND name = ?",
                [(rank, run, name) for name, rank in ranks.items()],
            )

    def claim(self, run: int, owner: str, now: float) -> Work | None:
        """Lease the first package that is to do, or whose lease ran out, to `owner`; None when there is none.

        `now` is in seconds; the lease ends ten minutes later unless `renew` is called.
        """
        return next(iter(self.claim_many(run, owner, now, 1)), None)

    def claim_many(self, run: int, owner: str, now: float, count: int) -> list[Work]:
        """Lease up to `count` packages at once, as `claim`, in working order: one wait for the disk for all of them."""
        values = {"run": run, "owner": owner, "now": now, "until": now + LEASE_SECONDS, "count": count}
        with self._transaction():
            rows = self._base.execute(_CLAIM, values).fetchall()
        return sorted((_row(row, Work) for row in rows), key=lambda work: work.rank or 0)

    def renew(self, run: int, owner: str, now: float) -> None:
        """Put off the end of all leases of `owner`."""
        with self._transaction():
            self._base.execute(
                "UPDATE work SET lease = ? WHERE run = ? AND owner = ? AND state = 'leased'",
                (now + LEASE_SECONDS, run, owner),
            )

    def release(self, run: int) -> None:
        """Take back all leases: for the one process that holds the lock of the spool."""
        with self._transaction():
            self._base.execute(
                "UPDATE work SET state = 'todo', owner = NULL WHERE run = ? AND state = 'leased'", (run,)
            )

    def settle(self, run: int, name: str, state: WorkState, reason: str = "") -> None:
        """Say what became of a package. Its plan is no longer kept."""
        self.settle_many(run, [(name, state, reason)])

    def settle_many(self, run: int, outcomes: Sequence[tuple[str, WorkState, str]]) -> None:
        """Say at once what became of several packages: `(name, state, reason)` each."""
        with self._transaction():
            self._base.executemany(
                "UPDATE work SET state = ?, reason = ?, owner = NULL, plan = NULL WHERE run = ? AND name = ?",
                [(state, reason, run, name) for name, state, reason in outcomes],
            )

    def tally(self, run: int, *states: WorkState) -> Tally:
        """Count the packages of a run that are in one of `states`."""
        marks = ", ".join("?" * len(states))
        [row] = self._all(
            f"SELECT count(*), total(files), total(bytes) FROM work "  # noqa: S608  # marks only
            f"WHERE run = ? AND state IN ({marks})",
            (run, *states),
        )
        return Tally(packages=row[0], files=int(row[1]), bytes=int(row[2]))

    def requests(self, run: int) -> int:
        """Return how many requests listing and planning have cost."""
        [row] = self._all("SELECT requests FROM run WHERE id = ?", (run,))
        return int(row[0])

    def _prepare(self) -> None:
        with self._ours():
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
        [(version,)] = self._all("PRAGMA user_version", ())
        if version == VERSION:
            return
        if version:
            raise UnsupportedFormat(
                f"{self._name} has version {version}; this program reads version {VERSION}",
                hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
            )
        with self._ours():
            self._base.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")

    def _all(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._ours():
            return self._base.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._ours():
            self._base.execute("BEGIN IMMEDIATE")
            with self._base:
                yield

    @contextmanager
    def _ours(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise NoSpace(f"the disk is full: {self._name} could not be written") from error
            raise StoreError(f"{self._name} could not be used: {error}") from error


R = TypeVar("R", bound=msgspec.Struct)


def _row(row: Sequence[Any], kind: type[R]) -> R:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))
