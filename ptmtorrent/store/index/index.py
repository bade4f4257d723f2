"""The index as the store uses it: one object for all of it, opened at a path, checked, and cleared."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, SnapshotId, object_id
from ptmtorrent.model.manifest import MAX_SEQUENCE, Capture, Rights
from ptmtorrent.store.codecs import MAX_RAW_BYTES
from ptmtorrent.store.index.file import connect_index, index_errors
from ptmtorrent.store.index.known_files import KnownFiles
from ptmtorrent.store.index.run import MAX_CODEC
from ptmtorrent.store.pack.format import OBJECT_KINDS
from ptmtorrent.store.pack.writer import PartState

MAX_OF_KEY = 16
"""Objects of one key of a sketch that are examined, because an attacker can store millions with the same key."""

_PAGE = 64
_MAX_PAGES = 16

_MANY = 10_000


class Sketches(KnownFiles):
    """The sketches of an open index."""

    def add_sketches(self, key: int, identifiers: Iterable[ObjectId]) -> None:
        """Add objects that have `key` in their sketches."""
        for identifier in identifiers:
            self._write("INSERT OR IGNORE INTO sketches (key, object) VALUES (?, ?)", key, bytes.fromhex(identifier))

    def similar_objects(self, keys: Sequence[int], limit: int) -> list[ObjectId]:
        """Return up to `limit` objects that share sketch keys with `keys`, those that share most first."""
        shared = Counter(identifier for key in keys for identifier in self._objects_of_key(key))
        by_count = sorted(shared, key=lambda identifier: (-shared[identifier], identifier))
        return by_count[:limit]

    def drop_unused_sketches(self) -> None:
        """Drop sketches of objects that are not in the index."""
        last = b""
        while rows := self._run(
            "SELECT DISTINCT object FROM sketches WHERE object > ? ORDER BY object LIMIT ?", last, _MANY
        ):
            last = rows[-1][0]
            identifiers = [ObjectId(identifier.hex()) for (identifier,) in rows]
            listed = self.has_all(identifiers)
            gone = [(bytes.fromhex(identifier),) for identifier in identifiers if identifier not in listed]
            if gone:
                self._write_many("DELETE FROM sketches WHERE object = ?", gone)

    def _objects_of_key(self, key: int) -> list[ObjectId]:
        """Return up to `MAX_OF_KEY` objects that have `key` in their sketches and are listed."""
        found: list[ObjectId] = []
        for page in range(_MAX_PAGES):
            rows = self._run(
                "SELECT object FROM sketches WHERE key = ? ORDER BY object LIMIT ? OFFSET ?", key, _PAGE, page * _PAGE
            )
            identifiers = [ObjectId(identifier.hex()) for (identifier,) in rows]
            listed = self.has_all(identifiers)
            found += [identifier for identifier in identifiers if identifier in listed]
            if len(found) >= MAX_OF_KEY or len(rows) < _PAGE:
                break
        return found[:MAX_OF_KEY]


_BY_SEQUENCE = "coalesce(sequence, 0) DESC, captured DESC, iif(sequence IS NULL, row, object) DESC"
"""The order of captures, the newest first. Two stores that were merged may have given a number twice; the time and then
the id decide between those, so that every index of the same packs has the same order."""

_BLOCK = 512
"""Rows that are read at a time where there may be many."""


class Captures(Sketches):
    """The captures of an open index."""

    def add_capture(self, identifier: ObjectId, capture: Capture, data: bytes) -> None:
        """Add a capture; `data` are the bytes of its object."""
        self._write(
            "INSERT INTO captures (object, snapshot, package, captured, data, sequence) SELECT ?1, ?2, ?3, ?4, ?5, ?6"
            " WHERE NOT EXISTS (SELECT 1 FROM captures WHERE captured = ?4 AND sequence IS ?6 AND object = ?1)",
            bytes.fromhex(identifier),
            bytes.fromhex(capture.snapshot),
            capture.package,
            capture.captured,
            data,
            capture.sequence,
        )
        self._write("UPDATE highest SET sequence = max(sequence, ?)", capture.sequence or 0)

    def highest_sequence(self) -> int:
        """Return the highest number that a capture ever had here, 0 for none; it never falls."""
        rows = self._run("SELECT sequence FROM highest")
        with index_errors(self._path):
            ((highest,),) = rows
            if not isinstance(highest, int) or not 0 <= highest < MAX_SEQUENCE:
                raise LookupError(f"the highest number of a capture is said to be {highest!r}")
            return highest

    def reserve_sequences(self, count: int) -> int:
        """Reserve the next `count` numbers of captures, durably; return the first. Nothing else may be uncommitted."""
        with self.transaction():
            self._write("UPDATE highest SET sequence = sequence")
            first = self.highest_sequence() + 1
            self._write("UPDATE highest SET sequence = sequence + ?", count)
        return first

    def latest_moment(self) -> str | None:
        """Return the latest time that a capture here says it was made at."""
        ((latest,),) = self._run("SELECT max(captured) FROM captures")
        return latest if isinstance(latest, str) else None

    def captures(self) -> list[bytes]:
        """Return the bytes of the newest capture of each package, sorted by package."""
        # Records are sorted here: SQLite would write all of them to a temporary file, to sort the few that are newest.
        rows = self._run(
            "SELECT package, data FROM captures WHERE row IN (SELECT row FROM (SELECT row, row_number() OVER"  # noqa: S608  # a constant
            f" (PARTITION BY package ORDER BY {_BY_SEQUENCE}) AS rank FROM captures) WHERE rank = 1)"
        )
        with index_errors(self._path):
            return [data for _, data in sorted(rows, key=lambda row: row[0])]

    def newest_captures(self, lock: AbstractContextManager[Any]) -> Iterator[tuple[PackageName, SnapshotId, Rights]]:
        """Yield package, snapshot and rights of the newest capture of each package, by package; `lock` guards reads."""
        with lock, index_errors(self._path):
            rows = self._connection.execute(
                "SELECT package, snapshot, json_extract(CAST(data AS TEXT), '$.rights') FROM captures"  # noqa: S608  # a constant
                " WHERE row IN (SELECT row FROM (SELECT row, row_number() OVER"
                f" (PARTITION BY package ORDER BY {_BY_SEQUENCE}) AS rank FROM captures) WHERE rank = 1)"
                " ORDER BY package"
            )
        while True:
            with lock, index_errors(self._path):
                block = rows.fetchmany(_BLOCK)
            if not block:
                return
            yield from ((PackageName(package), SnapshotId(found.hex()), rights) for package, found, rights in block)

    def capture_mark(self) -> tuple[int, int, int, int]:
        """Return how many captures there are, the sum of their numbers, the highest number, and the last row."""
        rows = self._run("SELECT count(*), coalesce(sum(sequence), 0), coalesce(max(row), 0) FROM captures")
        with index_errors(self._path):
            ((number, total, last),) = rows
            return int(number), int(total), self.highest_sequence(), int(last)

    def captures_after(self, row: int) -> list[tuple[ObjectId, bytes, int | None]]:
        """Return the ids, bytes and numbers of the captures in rows after `row`, sorted by package."""
        rows = self._run("SELECT object, data, sequence FROM captures WHERE row > ? ORDER BY package, row", row)
        with index_errors(self._path):
            return [(ObjectId(identifier.hex()), data, sequence) for identifier, data, sequence in rows]

    def captures_of(self, packages: Iterable[str]) -> list[bytes]:
        """Return the bytes of all captures of some packages, sorted by package."""
        names = msgspec.json.encode(sorted(packages)).decode()
        query = "SELECT data FROM captures WHERE package IN (SELECT value FROM json_each(?)) ORDER BY package, row"
        return [data for (data,) in self._run(query, names)]

    def all_captures(self) -> list[tuple[ObjectId, bytes]]:
        """Return the ids and bytes of all captures, older ones too, sorted by package."""
        rows = self._run("SELECT object, data FROM captures ORDER BY package, row")
        with index_errors(self._path):
            return [(ObjectId(identifier.hex()), data) for identifier, data in rows]

    def has_documents_of(self, pack: PackId) -> bool:
        """Return whether the index lists every capture in a pack, and a capture for every manifest in it.

        This identifies our own packs when their stored hashes are lost. A pack without such documents counts as our own
        unless it has deltas, because deltas of adopted packs have to be verified.
        """
        known = self._run("SELECT object, snapshot FROM captures")
        captured = {"capture": {row[0].hex() for row in known}, "manifest": {row[1].hex() for row in known}}
        entries = self.entries(pack)
        kinds = {entry.kind for entry in entries}
        is_indexed = all(entry.id in captured[entry.kind] for entry in entries if entry.kind in captured)
        return is_indexed and ("capture" in kinds or not any(entry.base for entry in entries))

    def damaged_captures(self) -> list[ObjectId]:
        """Return the captures whose rows differ from the capture in their `data`."""
        with index_errors(self._path):
            # As bytes, because a damaged row may have any type.
            names = ("object", "data", "snapshot", "package", "captured", "sequence")
            casts = ", ".join(f"CAST({name} AS BLOB)" for name in names)
            rows = self._connection.execute(f"SELECT {casts} FROM captures")  # noqa: S608  # the names are these six
            return [ObjectId(found.hex()) for found, data, *columns in rows if not _matches(found, data, columns)]

    def drop_incomplete_captures(self) -> None:
        """Drop captures whose object or manifest is not listed."""
        rows = self._run("SELECT row, object, snapshot FROM captures")
        needed = {ObjectId(identifier.hex()) for _, *both in rows for identifier in both}
        listed = {bytes.fromhex(identifier) for identifier in self.has_all(needed)}
        for row, *both in rows:
            if not listed.issuperset(both):
                self._write("DELETE FROM captures WHERE row = ?", row)


def _matches(identifier: bytes, data: bytes, columns: list[bytes | None]) -> bool:
    """Return whether `data` hash to the id, and `columns` (snapshot, package, time, number) match them."""
    if object_id(data) != identifier.hex():
        return False
    capture = canonical.decode(data, Capture, name="a capture")
    expected = [bytes.fromhex(capture.snapshot), capture.package.encode(), capture.captured.encode()]
    sequence = None if capture.sequence is None else str(capture.sequence).encode()
    return columns in (expected, [*expected, sequence])


_IS_VALID = (
    "typeof(id) = 'blob' AND length(id) = 32 AND (base IS NULL OR typeof(base) = 'blob' AND length(base) = 32)"
    " AND typeof(at) = 'integer' AND typeof(at) = typeof(stored) AND typeof(at) = typeof(raw)"
    " AND typeof(at) = typeof(codec) AND typeof(at) = typeof(kind) AND at >= 0 AND stored BETWEEN 0 AND raw"
    " AND raw <= ? AND codec BETWEEN 0 AND ? AND kind BETWEEN 0 AND ? AND pack IN (SELECT row FROM packs)"
)

AnyIndex = TypeVar("AnyIndex", bound="Index")


class Index(Captures):
    """An open index."""

    def clear(self) -> None:
        """Drop all rows but sketches and the highest number of a capture, which cannot be rebuilt from packs."""
        for table in ("objects", "packs", "runs", "parts", "files", "file_keys", "generations", "captures"):
            self._write(f"DELETE FROM {table}")  # noqa: S608  # the names are those above
        self._fresh_at = self._staged_at = self._fresh_files_at = None
        sane = "typeof(sequence) = 'integer' AND sequence BETWEEN 0 AND ?"
        self._write(f"UPDATE highest SET sequence = 0 WHERE NOT ({sane})", MAX_SEQUENCE - 1)  # noqa: S608  # a constant

    def record_part(self, row: int, state: PartState) -> None:
        """Record what of the part of `row` is committed; its bytes must be durable."""
        self._write("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", row, state.length, state.objects, state.hashes)

    def part_state(self, part: str) -> PartState | None:
        """Return what of a part is committed; None if nothing is recorded, and all of it has to be rechecked."""
        rows = self._run(
            "SELECT length, objects, hashes FROM parts JOIN packs ON packs.row = parts.row WHERE packs.part = ?", part
        )
        with index_errors(self._path):
            return next((PartState(length=row[0], objects=row[1], hashes=bytes(row[2])) for row in rows), None)

    def distrust_part(self, part: str) -> None:
        """Have all of a part rechecked when the store is next opened for writing."""
        self._write("DELETE FROM parts WHERE row = (SELECT row FROM packs WHERE part = ?)", part)

    def invalid_rows(self, limit: int) -> list[str]:
        """Return the ids, in hex, of up to `limit` objects whose rows in SQLite have impossible values."""
        limits = (MAX_RAW_BYTES, MAX_CODEC, len(OBJECT_KINDS) - 1)
        sql = f"SELECT CAST(id AS BLOB) FROM objects WHERE NOT ({_IS_VALID}) LIMIT ?"  # noqa: S608  # a constant
        rows = self._run(sql, *limits, limit)
        return [identifier.hex() for (identifier,) in rows]

    def drop_dependents(self, lost: set[ObjectId]) -> None:
        """Drop files and captures that need one of the objects `lost`."""
        if not lost:
            return
        gone = {bytes.fromhex(identifier) for identifier in lost}
        self.drop_files(gone)
        for row, identifier, snapshot in self._run("SELECT row, object, snapshot FROM captures"):
            if identifier in gone or snapshot in gone:
                self._write("DELETE FROM captures WHERE row = ?", row)


@overload
def open_index(path: Path, *, write: bool) -> Index: ...
@overload
def open_index(path: Path, *, write: bool, kind: type[AnyIndex]) -> AnyIndex: ...
def open_index(path: Path, *, write: bool, kind: type[Index] = Index) -> Index:
    """Open the index at `path`, as a `kind` of it; for writing, create it if it is missing.

    Raises:
        StoreError: missing, damaged or not readable.
        UnsupportedFormat: another version wrote it.
    """
    return kind(connect_index(path, write=write), path)
