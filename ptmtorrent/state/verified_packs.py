"""Packs of channel folders that were verified, so that a seeder reads each of them once.

A row is valid as long as the file has the size, modification time and inode that it had when its bytes were read, and
the torrents still promise the same hashes of it. Losing the rows costs only time: packs without one are read.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.disk.database import Database

_SCHEMA = """
CREATE TABLE packs (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    digest TEXT NOT NULL
) WITHOUT ROWID;
"""
_VERSION = 1


class VerifiedPacks:
    """The verified packs in the file `path`, created when missing; None keeps them in memory. For one thread.

    Raises:
        StoreError: it cannot be read or written; removing it is safe.
    """

    def __init__(self, path: Path | None) -> None:
        self._rows = Database(
            path,
            name="the record of verified packs",
            schema=_SCHEMA,
            version=_VERSION,
            synchronous="NORMAL",
            hint=f"remove `{path}`: packs are then read once more",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()

    def holds(self, path: Path | str, found: os.stat_result, digest: str) -> bool:
        """Return whether `path`, which is `found` to be so now, is unchanged since its bytes had this digest."""
        row = self._rows.first("SELECT size, mtime_ns, inode, digest FROM packs WHERE path = ?", _key(path))
        return row == (found.st_size, found.st_mtime_ns, _inode(found), digest)

    def record(self, path: Path, found: os.stat_result, digest: str) -> None:
        """Record that the bytes of `path`, which was `found` to be so before they were read, have this digest."""
        values = (_key(path), found.st_size, found.st_mtime_ns, _inode(found), digest)
        self._rows.run(
            "INSERT OR REPLACE INTO packs (path, size, mtime_ns, inode, digest) VALUES (?, ?, ?, ?, ?)", *values
        )

    def forget(self, path: Path) -> None:
        """Remove the row of a pack."""
        self._rows.run("DELETE FROM packs WHERE path = ?", _key(path))


def _key(path: Path | str) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100  # links stay as they are


def _inode(found: os.stat_result) -> int:
    """Return the inode as SQLite can hold it: some filesystems use all 64 bits."""
    return found.st_ino - (1 << 64) if found.st_ino >= 1 << 63 else found.st_ino
