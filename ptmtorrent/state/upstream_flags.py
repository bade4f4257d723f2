"""Changes upstream to captured packages: withdrawn, gated, private, renamed, or the name registered again by others.

A flag changes nothing in the store. A release leaves out what is gated or private now (`CLOSED`). Losing the file costs
only that the next clone finds the changes again.
"""

from pathlib import Path
from typing import Literal

import msgspec

from ptmtorrent.disk.database import Database, InDatabase
from ptmtorrent.model.ids import PackageName

FlagName = Literal["withdrawn", "gated", "private", "renamed", "registered-again"]

CLOSED: tuple[FlagName, ...] = ("gated", "private")
"""The flags of packages that their hub no longer gives to everyone."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS flags (
    package TEXT NOT NULL, flag TEXT NOT NULL, since TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (package, flag)
) WITHOUT ROWID
"""


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A package, the change upstream, and the time when a clone first saw it."""

    package: PackageName
    flag: FlagName
    since: str
    reason: str


class Flags(InDatabase):
    """The flags in the file `path`, created when missing; in memory for None. For one thread.

    Raises:
        StoreError: it cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._rows = Database(
            path,
            name="the flags",
            schema=_SCHEMA,
            hint="removing that file is safe: the next clone finds them again",
            copied=True,
        )

    def put(self, flag: Flag) -> bool:
        """Flag a package, unless it has the flag already; return whether the flag is new."""
        statement = "INSERT OR IGNORE INTO flags VALUES (?, ?, ?, ?)"
        return self._rows.run(statement, flag.package, flag.flag, flag.since, flag.reason).rowcount > 0

    def drop(self, package: PackageName, flag: FlagName) -> None:
        """Remove a flag."""
        self._rows.run("DELETE FROM flags WHERE package = ? AND flag = ?", package, flag)

    def all(self, flag: FlagName | None = None) -> list[Flag]:
        """Return all flags, or those of one name, sorted by package."""
        rows = self._rows.all(
            "SELECT package, flag, since, reason FROM flags WHERE ?1 IS NULL OR flag = ?1 ORDER BY package, flag", flag
        )
        return [Flag(package=row[0], flag=row[1], since=row[2], reason=row[3]) for row in rows]


def read_flags(path: Path) -> list[Flag]:
    """Return the flags in the file `path`; none if the file does not exist.

    Raises:
        StoreError: it cannot be read.
    """
    if not path.is_file():
        return []
    with Flags(path) as flags:
        return flags.all()
