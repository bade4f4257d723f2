"""The places in the store's code that ask for durability, and how to take one out.

A place is the chain of functions from the fsync up to the first that is not there just to make things durable.
"""

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from ptmtorrent.store import index

SERVANTS = {"durable", "hashes", "version", "gc_marks", "pack.writer"}
SQLITE = "index: PRAGMA synchronous = FULL"


class Sites:
    """Counts the syncs of each place in this process; those of the place `without` are not done."""

    def __init__(self, without: str | None = None) -> None:
        self.without = without
        self.seen: dict[str, int] = {}
        self._fsync = os.fsync

    def apply(self) -> None:
        """From now on, in this process."""
        os.fsync = self._sync  # type: ignore[assignment]  # undone by nobody: a child ends with it
        if self.without == SQLITE:
            index._connect_to_write = _unsynced(index._connect_to_write)

    def _sync(self, descriptor: int) -> None:
        site = _site()
        self.seen[site] = self.seen.get(site, 0) + 1
        if site != self.without:
            self._fsync(descriptor)


def _site() -> str:
    frame = sys._getframe(2)
    names = []
    while True:
        module = _module(Path(frame.f_code.co_filename))
        names.append(f"{module}.{frame.f_code.co_name}")
        if module not in SERVANTS or frame.f_back is None:
            return " < ".join(names)
        frame = frame.f_back


def _module(path: Path) -> str:
    """Return the name of a module as docs/faults.md has it: two of them are called `writer`."""
    return f"{path.parent.name}.{path.stem}" if path.stem == "writer" else path.stem


def _unsynced(connect: Callable[[Path], sqlite3.Connection]) -> Callable[[Path], sqlite3.Connection]:
    def connected(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    return connected
