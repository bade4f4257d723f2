"""What a home knows of the packages of its newest release, so that the next one looks at what changed alone.

It is derived from the store and the channel and belongs to one `release.json`, by its hash: of any other, nothing is
known. Losing it costs time only.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from ptmtorrent.disk.database import Database, InDatabase
from ptmtorrent.model.ids import PackId

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE packs (
    id TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    used INTEGER NOT NULL, use BLOB) WITHOUT ROWID;
"""
_VERSION = 1
_SIGN = 1 << 63
"""SQLite has signed integers: numbers of inodes are stored less this."""


class FileState(NamedTuple):
    """A file as it was when it was read: its bytes, modification time and inode."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the state of the file at `path`. Raises `OSError`."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


class PackState(NamedTuple):
    """A pack that may be carried: its file, the tallies that use it as bits, and how they do, encoded; None for not."""

    file: FileState
    used: int
    use: bytes | None = None


class ReleaseState(InDatabase):
    """The state in the file `path`, created when missing. For one thread.

    Raises:
        StoreError: it cannot be read or written; removing it is safe.
    """

    def __init__(self, path: Path) -> None:
        self._rows = Database(
            path,
            name="the state of the newest release",
            schema=_SCHEMA,
            version=_VERSION,
            hint=f"remove `{path}`: the next release then compares every package",
        )

    def facts(self) -> dict[str, bytes]:
        """Return what is known by name."""
        return dict(self._rows.all("SELECT name, value FROM facts"))

    def packs(self) -> dict[PackId, PackState]:
        """Return the packs that may be carried, without how they are used."""
        rows = self._rows.all("SELECT id, size, mtime_ns, inode, used FROM packs ORDER BY id")
        return {
            PackId(pack): PackState(FileState(size, mtime, inode + _SIGN), used)
            for pack, size, mtime, inode, used in rows
        }

    def use_of(self, pack: PackId) -> bytes | None:
        """Return how a pack is used."""
        found = self._rows.first("SELECT use FROM packs WHERE id = ?", pack)
        return None if found is None else found[0]

    def write(self, facts: Mapping[str, bytes], packs: Mapping[PackId, PackState], *, others: Iterable[PackId]) -> None:
        """Replace the facts and these packs, durably; of all other packs only those in `others` stay."""
        kept = {*packs, *others}
        with self._rows.transaction():
            self._rows.run("DELETE FROM facts")
            self._rows.run_many("INSERT INTO facts VALUES (?, ?)", sorted(facts.items()))
            for (pack,) in self._rows.all("SELECT id FROM packs"):
                if pack not in kept:
                    self._rows.run("DELETE FROM packs WHERE id = ?", pack)
            self._rows.run_many(
                "INSERT OR REPLACE INTO packs VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (pack, state.file.size, state.file.mtime_ns, state.file.inode - _SIGN, state.used, state.use)
                    for pack, state in sorted(packs.items())
                ),
            )

    def forget(self) -> None:
        """Forget everything, durably."""
        self.write({}, {}, others=())


def state_of(path: Path) -> FileState | None:
    """Return the state of the file at `path`, None if it cannot be read."""
    try:
        return FileState.of(path)
    except OSError:
        return None
