"""Where the folders lie that packages of `clone dir` were captured from.

A folder of the same name elsewhere is another package, and the captures themselves do not say where they are from:
manifests are published. Losing the file costs that such a folder is taken for a later revision.
"""

from collections.abc import Iterable
from pathlib import Path

from ptmtorrent.disk.database import Database, InDatabase
from ptmtorrent.model.ids import PackageName

_SCHEMA = "CREATE TABLE IF NOT EXISTS places (package TEXT PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID"


class Places(InDatabase):
    """The places in the file `path`, created when missing; in memory for None. For one thread.

    Raises:
        StoreError: it cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        hint = "removing that file is safe, but a folder of the same name elsewhere is then taken for a later revision"
        self._rows = Database(path, name="the places of folders", schema=_SCHEMA, hint=hint)

    def get(self, package: PackageName) -> str | None:
        """Return the folder of a package; None if none is known."""
        row = self._rows.first("SELECT place FROM places WHERE package = ?", package)
        return None if row is None else str(row[0])

    def put(self, places: Iterable[tuple[PackageName, str]]) -> None:
        """Set the folders of packages, atomically and durably."""
        with self._rows.transaction():
            self._rows.run_many("INSERT OR REPLACE INTO places VALUES (?, ?)", places)
