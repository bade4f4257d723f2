"""Numbers that were seen before, and the newest captures by package: temporary tables that outgrow memory to disk.

Nothing here outlives the process. The tables take a few megabytes of memory, however many rows they have.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from blake3 import blake3

from ptmtorrent.disk.database import Database
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Rights

_SCHEMA = "CREATE TABLE seen (key INTEGER PRIMARY KEY);"
_CAPTURES = (
    "CREATE TABLE captures (package TEXT PRIMARY KEY, snapshot BLOB NOT NULL, rights TEXT NOT NULL) WITHOUT ROWID;"
)
_HINT = "free some space, or set another folder for temporary files: SQLITE_TMPDIR=DIR"


def key_of(text: str) -> int:
    """Return a number for `text`: equal texts have equal numbers, and others very probably have not."""
    return int.from_bytes(blake3(text.encode(errors="surrogateescape")).digest(8), "little", signed=True)


class SeenKeys:
    """A set of numbers. For one thread."""

    def __init__(self) -> None:
        self._rows = _temporary(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the table."""
        self._rows.close()

    def add(self, key: int) -> bool:
        """Add a number; return whether it is new."""
        return self._rows.run("INSERT OR IGNORE INTO seen VALUES (?)", key).rowcount > 0

    def __contains__(self, key: int) -> bool:
        """Return whether the number was added."""
        return self._rows.first("SELECT 1 FROM seen WHERE key = ?", key) is not None


class NewestCaptures:
    """The snapshot and the rights of the newest capture of each package. For one thread."""

    def __init__(self, captures: Iterable[tuple[PackageName, SnapshotId, Rights]]) -> None:
        self._rows = _temporary(_CAPTURES)
        with self._rows.transaction():
            rows = ((package, bytes.fromhex(snapshot), rights) for package, snapshot, rights in captures)
            self._rows.run_many("INSERT OR REPLACE INTO captures VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Delete the table."""
        self._rows.close()

    def add(self, package: PackageName, snapshot: SnapshotId, rights: Rights) -> None:
        """Set the newest capture of a package."""
        self._rows.run("INSERT OR REPLACE INTO captures VALUES (?, ?, ?)", package, bytes.fromhex(snapshot), rights)

    def get(self, package: PackageName) -> tuple[SnapshotId, Rights] | None:
        """Return the snapshot and the rights of the newest capture; None if there is none."""
        row = self._rows.first("SELECT snapshot, rights FROM captures WHERE package = ?", package)
        return None if row is None else (SnapshotId(row[0].hex()), row[1])


def _temporary(schema: str) -> Database:
    return Database(None, name="a temporary table", schema=schema, version=1, hint=_HINT, spill=True)
