"""The clone journal: what each run has listed, planned and done, what remains to do, and how each package ended last.

A run is one hub, one request and one frozen listing. Its packages are processed by rank, popular ones first, and go
through ::

    listed ─► todo ─► leased ─► done | notneeded | error | impossible        (or `left`, when the request has a limit)

Claiming is one statement, so several processes may share a journal; an expired lease can be claimed again. A lease is a
number that its owner changes when it claims and renews: it has expired for a process that saw the same number for ten
minutes by its own monotonic clock. No wall clock is asked, and nothing expires for its own owner. Claims are not
synced: after a power cut a package is claimed again.

The store, not the journal, is the truth about what is captured: a row is settled after the store has committed. When a
run is finished, the last outcome of each package moves to `clone_outcomes`, and the rows of the run are deleted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from ptmtorrent.disk.database import Database, InDatabase
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.state import clone_outcomes
from ptmtorrent.state.clone_outcomes import LastOutcomes

VERSION = 2
LEASE_SECONDS = 600
COMMIT_BYTES = 64 << 20
"""Stored bytes after which a clone commits the store and settles its packages."""
RunState = Literal["listing", "planning", "working", "finished"]
WorkState = Literal["listed", "todo", "leased", "done", "notneeded", "error", "impossible", "left"]

_SCHEMA = f"""
CREATE TABLE run (
  id INTEGER PRIMARY KEY, hub TEXT NOT NULL, request TEXT NOT NULL, listed TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'listing', cursor TEXT, requests INTEGER NOT NULL DEFAULT 0, base TEXT, listing TEXT,
  whole INTEGER NOT NULL DEFAULT 0, unchanged INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE work (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, name TEXT NOT NULL, rank REAL, downloads INTEGER,
  files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'listed',
  reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, owner TEXT, lease INTEGER, snapshot BLOB,
  UNIQUE (run, name)
);
CREATE INDEX work_order ON work (run, rank);
CREATE TABLE record (work INTEGER PRIMARY KEY, listed BLOB NOT NULL);
CREATE TABLE plan (work INTEGER PRIMARY KEY, plan BLOB NOT NULL);
CREATE TABLE base (work INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (work, place))
  WITHOUT ROWID;
{clone_outcomes.SCHEMA}
"""
_RUN = "id, hub, request, listed, state, cursor, requests, base"
_WORK = (
    "work.name, rank, downloads, coalesce(record.listed, x''), plan.plan, files, bytes, state, reason, attempts"
    " FROM work LEFT JOIN record ON record.work = work.id LEFT JOIN plan ON plan.work = work.id"
)
_CLAIM = """
UPDATE work SET state = 'leased', owner = ?1, lease = ?2, attempts = attempts + 1 WHERE id IN (
  SELECT id FROM work
  WHERE run = ?3 AND rank > ?6 AND (state = 'todo' OR state = 'leased' AND owner IN (SELECT value FROM json_each(?4)))
  ORDER BY rank LIMIT ?5
) RETURNING id
"""
_RANK = """
UPDATE work SET rank = ordered.rank FROM (
  SELECT id, row_number() OVER (ORDER BY downloads DESC NULLS LAST, name) AS rank FROM work WHERE run = ?1
) AS ordered WHERE work.id = ordered.id
"""
_PARTS = ("record", "plan", "base")
"""Tables with rows that belong to a row of `work`."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run: `listed` is the time of its listing, `cursor` where the listing continues, `requests` the number sent.

    `base` is the file of the earlier listing that this one is compared with; None if it is written in full.
    """

    id: int
    hub: str
    request: str
    listed: str
    state: RunState
    cursor: str | None
    requests: int
    base: str | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A package of a run. `listed` and `plan` are opaque bytes of the workflow; `rank` counts from 1.

    A base that moved to just before another package has a rank with a fraction.
    """

    name: str
    rank: float | None
    downloads: int | None
    listed: bytes
    plan: bytes | None
    files: int
    bytes: int
    state: WorkState
    reason: str
    attempts: int


class NewPlan(NamedTuple):
    """The plan of a package, the number and size of its files, and the requests it took; `bases` as it declares."""

    name: str
    plan: bytes
    files: int
    size: int
    requests: int
    bases: tuple[str, ...] = ()


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Number of packages of a run in given states, and of their files and bytes."""

    packages: int = 0
    files: int = 0
    bytes: int = 0


class Journal(InDatabase):
    """The journal at `path`, in memory for None. Changes are durable when a method returns, except for leases.

    Raises:
        StoreError: it cannot be read or written.
        NoSpace: the disk is full.
        UnsupportedFormat: written by another version.
    """

    def __init__(self, path: Path | None) -> None:
        outdated = f"remove it, because the store has what was captured: rm {path}*"
        self._rows = Database(path, name="the journal", schema=_SCHEMA, version=VERSION, outdated=outdated, copied=True)
        self.outcomes = LastOutcomes(self._rows)
        self._beats = 0
        self._seen: dict[tuple[int, str], tuple[float, float]] = {}
        self._claimed: dict[int, float] = {}

    def unfinished(self, hub: str, request: str) -> Run | None:
        """Return the newest run for the same hub and request that is not finished."""
        rows = self._rows.all(
            f"SELECT {_RUN} FROM run WHERE hub = ? AND request = ? AND state <> 'finished' ORDER BY id DESC LIMIT 1",  # noqa: S608  # a constant
            hub,
            request,
        )
        return next((_row(row, Run) for row in rows), None)

    def runs(self) -> list[Run]:
        """Return the runs that are not finished, the oldest first."""
        rows = self._rows.all(f"SELECT {_RUN} FROM run WHERE state <> 'finished' ORDER BY id")  # noqa: S608  # a constant
        return [_row(row, Run) for row in rows]

    def start(self, hub: str, request: str, listed: str, *, whole: bool = False) -> Run:
        """Start a run whose listing was made at the time `listed`; a listing of the `whole` hub may be a difference."""
        base = self.outcomes.base_for(hub, request) if whole else None
        with self._rows.transaction():
            cursor = self._rows.run(
                "INSERT INTO run (hub, request, listed, base, whole) VALUES (?, ?, ?, ?, ?)",
                *(hub, request, listed, base, whole),
            )
        number = cursor.lastrowid or 0
        return Run(
            id=number, hub=hub, request=request, listed=listed, state="listing", cursor=None, requests=0, base=base
        )

    def add_page(
        self,
        run: int,
        page: Sequence[tuple[str, int | None, bytes]],
        cursor: str | None,
        unchanged: Sequence[str] = (),
    ) -> None:
        """Add a page of the listing, rows of `(name, downloads, record)`, and where the listing continues, atomically.

        Of packages that are `unchanged`, the names alone are kept, as hashes: nothing is to do. A package that moved to
        a second page while the listing was read is kept once.
        """
        with self._rows.transaction():
            for name, downloads, record in page:
                added = self._rows.run(
                    "INSERT OR IGNORE INTO work (run, name, downloads) VALUES (?, ?, ?)", run, name, downloads
                )
                if added.rowcount > 0:
                    self._rows.run("INSERT INTO record VALUES (?, ?)", added.lastrowid, record)
            self.outcomes.keep_unchanged(run, unchanged)
            self._rows.run(
                "UPDATE run SET cursor = ?, requests = requests + 1, unchanged = unchanged + ? WHERE id = ?",
                cursor,
                len(unchanged),
                run,
            )

    def rank(self, run: int, limit: int | None) -> None:
        """Rank the packages, most downloads first, then by name; delete those beyond `limit`."""
        with self._rows.transaction():
            self._rows.run(_RANK, run)
            if limit is not None:
                self._delete("run = ? AND rank > ?", run, limit)

    def missing(self, run: Run, min_downloads: int = 0) -> list[str]:
        """Return the packages that earlier runs captured from the hub and this one did not list, by name.

        Packages with fewer downloads than `min_downloads` at their capture are left out.
        """
        names = set(self.outcomes.missing(run.id, run.hub, min_downloads))
        rows = self._rows.all(
            "SELECT DISTINCT work.name FROM work JOIN run ON run.id = work.run "
            "WHERE run.hub = ?1 AND run.id < ?2 AND work.state IN ('done', 'notneeded') "
            "AND coalesce(work.downloads, 0) >= ?3 "
            "AND NOT EXISTS (SELECT 1 FROM work AS now WHERE now.run = ?2 AND now.name = work.name)",
            run.hub,
            run.id,
            min_downloads,
        )
        return sorted(names.union(name for (name,) in rows))

    def set_state(self, run: int, state: RunState) -> None:
        """Set the state of the run; of a finished run, only the last outcome of each package is kept."""
        with self._rows.transaction():
            if state == "finished":
                self.outcomes.keep(run)
                self._delete("run = ?", run)
                self._rows.run("DELETE FROM run WHERE state = 'finished' AND id < (SELECT max(id) FROM run)")
            self._rows.run("UPDATE run SET state = ? WHERE id = ?", state, run)

    def set_listing(self, run: int, listing: str) -> None:
        """Record the name of the file with the frozen listing of the run."""
        with self._rows.transaction():
            self._rows.run("UPDATE run SET listing = ? WHERE id = ?", listing, run)

    def works(self, run: int, states: Sequence[WorkState] = ()) -> Iterator[Work]:
        """Yield the packages of a run by rank; with `states`, only those in one of them.

        Rows may change meanwhile: a few are read at a time, by rank.
        """
        marks = f"AND state IN ({', '.join('?' * len(states))})" if states else ""
        after = 0.0
        while rows := self._rows.all(
            f"SELECT {_WORK} WHERE run = ? AND rank > ? {marks} ORDER BY rank LIMIT 64",  # marks only
            run,
            after,
            *states,
        ):
            for row in rows:
                work = _row(row, Work)
                after = work.rank or after
                yield work

    def keep_plan(self, run: int, name: str, plan: bytes, *, files: int, size: int, requests: int) -> None:  # noqa: PLR0913  # a row
        """Keep the plan of a listed package, as `keep_plans` does."""
        self.keep_plans(run, [NewPlan(name, plan, files, size, requests)])

    def keep_plans(self, run: int, plans: Iterable[NewPlan]) -> None:
        """Keep plans of listed packages and count the requests they took, atomically; the packages are then to do."""
        with self._rows.transaction():
            for plan in plans:
                [(work,)] = self._rows.all("SELECT id FROM work WHERE run = ? AND name = ?", run, plan.name)
                self._rows.run(
                    "UPDATE work SET state = 'todo', files = ?, bytes = ? WHERE id = ?", plan.files, plan.size, work
                )
                self._rows.run("INSERT OR REPLACE INTO plan VALUES (?, ?)", work, plan.plan)
                rows = [(work, place, base) for place, base in enumerate(plan.bases)]
                self._rows.run_many("INSERT OR REPLACE INTO base VALUES (?, ?, ?)", rows)
                self._rows.run("UPDATE run SET requests = requests + ? WHERE id = ?", plan.requests, run)

    def leave_after(self, run: int, rank: float) -> int:
        """Leave the packages from `rank` on out of the run; return their number."""
        left = "run = ? AND rank >= ? AND state IN ('listed', 'todo')"
        with self._rows.transaction():
            self._rows.run(f"DELETE FROM plan WHERE work IN (SELECT id FROM work WHERE {left})", run, rank)  # noqa: S608  # a constant
            cursor = self._rows.run(f"UPDATE work SET state = 'left' WHERE {left}", run, rank)  # noqa: S608  # a constant
        return cursor.rowcount

    def edges(self, run: int) -> Iterator[tuple[float, float]]:
        """Yield the ranks of each package to do and of each of its bases to do, by rank, the closest base first."""
        return self._rows.stream(
            "SELECT work.rank, other.rank FROM work JOIN base ON base.work = work.id "
            "JOIN work AS other ON other.run = work.run AND other.name = base.name "
            "WHERE work.run = ? AND work.state = 'todo' AND other.state = 'todo' ORDER BY work.rank, base.place",
            run,
        )

    def move_before(self, run: int, rank: float, moved: Sequence[float]) -> None:
        """Move packages, told by their ranks, to just before the one of `rank`, in this order."""
        if not moved:
            return
        with self._rows.transaction():
            [(before,)] = self._rows.all(
                "SELECT coalesce(max(rank), 0.0) FROM work WHERE run = ? AND rank < ?", run, rank
            )
            step = (rank - before) / (len(moved) + 1)
            self._rows.run_many(
                "UPDATE work SET rank = ? WHERE run = ? AND rank = ?",
                [(before + step * (place + 1), run, each) for place, each in enumerate(moved)],
            )

    def claim(self, run: int, owner: str, now: float) -> Work | None:
        """Lease the first package to do, or whose lease expired, to `owner`; None if no package remains.

        `now` is in seconds of a monotonic clock; the lease ends ten minutes later unless `renew` is called.
        """
        return next(iter(self.claim_many(run, owner, now, 1)), None)

    def claim_many(self, run: int, owner: str, now: float, count: int) -> list[Work]:
        """Lease up to `count` packages as `claim` does, by rank."""
        with self._rows.transaction(durable=False):
            beat = self._beat(run, owner, now)
            after = self._claimed.get(run, 0.0)
            ids = self._rows.all(_CLAIM, owner, beat, run, "[]", count, after)
            if not ids and after:
                ids = self._rows.all(_CLAIM, owner, beat, run, "[]", count, 0.0)
            if not ids and (expired := self._expired(run, owner, now)):
                ids = self._rows.all(_CLAIM, owner, beat, run, msgspec.json.encode(expired).decode(), count, 0.0)
            chosen = msgspec.json.encode([work for (work,) in ids]).decode()
            rows = self._rows.all(
                f"SELECT {_WORK} WHERE work.id IN (SELECT value FROM json_each(?)) ORDER BY rank",  # noqa: S608  # a constant
                chosen,
            )
        works = [_row(row, Work) for row in rows]
        if works:
            self._claimed[run] = works[-1].rank or 0.0
        return works

    def renew(self, run: int, owner: str, now: float) -> None:
        """Extend all leases of `owner`; `now` is as for `claim`."""
        with self._rows.transaction(durable=False):
            self._rows.run(
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
        for other, number in self._rows.all(
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
        self._claimed.pop(run, None)
        with self._rows.transaction():
            self._rows.run("UPDATE work SET state = 'todo', owner = NULL WHERE run = ? AND state = 'leased'", run)

    def settle(self, run: int, name: str, state: WorkState, reason: str = "") -> None:
        """Record the outcome of a package, as `settle_many` does."""
        self.settle_many(run, [(name, state, reason)])

    def settle_many(
        self,
        run: int,
        outcomes: Sequence[tuple[str, WorkState, str]],
        snapshots: Mapping[str, SnapshotId] | None = None,
    ) -> None:
        """Record the outcomes of packages, rows of `(name, state, reason)`, atomically.

        `snapshots` are those of captured packages, by name. The plan of a package that was not captured is deleted; the
        others stay until the run is finished, in case the store loses a capture.
        """
        known = snapshots or {}
        rows = [
            (state, reason, bytes.fromhex(known[name]) if name in known else None, run, name)
            for name, state, reason in outcomes
        ]
        without = [(run, name) for name, state, _ in outcomes if state != "done"]
        with self._rows.transaction():
            self._rows.run_many(
                "UPDATE work SET state = ?, reason = ?, owner = NULL, snapshot = ? WHERE run = ? AND name = ?", rows
            )
            self._rows.run_many(
                "DELETE FROM plan WHERE work = (SELECT id FROM work WHERE run = ? AND name = ?)", without
            )

    def captured(self, run: int) -> Iterator[tuple[str, SnapshotId]]:
        """Yield name and snapshot of each package that this run has captured so far."""
        rows = self._rows.stream(
            "SELECT name, snapshot FROM work WHERE run = ? AND state = 'done' AND snapshot IS NOT NULL", run
        )
        return ((name, SnapshotId(snapshot.hex())) for name, snapshot in rows)

    def capture_again(self, run: int, names: Sequence[str]) -> None:
        """Put captured packages back to what is to do, with the plans they had."""
        with self._rows.transaction():
            self._rows.run_many(
                "UPDATE work SET state = 'todo', snapshot = NULL WHERE run = ? AND name = ? AND state = 'done'",
                [(run, name) for name in names],
            )

    def tally(self, run: int, *states: WorkState) -> Tally:
        """Count the packages of a run that are in one of `states`; unchanged ones count as `notneeded`."""
        marks = ", ".join("?" * len(states))
        [row] = self._rows.all(
            f"SELECT count(*), total(files), total(bytes) FROM work "  # noqa: S608  # marks only
            f"WHERE run = ? AND state IN ({marks})",
            run,
            *states,
        )
        [(unchanged,)] = self._rows.all("SELECT total(unchanged) FROM run WHERE id = ?", run)
        also = int(unchanged) if "notneeded" in states else 0
        return Tally(packages=row[0] + also, files=int(row[1]), bytes=int(row[2]))

    def requests(self, run: int) -> int:
        """Return the number of requests that listing and planning took."""
        [row] = self._rows.all("SELECT requests FROM run WHERE id = ?", run)
        return int(row[0])

    def _delete(self, which: str, *values: object) -> None:
        """Delete rows of `work`, and what belongs to them."""
        others = self._rows.first(f"SELECT 1 FROM work WHERE NOT ({which}) LIMIT 1", *values)  # noqa: S608  # constants
        for table in _PARTS:
            # Without a condition SQLite frees the pages of a table instead of writing each of them.
            where = f" WHERE work IN (SELECT id FROM work WHERE {which})" if others else ""  # noqa: S608  # constants
            self._rows.run(f"DELETE FROM {table}{where}", *(values if others else ()))  # noqa: S608  # constants
        self._rows.run(f"DELETE FROM work{f' WHERE {which}' if others else ''}", *(values if others else ()))  # noqa: S608  # constants


R = TypeVar("R", bound=msgspec.Struct)


def _row(row: Sequence[Any], kind: type[R]) -> R:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))
