"""How each package of a hub ended last, and which listing of the hub was frozen last: tables of the clone journal.

A row has the digest of the package's record in that listing. A package whose record is the same in the next listing of
the same request, and whose capture the store still has, needs no work: the listing keeps it as unchanged, by a hash of
its name, and the file of the listing, a difference from the one before, leaves it out.

What a run has to know of all packages lies in temporary tables, which outgrow memory to disk and end with the process.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from blake3 import blake3

from ptmtorrent.disk.database import Database, InDatabase
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Rights

MAX_DIFFERENCES = 64
"""Listings in a row that are kept as differences; then one is written in full."""

SCHEMA = """
CREATE TABLE hub (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, request TEXT, listing TEXT, differences INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE package (
  hub INTEGER NOT NULL REFERENCES hub, name TEXT NOT NULL, downloads INTEGER, digest BLOB, listed INTEGER NOT NULL,
  state TEXT NOT NULL, snapshot BLOB, PRIMARY KEY (hub, name)
) WITHOUT ROWID;
CREATE TABLE unchanged (run INTEGER NOT NULL REFERENCES run, page INTEGER NOT NULL, names BLOB NOT NULL);
"""
_SEEN = """
CREATE TABLE seen (generation INTEGER NOT NULL, key INTEGER NOT NULL, PRIMARY KEY (generation, key)) WITHOUT ROWID;
"""
_CAPTURES = (
    "CREATE TABLE captures (package TEXT PRIMARY KEY, snapshot BLOB NOT NULL, rights TEXT NOT NULL) WITHOUT ROWID;"
)
FRESH_KEYS = 1 << 14
"""Numbers that a set of them has in memory."""
KEYS_FAN = 16
"""Generations of one level that are merged."""

_HINT = "free some space, or set another folder for temporary files: SQLITE_TMPDIR=DIR"
_DIGEST_BYTES = 16
_KEY_BYTES = 8
_NOT_LISTED = """
NOT EXISTS (SELECT 1 FROM work WHERE work.run = ?1 AND work.name = package.name)
AND NOT EXISTS (SELECT 1 FROM same WHERE same.name = package.name)
"""
_PUT = """
INSERT INTO package (hub, name, downloads, digest, listed, state, snapshot) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hub, name) DO UPDATE SET
  downloads = excluded.downloads, digest = excluded.digest, listed = max(listed, excluded.listed),
  state = iif(excluded.state IN ('done', 'notneeded', 'error', 'impossible'), excluded.state, state),
  snapshot = coalesce(excluded.snapshot, snapshot)
