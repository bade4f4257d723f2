"""The captures of a store, in the order of their numbers."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, SnapshotId, object_id
from ptmtorrent.model.manifest import MAX_SEQUENCE, Capture, Rights
from ptmtorrent.store.index.file import VERSION_WITH_SEQUENCES, index_errors
from ptmtorrent.store.index.known_files import KnownFiles

_BY_TIME = "captured DESC, row DESC"
_BY_SEQUENCE = "coalesce(sequence, 0) DESC, captured DESC, iif(sequence IS NULL, row, object) DESC"
"""The order of captures, the newest first. Two stores that were merged may have given a number twice; the time and then
the id decide between those, so that every index of the same packs has the same order."""

_BLOCK = 512
"""Rows that are read at a time where there may be many."""


class Captures(KnownFiles):
    """The captures of an open index."""

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
        newest_first = _BY_SEQUENCE if self._has_sequences() else _BY_TIME
        rows = self._run(
            "SELECT data FROM (SELECT package, data, row_number() OVER"  # noqa: S608  # a constant
            f" (PARTITION BY package ORDER BY {newest_first}) AS rank FROM captures)"
            " WHERE rank = 1 ORDER BY package"
        )
        return [data for (data,) in rows]

    def newest_captures(self, lock: AbstractContextManager[Any]) -> Iterator[tuple[PackageName, SnapshotId, Rights]]:
        """Yield package, snapshot and rights of the newest capture of each package, by package; `lock` guards reads."""
        newest_first = _BY_SEQUENCE if self._has_sequences() else _BY_TIME
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
            names = ("object", "data", "snapshot", "package", "captured", *(["sequence"] * self._has_sequences()))
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

    def _has_sequences(self) -> bool:
        return self._version >= VERSION_WITH_SEQUENCES


def _matches(identifier: bytes, data: bytes, columns: list[bytes | None]) -> bool:
    """Return whether `data` hash to the id, and `columns` (snapshot, package, time, number) match them."""
    if object_id(data) != identifier.hex():
        return False
    capture = canonical.decode(data, Capture, name="a capture")
    expected = [bytes.fromhex(capture.snapshot), capture.package.encode(), capture.captured.encode()]
    sequence = None if capture.sequence is None else str(capture.sequence).encode()
    return columns in (expected, [*expected, sequence])
