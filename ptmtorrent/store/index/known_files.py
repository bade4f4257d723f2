"""The files that the index knows, and how one is found by any of its hashes.

A file is a row at the end of a table. The first 8 bytes of each of its hashes lead to the row: those of the newest
files in memory, the others in generations. A generation is written at once, sorted, and merged with others of its
level, as runs are: a commit writes no page for a hash.
"""

from contextlib import suppress

from ptmtorrent.errors import NoSpace
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.index.file import index_errors
from ptmtorrent.store.index.objects import Objects
from ptmtorrent.store.index.runs import FAN, STAGED_ROWS
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.stored_file import StoredFile

FRESH_FILES = STAGED_ROWS
"""Files whose hashes are in memory before they become a generation."""

_OID_COLUMNS = {"blake3": "blake3", "sha256": "sha256", "git": "git_sha1"}
_HASHES = "blake3, sha256, git_sha1"
_COLUMNS = f"{_HASHES}, size, cutter, objects"
_HEAD_BYTES = 8

_Row = tuple[int, bytes, bytes, bytes | None, int, str, bytes]


class KnownFiles(Objects):
    """The known files of an open index."""

    _fresh_files_at: int | None = None
    """The version of the file that the hashes in memory belong to; None if they have to be read again."""
    _last_file = 0

    def roll_back(self) -> None:
        """Undo the writes since the last commit."""
        super().roll_back()
        self._fresh_files_at = None

    def settle(self, least: int = 1) -> None:
        """Move rows into a run as `Objects.settle` does, and the hashes of many new files into a generation."""
        super().settle(least)
        if self._count_fresh() >= FRESH_FILES:
            with suppress(NoSpace), self.transaction():
                self._fold()
                while self._merge_generations():
                    pass

    def settle_many(self) -> None:
        """Settle if many rows were added since the last time; for every commit."""
        if self._count_staged() >= STAGED_ROWS or self._count_fresh() >= FRESH_FILES:
            self.settle(STAGED_ROWS)

    def add_file(self, file: StoredFile) -> None:
        """Add a known file, all objects of which are in the store."""
        blake3, git_sha1 = bytes.fromhex(file.blake3), bytes.fromhex(file.git_sha1) if file.git_sha1 else None
        objects = b"".join(bytes.fromhex(identifier) for identifier, _ in file.objects)
        self._begin()
        known = self._rows_with("blake3", blake3)
        git_sha1 = git_sha1 or next((row[3] for row in known if row[3] is not None), None)
        row = (blake3, bytes.fromhex(file.sha256), git_sha1, file.size, file.cutter, objects)
        if known and known[0][1:] == row:
            return
        for number, *_ in known:
            self._write("DELETE FROM files WHERE row = ?", number)
        self._write(f"INSERT INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", *row)  # noqa: S608  # a constant
        self._read_fresh()

    def file(self, oid: str) -> tuple[StoredFile, Rights] | None:
        """Return the file with an oid such as `sha256:...` or `git:...`, and the strictest rights of its objects."""
        algorithm, _, digest = oid.partition(":")
        column = _OID_COLUMNS.get(algorithm)
        if column is None or not _is_hex(digest):
            return None
        rows = self._rows_with(column, bytes.fromhex(digest))
        with index_errors(self._path):
            return next((self._file(row) for row in rows), None)

    def drop_files(self, lost: set[bytes]) -> None:
        """Drop the files that need one of the objects `lost`."""
        for row, objects in self._run("SELECT row, objects FROM files"):
            if any(objects[at : at + 32] in lost for at in range(0, len(objects), 32)):
                self._write("DELETE FROM files WHERE row = ?", row)

    def _file(self, row: _Row) -> tuple[StoredFile, Rights] | None:
        _, blake3, sha256, git_sha1, size, cutter, objects = row
        found = self.find_all([ObjectId(objects[at : at + 32].hex()) for at in range(0, len(objects), 32)])
        places = [place for place in found if place is not None]
        if len(places) != len(found):
            return None
        file = StoredFile(
            blake3=blake3.hex(),
            sha256=sha256.hex(),
            git_sha1=git_sha1.hex() if git_sha1 is not None else None,
            size=size,
            cutter=cutter,
            objects=tuple((place.entry.id, place.entry.raw) for place in places),
        )
        return file, max((place.rights for place in places), key=RIGHTS.index, default=RIGHTS[0])

    def _rows_with(self, column: str, digest: bytes) -> list[_Row]:
        """Return the files one hash of which is `digest`, the newest first."""
        self._know_fresh()
        return self._run(
            f"SELECT row, {_COLUMNS} FROM files WHERE row IN (SELECT row FROM fresh_keys WHERE head = ?1"  # noqa: S608  # a constant
            " UNION ALL SELECT row FROM file_keys WHERE head = ?1 AND generation IN (SELECT row FROM generations))"
            f" AND {column} = ?2 ORDER BY row DESC",
            _head(digest),
            digest,
        )

    def _know_fresh(self) -> None:
        """Bring the hashes in memory up to date with the file."""
        ((version,),) = self._run("PRAGMA data_version")
        if version == self._fresh_files_at:
            return
        folded = self._last_folded()
        if self._fresh_files_at is None:
            self._run("DELETE FROM fresh_keys")
            self._last_file = folded
        self._run("DELETE FROM fresh_keys WHERE row <= ?", folded)
        self._last_file = max(self._last_file, folded)
        self._read_fresh()
        self._fresh_files_at = version

    def _read_fresh(self) -> None:
        """Take the hashes of files that were appended."""
        rows = self._run(f"SELECT row, {_HASHES} FROM files WHERE row > ? ORDER BY row", self._last_file)  # noqa: S608  # a constant
        with index_errors(self._path):
            keys = [(_head(digest), row) for row, *digests in rows for digest in digests if digest is not None]
            self._connection.executemany("INSERT OR IGNORE INTO fresh_keys VALUES (?, ?)", keys)
            self._last_file = rows[-1][0] if rows else self._last_file

    def _last_folded(self) -> int:
        ((last,),) = self._run("SELECT coalesce(max(last), 0) FROM generations")
        return int(last)

    def _count_fresh(self) -> int:
        ((last,),) = self._run("SELECT coalesce(max(row), 0) FROM files")
        return int(last) - self._last_folded()

    def _fold(self) -> None:
        """Write the hashes of files that are in no generation as a new one."""
        self._begin()
        self._know_fresh()
        generation = self._add_generation(0, self._last_file)
        self._write("INSERT INTO file_keys SELECT ?, head, row FROM fresh_keys ORDER BY head, row", generation)
        self._run("DELETE FROM fresh_keys")

    def _merge_generations(self) -> bool:
        """Merge the generations of a level that is full; return whether there was one."""
        rows = self._run("SELECT level, row, last FROM generations ORDER BY level, row")
        for level in sorted({level for level, _, _ in rows}):
            alike = [row for row in rows if row[0] == level][:FAN]
            if len(alike) == FAN:
                numbers = [number for _, number, _ in alike]
                new = self._add_generation(level + 1, max(last for _, _, last in alike))
                # The terms are sorted already, so SQLite merges them as it writes.
                terms = " UNION ALL ".join(
                    f"SELECT head, row FROM file_keys WHERE generation = {each}"  # noqa: S608  # numbers
                    for each in numbers
                )
                self._write(f"INSERT INTO file_keys SELECT {new}, * FROM ({terms} ORDER BY head, row)")  # noqa: S608  # numbers
                for number in numbers:
                    self._write("DELETE FROM file_keys WHERE generation = ?", number)
                    self._write("DELETE FROM generations WHERE row = ?", number)
                return True
        return False

    def _add_generation(self, level: int, last: int) -> int:
        self._write("INSERT INTO generations (level, last) VALUES (?, ?)", level, last)
        ((number,),) = self._run("SELECT last_insert_rowid()")
        return int(number)


def _head(digest: bytes) -> int:
    return int.from_bytes(digest[:_HEAD_BYTES], signed=True)


def _is_hex(text: str) -> bool:
    return len(text) in {40, 64} and not text.strip("0123456789abcdef")
