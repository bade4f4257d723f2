"""The ledger: which files a fetch laid out, so that a second run moves and hashes nothing.

A row is believed as long as the file still has the size and the time of change it had when it was verified. Losing the
ledger costs time only: files without a row are hashed.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ptmtorrent.disk.durable import ensure_dir
from ptmtorrent.errors import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    blake3 TEXT NOT NULL, package TEXT NOT NULL, snapshot TEXT NOT NULL
) WITHOUT ROWID
"""
_COLUMNS = "path, size, mtime_ns, blake3, package, snapshot"


class LaidOut(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was verified and laid out: its place, and what it was then."""

    path: Path
    size: int
    mtime_ns: int
    blake3: str
    package: str
    snapshot: str


class Ledger:
    """The ledger in the file `path`; made when missing. Used from one thread.

    Raises:
        StoreError: it cannot be read or written; removing it is safe.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        ensure_dir(path.parent)
        with self._errors():
            self._rows = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._rows.execute("PRAGMA journal_mode=WAL")
            self._rows.execute("PRAGMA synchronous=NORMAL")
            self._rows.execute(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()

    def holds(self, path: Path, size: int, blake3: str) -> bool:
        """Tell whether `path` is still the regular file, or the link, with these bytes that was laid out."""
        with self._errors():
            row = self._rows.execute(
                "SELECT size, mtime_ns, blake3 FROM files WHERE path = ?", (os.fsencode(path),)
            ).fetchone()
        try:
            found = path.lstat()
        except OSError:
            return False
        return row == (size, found.st_mtime_ns, blake3) and found.st_size == size and _is_ours(found.st_mode)

    def knows(self, path: Path) -> bool:
        """Tell whether `path` is still the regular file, or the link, that was laid out, whatever its bytes were."""
        with self._errors():
            row = self._rows.execute("SELECT size, mtime_ns FROM files WHERE path = ?", (os.fsencode(path),)).fetchone()
        try:
            found = path.lstat()
        except OSError:
            return False
        return row == (found.st_size, found.st_mtime_ns) and _is_ours(found.st_mode)

    def record(self, path: Path, *, blake3: str, package: str, snapshot: str) -> None:
        """Remember that the verified bytes `blake3` lie at `path` as it is now."""
        try:
            found = path.lstat()
        except OSError as error:
            raise StoreError(f"`{path}` went away while it was laid out: {error.strerror}") from error
        values = (os.fsencode(path), found.st_size, found.st_mtime_ns, blake3, package, snapshot)
        with self._errors():
            self._rows.execute(f"INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608  # constant names

    def files(self) -> list[LaidOut]:
        """Return every row, by path."""
        with self._errors():
            rows = self._rows.execute(f"SELECT {_COLUMNS} FROM files ORDER BY path").fetchall()  # noqa: S608  # constant names
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

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"the ledger `{self._path}` cannot be used: {error}",
                hint=f"remove `{self._path}`: files that are there are then hashed once more",
            ) from error


def _is_ours(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)
