"""The files that a store knows, and the sketches by which the bases of deltas are found."""

from collections import Counter
from collections.abc import Iterable, Sequence

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.index.file import index_errors
from ptmtorrent.store.index.objects import Objects
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.stored_file import StoredFile

_OID_COLUMNS = {"blake3": "blake3", "sha256": "sha256", "git": "git_sha1"}

MAX_OF_KEY = 16
"""Objects of one key of a sketch that are examined, because an attacker can store millions with the same key."""

_PAGE = 64
_MAX_PAGES = 16

_MANY = 10_000


class KnownFiles(Objects):
    """The known files and the sketches of an open index."""

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
        found = self.find_all([ObjectId(row[5][at : at + 32].hex()) for at in range(0, len(row[5]), 32)])
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


def _is_hex(text: str) -> bool:
    return len(text) in {40, 64} and not text.strip("0123456789abcdef")
