"""The clone journal: what each run has listed, planned and done, and what remains to do.

A run is one hub, one request and one frozen listing. Its packages are processed by rank, popular ones first, and go
through ::

    listed ─► todo ─► leased ─► done | notneeded | error | impossible        (or `left`, when the request has a limit)

Claiming is one statement, so several processes may share a journal; an expired lease can be claimed again. A lease is a
number that its owner changes when it claims and renews: it has expired for a process that saw the same number for ten
minutes by its own monotonic clock. No wall clock is asked, and nothing expires for its own owner.
The store, not the journal, is the truth about what is captured: a row is settled after the store has committed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from ptmtorrent.disk.database import Database

VERSION = 1
LEASE_SECONDS = 600
COMMIT_BYTES = 64 << 20
"""Stored bytes after which a clone commits the store and settles its packages."""
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
UPDATE work SET state = 'leased', owner = ?1, lease = ?2, attempts = attempts + 1 WHERE rowid IN (
  SELECT rowid FROM work
  WHERE run = ?3 AND state IN ('todo', 'leased') AND (state = 'todo' OR owner IN (SELECT value FROM json_each(?4)))
  ORDER BY rank LIMIT ?5
) RETURNING name, rank, downloads, listed, plan, files, bytes, state, reason, attempts
"""
_RANK = """
UPDATE work SET rank = ordered.rank FROM (
  SELECT rowid AS id, row_number() OVER (ORDER BY downloads DESC NULLS LAST, name) AS rank FROM work WHERE run = ?1
) AS ordered WHERE work.rowid = ordered.id
"""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run: `listed` is the time of its listing, `cursor` where the listing continues, `requests` the number sent."""

    id: int
    hub: str
    request: str
    listed: str
    state: RunState
    cursor: str | None
    requests: int


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A package of a run. `listed` and `plan` are opaque bytes of the workflow; `rank` counts from 1."""

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
    """Number of packages of a run in given states, and of their files and bytes."""

    packages: int = 0
    files: int = 0
    bytes: int = 0


