"""Which files were read whole and had the bytes that a release promises, so that each is read once.

A row is valid as long as the file has the size and modification time that it had when it was read. It is kept by device
and inode: the hard links of a pack in the store, in the home's channel and in a directory that it is published to share
one row. A digest is the BLAKE3 of the bytes, or that of a pack's layers (`model/pack_layers.py`). Losing the rows costs
only time: files without one are read.
"""

import os
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from ptmtorrent.disk.database import Database, InDatabase
from ptmtorrent.disk.durable import disk_errors, read_whole

_SCHEMA = """
CREATE TABLE files (
    device INTEGER NOT NULL, inode INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, PRIMARY KEY (device, inode, digest)
) WITHOUT ROWID;
"""
_VERSION = 1
_SIGN = 1 << 63
"""SQLite has signed integers: numbers of devices and inodes are stored less this."""


class VerifiedFiles(InDatabase):
    """The record in the file `path`, created when missing; in memory for None. For one thread.

    Raises:
        StoreError: it cannot be read or written; removing it is safe.
    """

    def __init__(self, path: Path | None) -> None:
        self._rows = Database(
            path,
            name="the record of verified files",
            schema=_SCHEMA,
            version=_VERSION,
            synchronous="NORMAL",
            hint=f"remove `{path}`: files are then read once more",
            copied=True,
        )

    def holds(self, found: os.stat_result, digest: str) -> bool:
        """Return whether the file that is `found` to be so now is unchanged since its bytes had this digest."""
        query = "SELECT size, mtime_ns FROM files WHERE device = ? AND inode = ? AND digest = ?"
        return self._rows.first(query, *_key(found), digest) == (found.st_size, found.st_mtime_ns)

    def record(self, found: os.stat_result, digest: str) -> None:
        """Record that the bytes of a file, which was `found` to be so when they were read, have this digest."""
        key, state = _key(found), (found.st_size, found.st_mtime_ns)
        outdated = "DELETE FROM files WHERE device = ? AND inode = ? AND (size <> ? OR mtime_ns <> ?)"
        self._rows.run(outdated, *key, *state)
        self._rows.run("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", *key, digest, *state)

    def forget(self, path: Path) -> None:
        """Remove what is recorded of the file at `path`."""
        with suppress(OSError):
            self._rows.run("DELETE FROM files WHERE device = ? AND inode = ?", *_key(path.stat()))

    def proves(self, path: Path, digest: str) -> bool:
        """Return whether the file at `path` has the BLAKE3 `digest`; it is read unless that is recorded.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: it cannot be read.
        """
        if not path.exists():
            raise FileNotFoundError(path)
        with disk_errors(path):
            if self.holds(path.stat(), digest):
                return True
            hasher = blake3()
            found = read_whole(path, hasher.update)
        if found is None or hasher.hexdigest() != digest:
            return False
        self.record(found, digest)
        return True


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev - _SIGN, found.st_ino - _SIGN
