"""The runs that an index lists: kept up to date with other processes, made of rows that lie in SQLite, and merged.

Write order: the file of a run, synced; its name, and the sync of the folder; then, in one transaction of SQLite, the
row of the run and the removal of what it replaces; then the files that were replaced. So a crash leaves a file that
nothing refers to, which the next writer removes, or the new list.
"""

import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from ptmtorrent.disk.database import Connection
from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import IntegrityError, NoSpace
from ptmtorrent.model.ids import PackId
from ptmtorrent.store.index.connected import Connected
from ptmtorrent.store.index.file import VERSION, VERSION_WITH_RUNS, index_errors, run_errors
from ptmtorrent.store.index.found import Container
from ptmtorrent.store.index.run import Listed
from ptmtorrent.store.index.run_writer import merge_runs, new_run_path, write_rows
from ptmtorrent.store.index.runs import FOLDER, RunRow, Runs, due, is_sound

STAGED_ROWS = 1 << 14
"""Rows of sealed packs that may lie in SQLite before they become a run, where nothing was sealed."""

_MAX_CONTAINERS = 1 << 14
_RETRIES = 5


class StoredRuns(Connected):
    """The runs of an open index, and the packs and parts that its rows name."""

    def __init__(self, connection: Connection, path: Path, version: int = VERSION) -> None:
        super().__init__(connection, path, version)
        self._runs = Runs(path.parent / FOLDER)
        self._containers: dict[int, Container | None] = {}
        self._hidden: frozenset[PackId] = frozenset()
        self._fresh_at: int | None = None
        """The version of the file that the runs belong to; None if they have to be read again."""

    def close(self) -> None:
        """Close the files; uncommitted changes are lost."""
        self._runs.close()
        super().close()

    def roll_back(self) -> None:
        """Undo the writes since the last commit."""
        super().roll_back()
        self._fresh_at = None

    def hide(self, packs: Collection[PackId]) -> None:
        """Pass over these packs as if they were not listed."""
        self._hidden = frozenset(packs)
        self._fresh_at = None

    def settle(self, least: int = 1) -> None:
        """Move the rows of sealed packs into a run, if there are at least so many, and merge the runs that are due.

        On a full disk the rows stay where they are, and are moved later.
        """
        with suppress(NoSpace):
            with self.transaction():
                self.flush(least)
            while self._merge():
                pass

    def flush(self, least: int = 1) -> None:
        """Move the rows of sealed packs into a run, if there are at least so many; part of the transaction.

        Raises:
            NoSpace: the disk is full; nothing changed.
        """
        self._begin()
        sealed = "SELECT row FROM packs WHERE id IS NOT NULL"
        ((staged,),) = self._run(f"SELECT count(*) FROM objects WHERE pack IN ({sealed})")  # noqa: S608  # a constant
        if staged < max(1, least):
            return
        path = new_run_path(self._runs.folder)
        write_rows(path, self._rows_to_move(sealed))
        self._write("INSERT INTO runs (name, level) VALUES (?, 0)", path.stem)
        self._write(f"DELETE FROM objects WHERE pack IN ({sealed})")  # noqa: S608  # a constant
        self._fresh_at = None

    def drop_unsound_runs(self) -> list[PackId]:
        """Drop all rows of sealed packs if a run is damaged or missing; return these packs, which are no longer listed.

        Raises:
            UnsupportedFormat: a newer version wrote a run.
        """
        if is_sound(self._run_rows(), self._runs):
            return []
        packs = [PackId(pack.hex()) for (pack,) in self._run("SELECT id FROM packs WHERE id IS NOT NULL ORDER BY id")]
        self._write("DELETE FROM objects WHERE pack IN (SELECT row FROM packs WHERE id IS NOT NULL)")
        self._write("DELETE FROM packs WHERE id IS NOT NULL")
        self._write("DELETE FROM runs")
        self._fresh_at = None
        return packs

    def remove_unlisted_runs(self) -> None:
        """Remove files of runs that are not listed. No other process may write."""
        self._runs.remove_others([row.name for row in self._run_rows()])

    def run_problems(self) -> list[tuple[Path, str]]:
        """Read all runs and return what is wrong with them, by their files.

        Raises:
            StoreError: one of them cannot be read.
        """
        found: list[tuple[Path, str]] = []
        for row in self._run_rows():
            problem = self._runs.problem_of(row.name)
            found += [(self._runs.path_of(row.name), problem)] if problem else []
        return found

    def _merge(self) -> bool:
        """Merge the runs of a level that is full, or else drop dead rows of a run; return whether something was done.

        Another process may do the same: the one that commits first wins, and the other one removes its file.
        """
        rows = self._run_rows()
        if full := due(rows):
            return self._rewrite(full, None, full[0].level + 1)
        self._refresh()
        wasteful = next((row for row in rows if self._runs.is_wasteful(row.name)), None)
        return wasteful is not None and self._rewrite([wasteful], wasteful.number, wasteful.level)

    def _rewrite(self, rows: list[RunRow], number: int | None, level: int) -> bool:
        """Replace runs, the oldest first, by one of `level`, with the next number unless it is given."""
        self._refresh()
        path = new_run_path(self._runs.folder)
        with run_errors(self._path):
            kept = merge_runs(path, self._runs.of_names([row.name for row in rows]), self._runs.is_listed)
        with self.transaction():
            self._begin()
            won = set(rows) <= set(self._run_rows())
            if won:
                self._write_many("DELETE FROM runs WHERE row = ?", [(row.number,) for row in rows])
            if won and kept:
                self._write("INSERT INTO runs (row, name, level) VALUES (?, ?, ?)", number, path.stem, level)
        self._fresh_at = None
        gone = [row.name for row in rows] if won else []
        for name in gone if won and kept else [*gone, path.stem]:
            with disk_errors(path), suppress(FileNotFoundError):
                self._runs.path_of(name).unlink()
        return won

    def _rows_to_move(self, sealed: str) -> Iterator[Listed]:
        sql = "SELECT id, at, stored, raw, codec, kind, base, pack FROM objects"
        with index_errors(self._path):
            try:
                for row in self._connection.execute(f"{sql} WHERE pack IN ({sealed}) ORDER BY pack, at"):
                    yield Listed(*row)
            except struct.error as error:
                raise LookupError(str(error)) from error

    def _run_rows(self) -> list[RunRow]:
        if self._version < VERSION_WITH_RUNS:
            return []
        return [RunRow(*row) for row in self._run("SELECT row, name, level FROM runs ORDER BY row")]

    def _refresh(self) -> None:
        """Read the lists of runs and packs again if they have changed."""
        with run_errors(self._path):
            for retries_left in reversed(range(_RETRIES)):
                ((version,),) = self._run("PRAGMA data_version")
                if version == self._fresh_at:
                    return
                try:
                    self._runs.set(self._run_rows(), self._listed_packs())
                except IntegrityError:
                    # Another process may have merged what was just listed.
                    if not retries_left or [(version,)] == self._run("PRAGMA data_version"):
                        raise
                else:
                    self._containers.clear()
                    self._fresh_at = version
                    return

    def _listed_packs(self) -> list[int]:
        if not self._hidden:
            return [row for (row,) in self._run("SELECT row FROM packs")]
        hidden = {bytes.fromhex(pack) for pack in self._hidden}
        return [row for row, pack in self._run("SELECT row, id FROM packs") if pack not in hidden]

    def _changed(self, number: int, *, is_listed: bool) -> None:
        """Take note of a pack or part that this transaction added, sealed or dropped."""
        self._runs.list_pack(number, is_listed=is_listed)
        self._containers.pop(number, None)

    def _container(self, number: int) -> Container | None:
        """Return the pack or part with a number; None if it is not listed."""
        if number not in self._containers:
            if len(self._containers) >= _MAX_CONTAINERS:
                self._containers.clear()
            rows = self._run("SELECT id, part, size, rights FROM packs WHERE row = ?", number)
            with index_errors(self._path):
                found = [Container(PackId(row[0].hex()) if row[0] is not None else None, *row[1:]) for row in rows]
            self._containers[number] = next((each for each in found if each.pack not in self._hidden), None)
        return self._containers[number]
