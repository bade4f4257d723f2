"""What became, on its hub, of a package that is kept here: it was withdrawn, renamed, or its name is another's now.

Nothing that is kept changes with a flag: flags are for people who decide what to release. They lie in one file of the
home; losing it costs only that the next clone has to find out again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from ptmtorrent.disk.durable import ensure_dir
from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import PackageName

FlagName = Literal["withdrawn", "renamed", "registered-again"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS flags (
    package TEXT NOT NULL, flag TEXT NOT NULL, since TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (package, flag)
) WITHOUT ROWID
"""


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A package, what became of it, and the moment a clone first saw that."""

    package: PackageName
    flag: FlagName
    since: str
    reason: str


class Flags:
    """The flags in the file `path`, made when missing; in memory for None. Used from one thread.

    Raises:
        StoreError: it cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._name = "the flags in memory" if path is None else f"the flags `{path}`"
        if path is not None:
            ensure_dir(path.parent)
        with self._ours():
            self._rows = sqlite3.connect(":memory:" if path is None else path, timeout=30, isolation_level=None)
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.execute("PRAGMA synchronous = FULL")
            self._rows.execute(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()

    def put(self, flag: Flag) -> bool:
        """Flag a package; one that has this flag keeps it as it is. Tell whether it is new."""
        statement = "INSERT OR IGNORE INTO flags VALUES (?, ?, ?, ?)"
        return self._run(statement, flag.package, flag.flag, flag.since, flag.reason).rowcount > 0

    def drop(self, package: PackageName, flag: FlagName) -> None:
        """Take a flag away."""
        self._run("DELETE FROM flags WHERE package = ? AND flag = ?", package, flag)

    def all(self, flag: FlagName | None = None) -> list[Flag]:
        """Return all flags, or those of one name, sorted by package."""
        rows = self._run(
            "SELECT package, flag, since, reason FROM flags WHERE ?1 IS NULL OR flag = ?1 ORDER BY package, flag", flag
        )
        return [Flag(package=row[0], flag=row[1], since=row[2], reason=row[3]) for row in rows]

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        with self._ours():
            return self._rows.execute(statement, values)

    @contextmanager
    def _ours(self) -> Iterator[Any]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"{self._name} could not be used: {error}", hint="removing that file is safe: clones find out again"
            ) from error


def read_flags(path: Path) -> list[Flag]:
    """Return the flags in the file `path`; none when nobody made it.

    Raises:
        StoreError: it cannot be read.
    """
    if not path.is_file():
        return []
    with Flags(path) as flags:
        return flags.all()
