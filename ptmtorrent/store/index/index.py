"""The index as the store uses it: one object for all of it, opened at a path, checked, and cleared."""

from pathlib import Path
from typing import TypeVar, overload

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import MAX_SEQUENCE
from ptmtorrent.store.codecs import MAX_RAW_BYTES
from ptmtorrent.store.index.captures import Captures
from ptmtorrent.store.index.file import VERSION_WITH_RUNS, connect_index, index_errors
from ptmtorrent.store.index.found import MAX_CODEC
from ptmtorrent.store.pack.format import OBJECT_KINDS
from ptmtorrent.store.pack.part_state import PartState

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
        for table in ("objects", "packs", "runs", "parts", "files", "captures"):
            self._write(f"DELETE FROM {table}")  # noqa: S608  # the names are the six above
        self._fresh_at = None
        sane = "typeof(sequence) = 'integer' AND sequence BETWEEN 0 AND ?"
        self._write(f"UPDATE highest SET sequence = 0 WHERE NOT ({sane})", MAX_SEQUENCE - 1)  # noqa: S608  # a constant

    def record_part(self, row: int, state: PartState) -> None:
        """Record what of the part of `row` is committed; its bytes must be durable."""
        self._write("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", row, state.length, state.objects, state.hashes)

    def part_state(self, part: str) -> PartState | None:
        """Return what of a part is committed; None if nothing is recorded, and all of it has to be rechecked."""
        if self._version < VERSION_WITH_RUNS:
            return None
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
        for blake3, objects in self._run("SELECT blake3, objects FROM files"):
            if any(objects[at : at + 32] in gone for at in range(0, len(objects), 32)):
                self._write("DELETE FROM files WHERE blake3 = ?", blake3)
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
        UnsupportedFormat: a newer version wrote it.
    """
    connection, version = connect_index(path, write=write)
    return kind(connection, path, version)
