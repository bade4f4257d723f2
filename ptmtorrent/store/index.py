"""The store's index: the pack and offset of every object, the files that are known, and the captures.

It is a cache: everything in it but the sketches can be rebuilt from the packs. It uses SQLite in WAL mode, so that
other processes read while one writes; ids are stored as 32 bytes. Not thread-safe: the store calls it under its lock.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from ptmtorrent.disk.database import Connection
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, SnapshotId, is_hex64, object_id
from ptmtorrent.model.manifest import MAX_SEQUENCE, Capture, Rights
from ptmtorrent.store.codecs import MAX_RAW_BYTES
from ptmtorrent.store.index_file import VERSION, connect_index, index_errors
from ptmtorrent.store.pack.format import OBJECT_KINDS, RIGHTS, Entry
from ptmtorrent.store.stored_file import StoredFile

_BY_TIME = "captured DESC, row DESC"
_BY_SEQUENCE = "coalesce(sequence, 0) DESC, captured DESC, iif(sequence IS NULL, row, object) DESC"
"""The order of captures, the newest first. Two stores that were merged may have given a number twice; the time and then
the id decide between those, so that every index of the same packs has the same order."""

_OBJECTS_OF_KEY = (
    "SELECT * FROM (SELECT object FROM sketches WHERE key = ?"
    " AND EXISTS (SELECT 1 FROM objects WHERE id = sketches.object) LIMIT 16)"
)

_HAS_BASE = (
    "EXISTS (SELECT 1 FROM objects b JOIN packs q ON q.row = b.pack WHERE b.id = o.base AND b.base IS NULL"
    " AND q.rights <= (SELECT rights FROM packs WHERE row = o.pack))"
)

_IS_VALID = (
    "typeof(id) = 'blob' AND length(id) = 32 AND (base IS NULL OR typeof(base) = 'blob' AND length(base) = 32)"
    " AND typeof(at) = 'integer' AND typeof(at) = typeof(stored) AND typeof(at) = typeof(raw)"
    " AND typeof(at) = typeof(codec) AND typeof(at) = typeof(kind) AND at >= 0 AND stored BETWEEN 0 AND raw"
    " AND raw <= ? AND codec BETWEEN 0 AND ? AND kind BETWEEN 0 AND ? AND pack IN (SELECT row FROM packs)"
)
_MAX_CODEC = 255
_BLOCK = 512
"""Rows that are read at a time where there may be many."""

_OID_COLUMNS = {"blake3": "blake3", "sha256": "sha256", "git": "git_sha1"}


class Found(msgspec.Struct, frozen=True):
    """An object and the file that holds it: a sealed `pack` of `size` bytes, or the unsealed `part` with that name."""

    entry: Entry
    rights: Rights
    pack: PackId | None
    part: str | None
    size: int


AnyIndex = TypeVar("AnyIndex", bound="Index")


class Index:
    """An open index. Writes form one transaction until `commit`, which blocks all other writers."""

    def __init__(self, connection: Connection, path: Path, version: int = VERSION) -> None:
        self._connection = connection
        self._path = path
        self._has_sequences = version == VERSION

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the writes of the block durably, or roll all of them back if it raises."""
        try:
            yield
            self.commit()
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """Undo the writes since the last commit."""
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    def commit(self) -> None:
        """Make all writes so far durable."""
        if self._connection.in_transaction:
            self._run("COMMIT")

    def close(self) -> None:
        """Close the file; uncommitted changes are lost."""
        with index_errors(self._path):
            self._connection.close()

    def find(self, identifier: ObjectId) -> Found | None:
        """Return an object and the file that holds it; None if it is not available.

        A delta is available if its base is, with the same or freer rights, and is not a delta itself. The row of a
        delta without a base stays, because the pack of the base may come back.
        """
        rows = self._run(
            "SELECT o.id, at, stored, raw, codec, kind, base, p.rights, p.id, p.part, p.size"  # noqa: S608  # a constant
            f" FROM objects o JOIN packs p ON p.row = o.pack WHERE o.id = ? AND (base IS NULL OR {_HAS_BASE})",
            bytes.fromhex(identifier),
        )
        with index_errors(self._path):
            return next((_found(row) for row in rows), None)

    def row_of_part(self, part: str, rights: Rights) -> int:
        """Return the row of an unsealed part; add it if it is missing."""
        self._write("INSERT OR IGNORE INTO packs (part, size, rights) VALUES (?, 0, ?)", part, RIGHTS.index(rights))
        return self._row("SELECT row FROM packs WHERE part = ?", part)

    def row_of_pack(self, pack: PackId, size: int, rights: Rights) -> int:
        """Return the row of a sealed pack; add it if it is missing."""
        identifier = bytes.fromhex(pack)
        self._write(
            "INSERT OR IGNORE INTO packs (id, size, rights) VALUES (?, ?, ?)", identifier, size, RIGHTS.index(rights)
        )
        return self._row("SELECT row FROM packs WHERE id = ?", identifier)

    def seal_part(self, part: str, pack: PackId, size: int) -> None:
        """Replace the part by the sealed `pack`, which another process may have indexed already."""
        identifier = bytes.fromhex(pack)
        self._write(
            "UPDATE objects SET pack = (SELECT row FROM packs WHERE part = ?)"
            " WHERE pack = (SELECT row FROM packs WHERE id = ?)",
            part,
            identifier,
        )
        self._write("DELETE FROM packs WHERE id = ?", identifier)
        self._write("UPDATE packs SET id = ?, part = NULL, size = ? WHERE part = ?", identifier, size, part)

    def move(self, source: PackId, row: int, entries: Iterable[Entry]) -> None:
        """List `entries` in the pack of `row`, those of them that are listed in `source`."""
        for entry in entries:
            self._write(
                "UPDATE objects SET pack = ?, at = ? WHERE id = ? AND pack = (SELECT row FROM packs WHERE id = ?)",
                row,
                entry.offset,
                bytes.fromhex(entry.id),
                bytes.fromhex(source),
            )

    def add_objects(self, row: int, entries: Iterable[Entry]) -> None:
        """Add `entries` as objects of the pack or part of `row`.

        If an object is listed already, the entry with freer rights stays. A delta never replaces a plain object, which
        may be the base of other deltas; a delta without its base is always replaced.
        """
        for entry in entries:
            self._write(
                "INSERT INTO objects (id, pack, at, stored, raw, codec, kind, base)"  # noqa: S608  # a constant
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET pack = excluded.pack, at = excluded.at, stored = excluded.stored,"
                " raw = excluded.raw, codec = excluded.codec, kind = excluded.kind, base = excluded.base"
                " WHERE CASE WHEN excluded.base IS NULL THEN objects.base IS NOT NULL"
                " OR (SELECT rights FROM packs WHERE row = excluded.pack)"
                " < (SELECT rights FROM packs WHERE row = objects.pack)"
                f" ELSE objects.base IS NOT NULL AND NOT {_HAS_BASE.replace('o.', 'objects.')} END",
                bytes.fromhex(entry.id),
                row,
                entry.offset,
                entry.stored,
                entry.raw,
                entry.codec,
                OBJECT_KINDS.index(entry.kind),
                bytes.fromhex(entry.base) if entry.base else None,
            )

    def packs(self) -> dict[PackId, int]:
        """Return the sealed packs and their sizes, sorted by id."""
        rows = self._run("SELECT id, size FROM packs WHERE id IS NOT NULL ORDER BY id")
        with index_errors(self._path):
            return {PackId(identifier.hex()): size for identifier, size in rows}

    def entries(self, container: str | PackId) -> list[Entry]:
        """Return the objects listed for a pack or a part, by offset."""
        key = _key(container)
        rows = self._run(
            "SELECT o.id, at, stored, raw, codec, kind, base FROM objects o JOIN packs p ON p.row = o.pack"
            " WHERE p.id = ? OR p.part = ? ORDER BY at",
            key,
            key,
        )
        with index_errors(self._path):
            return [_entry(row) for row in rows]

    def parts(self) -> list[str]:
        """Return the names of the unsealed parts."""
        return [part for (part,) in self._run("SELECT part FROM packs WHERE part IS NOT NULL ORDER BY part")]

    def drop(self, container: str | PackId) -> set[ObjectId]:
        """Drop a pack or a part and its objects; return these objects."""
        key = _key(container)
        rows = self._run("SELECT row FROM packs WHERE id = ? OR part = ?", key, key)
        dropped: set[ObjectId] = set()
        for (row,) in rows:
            dropped.update(
                ObjectId(found.hex()) for (found,) in self._run("SELECT id FROM objects WHERE pack = ?", row)
            )
            self._write("DELETE FROM objects WHERE pack = ?", row)
            self._write("DELETE FROM packs WHERE row = ?", row)
        return dropped

    def clear(self) -> None:
        """Drop all rows but sketches and the highest number of a capture, which cannot be rebuilt from packs."""
        for table in ("objects", "packs", "files", "captures"):
            self._write(f"DELETE FROM {table}")  # noqa: S608  # the names are the four above
        sane = "typeof(sequence) = 'integer' AND sequence BETWEEN 0 AND ?"
        self._write(f"UPDATE highest SET sequence = 0 WHERE NOT ({sane})", MAX_SEQUENCE - 1)  # noqa: S608  # a constant

    def add_file(self, file: StoredFile) -> None:
        """Add a known file, all objects of which are in the store."""
        self._write(
            "INSERT INTO files (blake3, sha256, git_sha1, size, cutter, objects) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (blake3) DO UPDATE SET git_sha1 = coalesce(excluded.git_sha1, git_sha1),"
            " cutter = excluded.cutter, objects = excluded.objects",
            bytes.fromhex(file.blake3),
            bytes.fromhex(file.sha256),
            bytes.fromhex(file.git_sha1) if file.git_sha1 else None,
            file.size,
            file.cutter,
            b"".join(bytes.fromhex(identifier) for identifier, _ in file.objects),
        )

    def file(self, oid: str) -> tuple[StoredFile, Rights] | None:
        """Return the file with an oid such as `sha256:...` or `git:...`, and the strictest rights of its objects."""
        algorithm, _, digest = oid.partition(":")
        column = _OID_COLUMNS.get(algorithm)
        if column is None or not _is_hex(digest):
            return None
        rows = self._run(
            f"SELECT blake3, sha256, git_sha1, size, cutter, objects FROM files WHERE {column} = ?",  # noqa: S608
            bytes.fromhex(digest),
        )
        with index_errors(self._path):
            return next((self._file(row) for row in rows), None)

    def _file(self, row: tuple[bytes, bytes, bytes | None, int, str, bytes]) -> tuple[StoredFile, Rights] | None:
        found = [self.find(ObjectId(row[5][at : at + 32].hex())) for at in range(0, len(row[5]), 32)]
        places = [place for place in found if place is not None]
        if len(places) != len(found):
            return None
        file = StoredFile(
            blake3=row[0].hex(),
            sha256=row[1].hex(),
            git_sha1=row[2].hex() if row[2] is not None else None,
            size=row[3],
            cutter=row[4],
            objects=tuple((place.entry.id, place.entry.raw) for place in places),
        )
        return file, max((place.rights for place in places), key=RIGHTS.index, default=RIGHTS[0])

    def add_sketches(self, key: int, identifiers: Iterable[ObjectId]) -> None:
        """Add objects that have `key` in their sketches."""
        for identifier in identifiers:
            self._write("INSERT OR IGNORE INTO sketches (key, object) VALUES (?, ?)", key, bytes.fromhex(identifier))

    def similar_objects(self, keys: Sequence[int], limit: int) -> list[ObjectId]:
        """Return up to `limit` objects that share sketch keys with `keys`, those that share most first.

        At most 16 objects of each key are examined, because an attacker can store millions with the same key.
        """
        rows = self._run(
            f"SELECT object FROM ({' UNION ALL '.join([_OBJECTS_OF_KEY] * len(keys))})"  # noqa: S608  # constants alone
            " GROUP BY object ORDER BY count(*) DESC, object LIMIT ?",
            *keys,
            limit,
        )
        return [ObjectId(identifier.hex()) for (identifier,) in rows]

    def drop_unused_sketches(self) -> None:
        """Drop sketches of objects that are not in the index."""
        self._write("DELETE FROM sketches WHERE object NOT IN (SELECT id FROM objects)")

    def add_capture(self, identifier: ObjectId, capture: Capture, data: bytes) -> None:
        """Add a capture; `data` are the bytes of its object."""
        self._write(
            "INSERT OR IGNORE INTO captures (object, snapshot, package, captured, data, sequence)"
            " VALUES (?, ?, ?, ?, ?, ?)",
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
        newest_first = _BY_SEQUENCE if self._has_sequences else _BY_TIME
        rows = self._run(
            "SELECT data FROM (SELECT package, data, row_number() OVER"  # noqa: S608  # a constant
            f" (PARTITION BY package ORDER BY {newest_first}) AS rank FROM captures)"
            " WHERE rank = 1 ORDER BY package"
        )
        return [data for (data,) in rows]

    def newest_captures(self, lock: AbstractContextManager[Any]) -> Iterator[tuple[PackageName, SnapshotId, Rights]]:
        """Yield package, snapshot and rights of the newest capture of each package, by package; `lock` guards reads."""
        newest_first = _BY_SEQUENCE if self._has_sequences else _BY_TIME
        with lock, index_errors(self._path):
            rows = self._connection.execute(
                "SELECT package, snapshot, json_extract(CAST(data AS TEXT), '$.rights') FROM captures"  # noqa: S608  # a constant
                " WHERE row IN (SELECT row FROM (SELECT row, row_number() OVER"
                f" (PARTITION BY package ORDER BY {newest_first}) AS rank FROM captures) WHERE rank = 1)"
                " ORDER BY package"
            )
        while True:
            with lock, index_errors(self._path):
                block = rows.fetchmany(_BLOCK)
            if not block:
                return
            yield from ((PackageName(package), SnapshotId(found.hex()), rights) for package, found, rights in block)

    def all_captures(self) -> list[tuple[ObjectId, bytes]]:
        """Return the ids and bytes of all captures, older ones too, sorted by package."""
        rows = self._run("SELECT object, data FROM captures ORDER BY package, row")
        with index_errors(self._path):
            return [(ObjectId(identifier.hex()), data) for identifier, data in rows]

    def capture_mark(self) -> tuple[int, int, int, int]:
        """Return how many captures there are, the sum of their numbers, the highest number, and the last row."""
        rows = self._run("SELECT count(*), coalesce(sum(sequence), 0), coalesce(max(row), 0) FROM captures")
        with index_errors(self._path):
            ((count, total, last),) = rows
            return int(count), int(total), self.highest_sequence(), int(last)

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

    def invalid_rows(self, limit: int) -> list[str]:
        """Return the ids, in hex, of up to `limit` objects whose rows have impossible values."""
        limits = (MAX_RAW_BYTES, _MAX_CODEC, len(OBJECT_KINDS) - 1)
        sql = f"SELECT CAST(id AS BLOB) FROM objects WHERE NOT ({_IS_VALID}) LIMIT ?"  # noqa: S608  # a constant
        rows = self._run(sql, *limits, limit)
        return [identifier.hex() for (identifier,) in rows]

    def damaged_captures(self) -> list[ObjectId]:
        """Return the captures whose rows differ from the capture in their `data`."""
        with index_errors(self._path):
            # As bytes, because a damaged row may have any type.
            names = ("object", "data", "snapshot", "package", "captured", *(["sequence"] * self._has_sequences))
            casts = ", ".join(f"CAST({name} AS BLOB)" for name in names)
            rows = self._connection.execute(f"SELECT {casts} FROM captures")  # noqa: S608  # the names are these six
            return [ObjectId(found.hex()) for found, data, *columns in rows if not _matches(found, data, columns)]

    def drop_dependents(self, lost: set[ObjectId]) -> None:
        """Drop files and captures that need one of the objects `lost`."""
        if not lost:
            return
        gone = {bytes.fromhex(identifier) for identifier in lost}
        for blake3, objects in self._run("SELECT blake3, objects FROM files"):
            if any(objects[at : at + 32] in gone for at in range(0, len(objects), 32)):
                self._write("DELETE FROM files WHERE blake3 = ?", blake3)
        for row, identifier, snapshot in self._run("SELECT row, object, snapshot FROM captures"):
            if identifier in gone or snapshot in gone:
                self._write("DELETE FROM captures WHERE row = ?", row)

    def _row(self, sql: str, value: bytes | str) -> int:
        rows = self._run(sql, value)
        with index_errors(self._path):
            return int(rows[0][0])

    def _write(self, sql: str, *values: bytes | str | int | None) -> None:
        if not self._connection.in_transaction:
            self._run("BEGIN IMMEDIATE")
        self._run(sql, *values)

    def _run(self, sql: str, *values: bytes | str | int | None) -> list[Any]:
        with index_errors(self._path):
            return self._connection.execute(sql, values).fetchall()


@overload
def open_index(path: Path, *, write: bool) -> Index: ...
@overload
def open_index(path: Path, *, write: bool, kind: type[AnyIndex]) -> AnyIndex: ...
def open_index(path: Path, *, write: bool, kind: type[Index] = Index) -> Index:
    """Open the index at `path`, as a `kind` of it; for writing, create it if it is missing.

    Raises:
        StoreError: missing, damaged or not readable.
        UnsupportedFormat: a newer version wrote it.
    """
    connection, version = connect_index(path, write=write)
    return kind(connection, path, version)


def _matches(identifier: bytes, data: bytes, columns: list[bytes | None]) -> bool:
    """Return whether `data` hash to the id, and `columns` (snapshot, package, time, number) match them."""
    if object_id(data) != identifier.hex():
        return False
    capture = canonical.decode(data, Capture, name="a capture")
    expected = [bytes.fromhex(capture.snapshot), capture.package.encode(), capture.captured.encode()]
    sequence = None if capture.sequence is None else str(capture.sequence).encode()
    return columns in (expected, [*expected, sequence])


def _found(row: tuple[Any, ...]) -> Found:
    pack = PackId(row[8].hex()) if row[8] is not None else None
    return Found(_entry(row[:7]), RIGHTS[row[7]], pack, row[9], row[10])


def _entry(row: tuple[Any, ...]) -> Entry:
    identifier, offset, stored, raw, codec, kind, base = row
    if {type(number) for number in row[1:6]} != {int} or min(offset, codec, kind) < 0 or codec > _MAX_CODEC:
        raise LookupError(f"the row of `{identifier.hex()}` is invalid")
    if not 0 <= stored <= raw <= MAX_RAW_BYTES:
        raise LookupError(f"the row of `{identifier.hex()}` is invalid")
    return Entry(
        id=ObjectId(identifier.hex()),
        offset=offset,
        stored=stored,
        raw=raw,
        codec=codec,
        kind=OBJECT_KINDS[kind],
        base=None if base is None else ObjectId(base.hex()),
    )


def _key(container: str | PackId) -> bytes | str:
    return bytes.fromhex(container) if is_hex64(container) else container


def _is_hex(text: str) -> bool:
    return len(text) in {40, 64} and all(digit in "0123456789abcdef" for digit in text)