class Journal:
    """The journal at `path`, in memory for None. Changes are durable when a method returns.

    Raises:
        StoreError: it cannot be read or written.
        NoSpace: the disk is full.
        UnsupportedFormat: written by a newer version.
    """

    def __init__(self, path: Path | None) -> None:
        self._base = Database(path, name="the journal", schema=_SCHEMA, version=VERSION)
        self._beats = 0
        self._seen: dict[tuple[int, str], tuple[float, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def unfinished(self, hub: str, request: str) -> Run | None:
        """Return the newest run for the same hub and request that is not finished."""
        rows = self._base.all(
            "SELECT id, hub, request, listed, state, cursor, requests FROM run "
            "WHERE hub = ? AND request = ? AND state <> 'finished' ORDER BY id DESC LIMIT 1",
            hub,
            request,
        )
        return next((_row(row, Run) for row in rows), None)

    def runs(self) -> list[Run]:
        """Return the runs that are not finished, the oldest first."""
        rows = self._base.all(
            "SELECT id, hub, request, listed, state, cursor, requests FROM run WHERE state <> 'finished' ORDER BY id",
        )
        return [_row(row, Run) for row in rows]

    def start(self, hub: str, request: str, listed: str) -> Run:
        """Start a run whose listing was made at the time `listed`."""
        with self._base.transaction():
            cursor = self._base.run("INSERT INTO run (hub, request, listed) VALUES (?, ?, ?)", hub, request, listed)
        return Run(
            id=cursor.lastrowid or 0, hub=hub, request=request, listed=listed, state="listing", cursor=None, requests=0
        )

    def add_page(self, run: int, page: Sequence[tuple[str, int | None, bytes]], cursor: str | None) -> None:
        """Add a page of the listing, rows of `(name, downloads, record)`, and where the listing continues, atomically.

        A package that moved to a second page while the listing was read is kept once.
        """
        with self._base.transaction():
            self._base.run_many(
                "INSERT OR IGNORE INTO work (run, name, downloads, listed) VALUES (?, ?, ?, ?)",
                [(run, *row) for row in page],
            )
            self._base.run("UPDATE run SET cursor = ?, requests = requests + 1 WHERE id = ?", cursor, run)

    def rank(self, run: int, limit: int | None) -> None:
        """Rank the packages, most downloads first, then by name; delete those beyond `limit`."""
        with self._base.transaction():
            self._base.run(_RANK, run)
            if limit is not None:
                self._base.run("DELETE FROM work WHERE run = ? AND rank > ?", run, limit)

    def missing(self, run: Run, min_downloads: int = 0) -> list[str]:
        """Return the packages that earlier runs captured from the hub and this one did not list, by name.

        Packages with fewer downloads than `min_downloads` at their capture are left out.
        """
        rows = self._base.all(
            "SELECT DISTINCT work.name FROM work JOIN run ON run.id = work.run "
            "WHERE run.hub = ?1 AND run.id < ?2 AND work.state IN ('done', 'notneeded') "
            "AND coalesce(work.downloads, 0) >= ?3 "
            "AND NOT EXISTS (SELECT 1 FROM work AS now WHERE now.run = ?2 AND now.name = work.name) ORDER BY 1",
            run.hub,
            run.id,
            min_downloads,
        )
        return [name for (name,) in rows]

    def set_state(self, run: int, state: RunState) -> None:
        """Set the state of the run."""
        with self._base.transaction():
            self._base.run("UPDATE run SET state = ? WHERE id = ?", state, run)

    def works(self, run: int, states: Sequence[WorkState] = ()) -> Iterator[Work]:
        """Yield the packages of a run by rank; with `states`, only those in one of them.

        Rows may change meanwhile: a few are read at a time, by rank.
        """
        marks = f"AND state IN ({', '.join('?' * len(states))})" if states else ""
        after = 0
        while rows := self._base.all(
            f"SELECT {_WORK} FROM work WHERE run = ? AND rank > ? {marks} ORDER BY rank LIMIT 64",  # noqa: S608  # marks only
            run,
            after,
            *states,
        ):
            for row in rows:
                work = _row(row, Work)
                after = work.rank or after
                yield work

    def keep_plan(self, run: int, name: str, plan: bytes, *, files: int, size: int, requests: int) -> None:  # noqa: PLR0913  # a row
        """Keep the plan of a listed package and count the requests it took; the package is then to do."""
        with self._base.transaction():
            self._base.run(
                "UPDATE work SET state = 'todo', plan = ?, files = ?, bytes = ? WHERE run = ? AND name = ?",
                plan,
                files,
                size,
                run,
                name,
            )
            self._base.run("UPDATE run SET requests = requests + ? WHERE id = ?", requests, run)

    def leave_after(self, run: int, rank: int) -> int:
        """Leave the packages from `rank` on out of the run; return their number."""
        with self._base.transaction():
            cursor = self._base.run(
                "UPDATE work SET state = 'left', plan = NULL "
                "WHERE run = ? AND rank >= ? AND state IN ('listed', 'todo')",
                run,
                rank,
            )
        return cursor.rowcount

    def move(self, run: int, ranks: Mapping[str, int]) -> None:
        """Set the ranks of packages by name: a permutation of the ranks that they have."""
        with self._base.transaction():
            self._base.run_many(
                "UPDATE work SET rank = ? WHERE run = ? AND name = ?",
                [(rank, run, name) for name, rank in ranks.items()],
            )

    def claim(self, run: int, owner: str, now: float) -> Work | None:
        """Lease the first package to do, or whose lease expired, to `owner`; None if no package remains.

        `now` is in seconds of a monotonic clock; the lease ends ten minutes later unless `renew` is called.
        """
        return next(iter(self.claim_many(run, owner, now, 1)), None)

    def claim_many(self, run: int, owner: str, now: float, count: int) -> list[Work]:
        """Lease up to `count` packages as `claim` does, by rank, with one sync for all of them."""
        with self._base.transaction():
            beat = self._beat(run, owner, now)
            rows = self._base.all(_CLAIM, owner, beat, run, "[]", count)
            if not rows and (expired := self._expired(run, owner, now)):
                rows = self._base.all(_CLAIM, owner, beat, run, msgspec.json.encode(expired).decode(), count)
        return sorted((_row(row, Work) for row in rows), key=lambda work: work.rank or 0)

    def renew(self, run: int, owner: str, now: float) -> None:
        """Extend all leases of `owner`; `now` is as for `claim`."""
        with self._base.transaction():
            self._base.run(
                "UPDATE work SET lease = ? WHERE run = ? AND owner = ? AND state = 'leased'",
                self._beat(run, owner, now),
                run,
                owner,
            )

    def _beat(self, run: int, owner: str, now: float) -> int:
        """Return the next number for the leases of `owner`, who is alive `now`."""
        self._beats += 1
        self._seen[run, owner] = (self._beats, now)
        return self._beats

    def _expired(self, run: int, owner: str, now: float) -> list[str]:
        """Return the other owners whose leases have had the same number for too long."""
        expired = []
        for other, number in self._base.all(
            "SELECT owner, max(lease) FROM work WHERE run = ? AND state = 'leased' AND owner <> ? GROUP BY owner",
            run,
            owner,
        ):
            before, since = self._seen.get((run, other), (None, now))
            if before != number:
                self._seen[run, other] = (number, now)
            elif now - since > LEASE_SECONDS:
                expired.append(other)
        return expired

    def release(self, run: int) -> None:
        """Revoke all leases. Only the process that holds the lock of the spool may call this."""
        with self._base.transaction():
            self._base.run("UPDATE work SET state = 'todo', owner = NULL WHERE run = ? AND state = 'leased'", run)

    def settle(self, run: int, name: str, state: WorkState, reason: str = "") -> None:
        """Record the outcome of a package; its plan is deleted."""
        self.settle_many(run, [(name, state, reason)])

    def settle_many(self, run: int, outcomes: Sequence[tuple[str, WorkState, str]]) -> None:
        """Record the outcomes of packages, rows of `(name, state, reason)`, atomically."""
        with self._base.transaction():
            self._base.run_many(
                "UPDATE work SET state = ?, reason = ?, owner = NULL, plan = NULL WHERE run = ? AND name = ?",
                [(state, reason, run, name) for name, state, reason in outcomes],
            )

    def tally(self, run: int, *states: WorkState) -> Tally:
        """Count the packages of a run that are in one of `states`."""
        marks = ", ".join("?" * len(states))
        [row] = self._base.all(
            f"SELECT count(*), total(files), total(bytes) FROM work "  # noqa: S608  # marks only
            f"WHERE run = ? AND state IN ({marks})",
            run,
            *states,
        )
        return Tally(packages=row[0], files=int(row[1]), bytes=int(row[2]))

    def requests(self, run: int) -> int:
        """Return the number of requests that listing and planning took."""
        [row] = self._base.all("SELECT requests FROM run WHERE id = ?", run)
        return int(row[0])


R = TypeVar("R", bound=msgspec.Struct)


def _row(row: Sequence[Any], kind: type[R]) -> R:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))
