"""Which files were read whole and had the bytes that they are listed with, so that each is hashed once.

A row is valid as long as the file has the size and modification time of that moment. It is kept by device and inode:
the hard links of a pack in the store, in the home's channel and in a directory that it is published to share one row.
Losing the file costs only time: files without a row are hashed.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from blake3 import blake3

from ptmtorrent.disk.database import Database
from ptmtorrent.disk.durable import disk_errors, open_regular

_SCHEMA = """
CREATE TABLE IF NOT EXISTS proven (
    device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    blake3 TEXT NOT NULL, PRIMARY KEY (device, inode)
) WITHOUT ROWID
"""
_SIGN = 1 << 63
"""SQLite has signed integers: numbers of devices and inodes are stored less this."""


class Proven:
    """The record in the file `path`, created when missing; in memory for None. For one thread.

    Raises:
        StoreError: it cannot be read or written; removing it is safe.
    """

    def __init__(self, path: Path | None) -> None:
        self._rows = Database(
            path,
            name="the record of proven files",
            schema=_SCHEMA,
            synchronous="NORMAL",
            hint=f"remove `{path}`: files are then hashed once more",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()

    def knows(self, path: Path, digest: str) -> bool:
        """Return whether the file at `path` is recorded, unchanged, with the BLAKE3 `digest`; nothing is hashed."""
        try:
            found = path.stat()
        except OSError:
            return False
        return self._row(found) == (found.st_size, found.st_mtime_ns, digest)

    def holds(self, path: Path, digest: str) -> bool:
        """Return whether the file at `path` has the BLAKE3 `digest`; it is hashed unless that is recorded.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: it cannot be read.
        """
        if not path.exists():
            raise FileNotFoundError(path)
        with disk_errors(path), os.fdopen(open_regular(path), "rb") as file:
            found = os.fstat(file.fileno())
            if self._row(found) == (found.st_size, found.st_mtime_ns, digest):
                return True
            if blake3().update_mmap(path).hexdigest() != digest:
                return False
        values = (*_key(found), found.st_size, found.st_mtime_ns, digest)
        self._rows.run("INSERT OR REPLACE INTO proven VALUES (?, ?, ?, ?, ?)", *values)
        return True

    def _row(self, found: os.stat_result) -> tuple[object, ...] | None:
        query = "SELECT size, mtime_ns, blake3 FROM proven WHERE device = ? AND inode = ?"
        return self._rows.first(query, *_key(found))


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev - _SIGN, found.st_ino - _SIGN
