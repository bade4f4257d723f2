"""Where each object lies: rows in SQLite for the newest, runs for the others.

A commit appends its rows: no page is written for a hash. Which row an id has is in memory, in a temporary table that
each connection fills when it first looks an object up, and extends after commits of others. Rows are few: once there
are `STAGED_ROWS`, they become a run.

A row in SQLite counts before those in runs, and a newer run before an older one. Rows of a pack that was dropped are
passed over, and removed by the next merge. The number of a pack is never given twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ptmtorrent.disk.database import Connection
from ptmtorrent.model.ids import ObjectId, PackId, is_hex64
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.index.file import index_errors
from ptmtorrent.store.index.run import Container, Found, Listed, entry_of
from ptmtorrent.store.index.runs import StoredRuns
from ptmtorrent.store.pack.columns import UNLISTED, EntryColumns, Ids, PlaceColumns, columns_of, join_columns
from ptmtorrent.store.pack.format import OBJECT_KINDS, RIGHTS, Entry

_COLUMNS = "objects.id, at, stored, raw, codec, kind, base, pack"
_INSERT = "INSERT INTO objects (id, at, stored, raw, codec, kind, base, pack) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_BATCH = 500


class StagedObjects(StoredRuns):
    """The objects of an open index whose rows lie in SQLite."""

    def __init__(self, connection: Connection, path: Path) -> None:
        super().__init__(connection, path)
        self._staged_at: int | None = None
        """The version of the file that the ids in memory belong to; None if they have to be read again."""
        self._last_staged = 0

    def roll_back(self) -> None:
        """Undo the writes since the last commit."""
        super().roll_back()
        self._staged_at = None

    def _are_staged(self) -> bool:
        return bool(self._run("SELECT 1 FROM objects LIMIT 1"))

    def _staged(self, identifiers: Sequence[bytes]) -> dict[bytes, Listed]:
        """Return those of `identifiers` that SQLite has rows of."""
        found: dict[bytes, Listed] = {}
        if not self._know_staged():
            return found
        for at in range(0, len(identifiers), _BATCH):
            batch = identifiers[at : at + _BATCH]
            marks = ", ".join("?" * len(batch))
            rows = self._run(
                f"SELECT {_COLUMNS} FROM staged_ids JOIN objects ON objects.row = staged_ids.row"  # noqa: S608  # marks
                f" AND objects.id = staged_ids.id WHERE staged_ids.id IN ({marks})",
                *batch,
            )
            found |= {row[0]: Listed(*row) for row in rows}
        return found

    def _put(self, rows: Iterable[Listed]) -> None:
        """Append rows; a row of the same id is replaced."""
        fresh = [*rows]
        self._begin()
        old = self._staged([row.id for row in fresh])
        if old:
            sql = "DELETE FROM objects WHERE row = (SELECT row FROM staged_ids WHERE id = ?)"
            self._write_many(sql, [(identifier,) for identifier in old])
        self._write_many(_INSERT, fresh)
        self._read_staged()

    def _know_staged(self) -> bool:
        """Bring the ids in memory up to date with the file; return whether there are rows."""
        ((version,),) = self._run("PRAGMA data_version")
        if version != self._staged_at:
            if self._staged_at is None:
                self._run("DELETE FROM staged_ids")
                self._last_staged = 0
            self._read_staged()
            self._staged_at = version
        return self._last_staged > 0

    def _read_staged(self) -> None:
        """Take the ids of rows that were appended, and forget those of rows that were moved."""
        ((first, last),) = self._run("SELECT (SELECT min(row) FROM objects), (SELECT max(row) FROM objects)")
        if last is None:
            self._run("DELETE FROM staged_ids")
            self._last_staged = 0
            return
        if first > self._last_staged:
            self._run("DELETE FROM staged_ids")
        self._run(
            "INSERT OR REPLACE INTO staged_ids SELECT id, row FROM objects WHERE row > ? AND typeof(id) = 'blob'"
            " ORDER BY row",
            self._last_staged,
        )
        self._last_staged = last


class Objects(StagedObjects):
    """The objects of an open index, by their packs and parts."""

    def find(self, identifier: ObjectId) -> Found | None:
        """Return an object and the file that holds it; None if it is not available.

        A delta is available if its base is, with the same or freer rights, and is not a delta itself. The row of a
        delta without a base stays, because the pack of the base may come back.
        """
        listed = self._listed(bytes.fromhex(identifier))
        if listed is None or (listed.base is not None and not self._is_base(self._listed(listed.base), listed)):
            return None
        with index_errors(self._path):
            return self._found(listed)

    def find_all(self, identifiers: Sequence[ObjectId]) -> list[Found | None]:
        """Return for each of `identifiers` what `find` does: one pass for all of them."""
        keys = [bytes.fromhex(identifier) for identifier in identifiers]
        listed = self._listed_all(keys)
        needed = {row.base for row in listed.values() if row.base is not None} - listed.keys()
        bases = listed | self._listed_all([*needed]) if needed else listed
        with index_errors(self._path):
            found = {
                key: self._found(row)
                for key, row in listed.items()
                if row.base is None or self._is_base(bases.get(row.base), row)
            }
        return [found.get(key) for key in keys]

    def lacking(self, identifiers: Iterable[ObjectId]) -> set[ObjectId]:
        """Return those of `identifiers` that are not available."""
        wanted = [*dict.fromkeys(identifiers)]
        return {each for each, found in zip(wanted, self.find_all(wanted), strict=True) if found is None}

    def has_all(self, identifiers: Iterable[ObjectId]) -> set[ObjectId]:
        """Return those of `identifiers` that are listed, deltas without a base too."""
        listed = self._listed_all([bytes.fromhex(identifier) for identifier in identifiers])
        return {ObjectId(key.hex()) for key in listed}

    def entries(self, container: str | PackId) -> list[Entry]:
        """Return the objects listed for a pack or a part, by offset."""
        number = self._number_of(container)
        if number is None:
            return []
        rows = self._rows_of(number)
        with index_errors(self._path):
            return [entry_of(row) for row in rows]

    def columns(self, container: str | PackId) -> EntryColumns:
        """Return what `entries` does, in columns."""
        number = self._number_of(container)
        if number is None or self._are_staged():
            return columns_of(self.entries(container))
        self._refresh()
        with index_errors(self._path):
            found = self._runs.columns_of(number)
        return join_columns(found) if found else columns_of(self.entries(container))

    def find_places(self, ids: Ids) -> PlaceColumns | None:
        """Return where objects lie that sealed packs list whole, in one pass; None if rows lie in SQLite or parts."""
        if self._are_staged():
            return None
        self._refresh()
        with index_errors(self._path):
            found = self._runs.find_places(ids)
            packs = [self._container(number) for number in set(found.pack.tolist()) if number != UNLISTED]
        return None if any(each is not None and each.pack is None for each in packs) else found

    def container(self, number: int) -> Container | None:
        """Return the pack or part with a number; None if it is not listed."""
        return self._container(number)

    def add_objects(self, row: int, entries: Iterable[Entry]) -> None:
        """Add `entries` as objects of the pack or part of `row`.

        If an object is listed already, the entry with freer rights stays. A delta never replaces a plain object, which
        may be the base of other deltas; a delta without its base is always replaced.
        """
        self._begin()
        fresh = [_listed_as(entry, row) for entry in entries]
        known = self._listed_all([each.id for each in fresh])
        chosen: dict[bytes, Listed] = {}
        for each in fresh:
            old = chosen.get(each.id) or known.get(each.id)
            if old is None or self._replaces(each, old, chosen):
                chosen[each.id] = each
        self._put(chosen.values())

    def move(self, source: PackId, row: int, entries: Iterable[Entry]) -> None:
        """List `entries` in the pack of `row`, those of them that are listed in `source`."""
        self._begin()
        number = self._number_of(source)
        fresh = [_listed_as(entry, row) for entry in entries]
        known = self._listed_all([each.id for each in fresh])
        self._put(each for each in fresh if each.id in known and known[each.id].pack == number)

    def seal_part(self, part: str, pack: PackId, size: int) -> None:
        """Replace the part by the sealed `pack`, which another process may have indexed already."""
        identifier = bytes.fromhex(pack)
        self._begin()
        number, there = self._number_of(part), self._number_of(pack)
        if number is None:
            return
        self._write("DELETE FROM parts WHERE row = ?", number)
        if there is None:
            self._write("UPDATE packs SET id = ?, part = NULL, size = ? WHERE row = ?", identifier, size, number)
        else:
            self._put([row._replace(pack=there) for row in self._rows_of(number)])
            self._write("DELETE FROM packs WHERE row = ?", number)
        self._changed(number, is_listed=there is None)

    def drop(self, container: str | PackId) -> set[ObjectId]:
        """Drop a pack or a part; return the objects that were listed in it."""
        self._begin()
        number = self._number_of(container)
        if number is None:
            return set()
        dropped = {ObjectId(row.id.hex()) for row in self._rows_of(number)}
        self._write("DELETE FROM objects WHERE pack = ?", number)
        self._write("DELETE FROM parts WHERE row = ?", number)
        self._write("DELETE FROM packs WHERE row = ?", number)
        self._changed(number, is_listed=False)
        return dropped

    def row_of_part(self, part: str, rights: Rights) -> int:
        """Return the row of an unsealed part; add it if it is missing."""
        self._begin()
        return self._number_of(part) or self._add_container("part", part, 0, rights)

    def row_of_pack(self, pack: PackId, size: int, rights: Rights) -> int:
        """Return the row of a sealed pack; add it if it is missing."""
        self._begin()
        return self._number_of(pack) or self._add_container("id", bytes.fromhex(pack), size, rights)

    def packs(self) -> dict[PackId, int]:
        """Return the sealed packs and their sizes, sorted by id."""
        rows = self._run("SELECT id, size FROM packs WHERE id IS NOT NULL ORDER BY id")
        with index_errors(self._path):
            return {PackId(identifier.hex()): size for identifier, size in rows}

    def parts(self) -> list[str]:
        """Return the names of the unsealed parts."""
        return [part for (part,) in self._run("SELECT part FROM packs WHERE part IS NOT NULL ORDER BY part")]

    def _add_container(self, column: str, name: bytes | str, size: int, rights: Rights) -> int:
        sql = f"INSERT INTO packs ({column}, size, rights) VALUES (?, ?, ?)"  # noqa: S608  # one of two
        self._write(sql, name, size, RIGHTS.index(rights))
        number = int(self._run("SELECT last_insert_rowid()")[0][0])
        self._changed(number, is_listed=True)
        return number

    def _number_of(self, container: str | PackId) -> int | None:
        column, key = ("id", bytes.fromhex(container)) if is_hex64(container) else ("part", container)
        rows = self._run(f"SELECT row FROM packs WHERE {column} = ?", key)  # noqa: S608  # one of the two
        return int(rows[0][0]) if rows else None

    def _replaces(self, new: Listed, old: Listed, fresh: Mapping[bytes, Listed]) -> bool:
        if new.base is None:
            return old.base is not None or self._rights_of(new) < self._rights_of(old)
        return old.base is not None and not self._is_base(fresh.get(old.base) or self._listed(old.base), old)

    def _is_base(self, base: Listed | None, delta: Listed) -> bool:
        return base is not None and base.base is None and self._rights_of(base) <= self._rights_of(delta)

    def _rights_of(self, row: Listed) -> int:
        container = self._container(row.pack)
        return len(RIGHTS) if container is None else container.rights

    def _listed(self, identifier: bytes) -> Listed | None:
        staged = self._staged([identifier]).get(identifier)
        # The runs are asked after SQLite: a row that was moved into a run meanwhile is found there.
        self._refresh()
        with index_errors(self._path):
            if staged is not None and self._container(staged.pack) is not None:
                return staged
            return self._runs.find(identifier) if self._runs.listed else None

    def _listed_all(self, identifiers: Sequence[bytes]) -> dict[bytes, Listed]:
        staged = self._staged(identifiers)
        self._refresh()
        staged = {key: row for key, row in staged.items() if self._container(row.pack) is not None}
        with index_errors(self._path):
            return staged | self._runs.find_all([key for key in dict.fromkeys(identifiers) if key not in staged])

    def _rows_of(self, number: int) -> list[Listed]:
        staged = self._run(f"SELECT {_COLUMNS} FROM objects WHERE pack = ?", number)  # noqa: S608  # a constant
        self._refresh()
        with index_errors(self._path):
            rows = self._runs.rows_of(number)
            if rows:
                newer = self._staged([row.id for row in rows])
                rows = [row for row in rows if row.id not in newer or self._container(newer[row.id].pack) is None]
            return sorted([*(Listed(*row) for row in staged), *rows], key=lambda row: row.at)

    def _found(self, listed: Listed) -> Found | None:
        container = self._container(listed.pack)
        if container is None:
            return None
        return Found(entry_of(listed), RIGHTS[container.rights], container.pack, container.part, container.size)


def _listed_as(entry: Entry, number: int) -> Listed:
    return Listed(
        id=bytes.fromhex(entry.id),
        at=entry.offset,
        stored=entry.stored,
        raw=entry.raw,
        codec=entry.codec,
        kind=OBJECT_KINDS.index(entry.kind),
        base=bytes.fromhex(entry.base) if entry.base else None,
        pack=number,
    )