"""


def key_of(text: str) -> int:
    """Return a number for `text`: equal texts have equal numbers, and others very probably have not."""
    return int.from_bytes(blake3(text.encode(errors="surrogateescape")).digest(8), "little", signed=True)


class SeenKeys(InDatabase):
    """A set of numbers. For one thread.

    The newest are in memory, the others in generations: each is written at once and sorted, and merged with others of
    its level. Written one by one, each number would cost the write of a page once they outgrow memory.
    """

    def __init__(self) -> None:
        self._rows = _temporary(_SEEN)
        self._fresh: set[int] = set()
        self._levels: list[list[int]] = []
        self._generations = 0
        self._folded = ""

    def add(self, key: int) -> bool:
        """Add a number; return whether it is new."""
        if key in self:
            return False
        self._fresh.add(key)
        if len(self._fresh) >= FRESH_KEYS:
            with self._rows.transaction():
                self._fold()
        return True

    def __contains__(self, key: int) -> bool:
        """Return whether the number was added."""
        return key in self._fresh or (self._folded > "" and self._rows.first(self._folded, key) is not None)

    def _fold(self) -> None:
        generation = self._new_generation(0)
        self._rows.run_many("INSERT INTO seen VALUES (?, ?)", ((generation, key) for key in sorted(self._fresh)))
        self._fresh.clear()
        level = 0
        while len(full := self._levels[level]) == KEYS_FAN:
            merged = self._new_generation(level + 1)
            where = f"generation IN ({', '.join(map(str, full))})"
            self._rows.run(f"INSERT INTO seen SELECT {merged}, key FROM seen WHERE {where} ORDER BY key")  # noqa: S608  # numbers
            self._rows.run(f"DELETE FROM seen WHERE {where}")  # noqa: S608  # numbers
            full.clear()
            level += 1
        known = ", ".join(str(each) for generations in self._levels for each in generations)
        self._folded = f"SELECT 1 FROM seen WHERE key = ? AND generation IN ({known})"  # noqa: S608  # numbers

    def _new_generation(self, level: int) -> int:
        self._generations += 1
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(self._generations)
        return self._generations


class NewestCaptures(InDatabase):
    """The snapshot and the rights of the newest capture of each package. For one thread."""

    def __init__(self, captures: Iterable[tuple[PackageName, SnapshotId, Rights]]) -> None:
        self._rows = _temporary(_CAPTURES)
        with self._rows.transaction():
            rows = ((package, bytes.fromhex(snapshot), rights) for package, snapshot, rights in captures)
            self._rows.run_many("INSERT OR REPLACE INTO captures VALUES (?, ?, ?)", rows)

    def add(self, package: PackageName, snapshot: SnapshotId, rights: Rights) -> None:
        """Set the newest capture of a package."""
        self._rows.run("INSERT OR REPLACE INTO captures VALUES (?, ?, ?)", package, bytes.fromhex(snapshot), rights)

    def snapshots(self, packages: Iterable[PackageName]) -> dict[str, SnapshotId]:
        """Return the snapshots of those of `packages` that have a capture."""
        rows = self._rows.all(
            "SELECT package, snapshot FROM captures WHERE package IN (SELECT value FROM json_each(?))",
            _as_json(packages),
        )
        return {package: SnapshotId(snapshot.hex()) for package, snapshot in rows}

    def get(self, package: PackageName) -> tuple[SnapshotId, Rights] | None:
        """Return the snapshot and the rights of the newest capture; None if there is none."""
        row = self._rows.first("SELECT snapshot, rights FROM captures WHERE package = ?", package)
        return None if row is None else (SnapshotId(row[0].hex()), row[1])


def _temporary(schema: str) -> Database:
    return Database(None, name="a temporary table", schema=schema, version=1, hint=_HINT, spill=True)


class _Frozen(NamedTuple):
    """A run whose listing is frozen, and what the journal has of its hub."""

    hub: int
    name: str
    request: str
    listing: str
    base: str | None
    whole: bool


def digest_of(record: bytes) -> bytes:
    """Return the digest of a record in a listing."""
    return blake3(record).digest(_DIGEST_BYTES)


class LastOutcomes:
    """The tables in `base`, the database of the journal."""

    def __init__(self, base: Database) -> None:
        self._base = base
        self._listed: int | None = None
        """The run whose unchanged packages are in the temporary table."""

    def base_for(self, hub: str, request: str) -> str | None:
        """Return the file of the listing that the next one of this request can be a difference from."""
        row = self._base.first("SELECT request, listing, differences FROM hub WHERE name = ?", hub)
        return row[1] if row is not None and row[0] == request and row[2] < MAX_DIFFERENCES else None

    def unchanged(self, run: int, hub: str, records: Sequence[tuple[str, bytes]]) -> dict[str, SnapshotId]:
        """Return those packages of a page whose record is as it was when they were captured, with their snapshots.

        Packages that this run has listed already are left out.
        """
        digests = {name: digest_of(record) for name, record in records}
        rows = self._base.all(
            "SELECT name, digest, snapshot FROM package WHERE hub = (SELECT id FROM hub WHERE name = ?1) "
            "AND name IN (SELECT value FROM json_each(?2)) AND state IN ('done', 'notneeded') "
            "AND snapshot IS NOT NULL AND listed AND NOT EXISTS "
            "(SELECT 1 FROM work WHERE work.run = ?3 AND work.name = package.name)",
            hub,
            _as_json(digests),
            run,
        )
        return {name: SnapshotId(snapshot.hex()) for name, digest, snapshot in rows if digest == digests[name]}

    def unchanged_before(self, run: int, names: Iterable[str]) -> set[str]:
        """Return those of `names` that the run has listed as unchanged already."""
        self._load(run)
        rows = self._base.all("SELECT name FROM same WHERE name IN (SELECT value FROM json_each(?))", _as_json(names))
        return {name for (name,) in rows}

    def keep_unchanged(self, run: int, names: Sequence[str]) -> None:
        """Keep packages of a page as unchanged, in the transaction of the caller."""
        if not names:
            return
        self._load(run)
        self._base.run_many("INSERT OR IGNORE INTO same VALUES (?)", ((name,) for name in names))
        data = b"".join(key_of(name).to_bytes(_KEY_BYTES, "little", signed=True) for name in names)
        self._base.run("INSERT INTO unchanged SELECT ?1, count(*), ?2 FROM unchanged WHERE run = ?1", run, data)

    def gone(self, run: int) -> Iterator[str]:
        """Yield the packages of the listing before that this one lacks, by name."""
        self._load(run)
        rows = self._base.stream(
            "SELECT name FROM package WHERE hub = (SELECT hub.id FROM hub JOIN run ON run.hub = hub.name "  # noqa: S608  # a constant
            f"WHERE run.id = ?1) AND listed AND {_NOT_LISTED} ORDER BY name",
            run,
        )
        return (name for (name,) in rows)

    def missing(self, run: int, hub: str, min_downloads: int) -> Iterator[str]:
        """Yield the packages that were captured from the hub and that this run did not list.

        Packages that had fewer downloads than `min_downloads` are left out.
        """
        self._load(run)
        rows = self._base.stream(
            "SELECT name FROM package WHERE hub = (SELECT id FROM hub WHERE name = ?2) AND snapshot IS NOT NULL "  # noqa: S608  # a constant
            f"AND coalesce(downloads, 0) >= ?3 AND {_NOT_LISTED}",
            run,
            hub,
            min_downloads,
        )
        return (name for (name,) in rows)

    def captured(self, hub: str) -> Iterator[tuple[str, SnapshotId]]:
        """Yield name and snapshot of each package that finished runs captured from the hub, by name."""
        rows = self._base.stream(
            "SELECT name, snapshot FROM package WHERE hub = (SELECT id FROM hub WHERE name = ?) "
            "AND snapshot IS NOT NULL ORDER BY name",
            hub,
        )
        return ((name, SnapshotId(snapshot.hex())) for name, snapshot in rows)

    def forget(self, hub: str, names: Sequence[str]) -> None:
        """Forget captures that the store lost; the packages stay on the listing, as changed ones."""
        with self._base.transaction():
            self._base.run_many(
                "UPDATE package SET state = 'listed', digest = NULL, snapshot = NULL "
                "WHERE hub = (SELECT id FROM hub WHERE name = ?) AND name = ?",
                [(hub, name) for name in names],
            )

    def keep(self, run: int) -> None:
        """Keep the outcomes of a finished run, if its listing was frozen, in the transaction of the caller."""
        frozen = self._frozen(run)
        if frozen is not None:
            whole = frozen.whole and self._is_next(frozen)
            if whole:
                self._unlist(run, frozen)
            self._put(run, frozen.hub, whole=whole)
            if frozen.whole:
                self._set_listing(frozen, whole=whole)
        self._base.run("DELETE FROM unchanged WHERE run = ?", run)
        self._listed = None

    def _frozen(self, run: int) -> _Frozen | None:
        row = self._base.first(
            "SELECT hub, request, listing, base, whole FROM run WHERE id = ? AND listing IS NOT NULL", run
        )
        if row is None:
            return None
        name, request, listing, base, whole = row
        self._base.run("INSERT OR IGNORE INTO hub (name) VALUES (?)", name)
        [(hub,)] = self._base.all("SELECT id FROM hub WHERE name = ?", name)
        return _Frozen(hub, name, request, listing, base, bool(whole))

    def _is_next(self, frozen: _Frozen) -> bool:
        """Return whether the digests are still those of the listing that this one is a difference from."""
        [(listing,)] = self._base.all("SELECT listing FROM hub WHERE id = ?", frozen.hub)
        return frozen.base is None or frozen.base == listing

    def _unlist(self, run: int, frozen: _Frozen) -> None:
        """Take what is gone off the newest listing; all of the listing before, where this one is written in full."""
        off = "UPDATE package SET listed = 0, digest = NULL WHERE hub = ? AND listed"
        if frozen.base is None:
            self._base.run(off, frozen.hub)
        else:
            self._base.run_many(f"{off} AND name = ?", [(frozen.hub, name) for name in self.gone(run)])

    def _put(self, run: int, hub: int, *, whole: bool) -> None:
        rows = self._base.stream(
            "SELECT name, downloads, record.listed, state, snapshot FROM work JOIN record ON record.work = work.id "
            "WHERE run = ? ORDER BY name",
            run,
        )
        self._base.run_many(
            _PUT,
            (
                (hub, name, downloads, digest_of(record) if whole else None, int(whole), state, snapshot)
                for name, downloads, record, state, snapshot in rows
            ),
        )

    def _set_listing(self, frozen: _Frozen, *, whole: bool) -> None:
        """Name the newest listing; the next one is written in full if another run replaced what this one refers to."""
        self._base.run(
            "UPDATE hub SET request = ?, listing = ?, differences = iif(?, differences + 1, 0) WHERE id = ?",
            frozen.request if whole else None,
            frozen.listing,
            frozen.base is not None,
            frozen.hub,
        )

    def _load(self, run: int) -> None:
        """Fill the temporary table with what the run has listed as unchanged, also in earlier processes."""
        if self._listed == run:
            return
        self._base.run("CREATE TEMP TABLE IF NOT EXISTS same (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._base.run("DELETE FROM same")
        self._listed = run
        with SeenKeys() as seen:
            some = False
            for (names,) in self._base.stream("SELECT names FROM unchanged WHERE run = ?", run):
                for at in range(0, len(names), _KEY_BYTES):
                    some = seen.add(int.from_bytes(names[at : at + _KEY_BYTES], "little", signed=True)) or some
            rows = self._base.stream("SELECT name FROM package") if some else iter(())
            self._base.run_many(
                "INSERT OR IGNORE INTO same VALUES (?)", (row for row in rows if key_of(row[0]) in seen)
            )


def _as_json(names: Iterable[str]) -> str:
    return msgspec.json.encode([*names]).decode()
