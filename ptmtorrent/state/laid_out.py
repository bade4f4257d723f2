"""The ledger: the files that fetches wrote, so that a second run moves and hashes nothing.

A row is valid as long as the file has the size and modification time that it had when it was verified. Losing the
ledger costs only time: files without a row are hashed.
"""

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ptmtorrent.disk.database import Database
from ptmtorrent.errors import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    blake3 TEXT NOT NULL, package TEXT NOT NULL, snapshot TEXT NOT NULL
) WITHOUT ROWID
"""
_COLUMNS = "path, size, mtime_ns, blake3, package, snapshot"


class LaidOut(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was verified and written: its path, and its size, time and hash at that time."""

    path: Path
    size: int
    mtime_ns: int
    blake3: str
    package: str
    snapshot: str


class Ledger:
    """The ledger in the file `path`, created when missing. For one thread.

    Raises:
        StoreError: it cannot be read or written; removing it is safe.
    """

    def __init__(self, path: Path) -> None:
        self._rows = Database(
            path,
            name="the ledger",
            schema=_SCHEMA,
            synchronous="NORMAL",
            hint=f"remove `{path}`: files that are there are then hashed once more",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()

    def holds(self, path: Path, size: int, blake3: str) -> bool:
        """Return whether `path` is unchanged since it was written with these bytes."""
        row = self._rows.first("SELECT size, mtime_ns, blake3 FROM files WHERE path = ?", os.fsencode(path))
        try:
            found = path.lstat()
        except OSError:
            return False
        return row == (size, found.st_mtime_ns, blake3) and found.st_size == size and _is_ours(found.st_mode)

    def knows(self, path: Path) -> bool:
        """Return whether `path` is unchanged since a fetch wrote it, whatever its bytes."""
        row = self._rows.first("SELECT size, mtime_ns FROM files WHERE path = ?", os.fsencode(path))
        try:
            found = path.lstat()
        except OSError:
            return False
        return row == (found.st_size, found.st_mtime_ns) and _is_ours(found.st_mode)

    def record(self, path: Path, *, blake3: str, package: str, snapshot: str) -> None:
        """Record that `path`, as it is now, holds the verified bytes `blake3`."""
        try:
            found = path.lstat()
        except OSError as error:
            raise StoreError(
                f"`{path}` disappeared while it was written: {error.strerror}", hint="run the same command again"
            ) from error
        values = (os.fsencode(path), found.st_size, found.st_mtime_ns, blake3, package, snapshot)
        self._rows.run(f"INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", *values)  # noqa: S608  # constant names

    def files(self) -> list[LaidOut]:
        """Return every row, sorted by path."""
        rows = self._rows.all(f"SELECT {_COLUMNS} FROM files ORDER BY path")  # noqa: S608  # constant names
        return [
            LaidOut(
                path=Path(os.fsdecode(path)),
                size=size,
                mtime_ns=mtime_ns,
                blake3=blake3,
                package=package,
                snapshot=snapshot,
            )
            for path, size, mtime_ns, blake3, package, snapshot in rows
        ]


def _is_ours(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)
