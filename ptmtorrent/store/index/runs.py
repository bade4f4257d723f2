"""The runs that an index lists: kept up to date with other processes, made of rows that lie in SQLite, and merged.

Write order: the file of a run, synced; its name, and the sync of the folder; then, in one transaction of SQLite, the
row of the run and the removal of what it replaces; then the files that were replaced. So a crash leaves a file that
nothing refers to, which the next writer removes, or the new list.

Levels: a new run has level 0. Once a level has `FAN` runs, they become one run of the next level. An entry is thus
written once for its pack and once for each level, and a level above the fourth needs a million packs or more.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ptmtorrent.disk.database import Connection
from ptmtorrent.disk.durable import TEMPORARY_PREFIX, disk_errors, files_in
from ptmtorrent.errors import IntegrityError, NoSpace, UnsupportedFormat
from ptmtorrent.model.ids import PackId
from ptmtorrent.store.index.file import Connected, index_errors, run_errors
from ptmtorrent.store.index.run import Container, Listed, Run
from ptmtorrent.store.index.run_writer import SUFFIX, heads_of, merge_runs, new_run_path, write_rows
from ptmtorrent.store.pack.columns import UNLISTED, EntryColumns, Flags, Ids, Numbers, PlaceColumns

FOLDER = "index"
FAN = 16
"""Runs of one level that are merged."""


class RunRow(NamedTuple):
    """A run as SQLite lists it; of two runs of a level, the one with the higher number is newer."""

    number: int
    name: str
    level: int


class Runs:
    """The runs in the folder `index/` beside the index, opened when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, Run] = {}
        self._runs: list[Run] = []
        self.listed: list[RunRow] = []
        """The runs in use, as SQLite lists them, by their numbers."""
        self._is_listed: Flags = np.zeros(1, dtype=np.bool_)

    @property
    def is_listed(self) -> Flags:
        """Which numbers of packs are listed."""
        return self._is_listed

    def set(self, rows: Sequence[RunRow], packs: Sequence[int]) -> None:
        """Use these runs; `packs` are the numbers of the packs that are listed.

        Raises:
            IntegrityError: one of them is damaged or missing.
            UnsupportedFormat: another version wrote it.
        """
        newest_first = sorted(rows, key=lambda row: (row.level, -row.number))
        opened = {row.name: self._open.get(row.name) or Run(self.path_of(row.name)) for row in newest_first}
        self._open = opened
        self._runs = [*opened.values()]
        self.listed = sorted(rows)
        highest = max([*packs, *(run.highest_pack for run in self._runs)], default=-1)
        self._is_listed = np.zeros(highest + 2, dtype=np.bool_)
        self._is_listed[list(packs)] = True

    def close(self) -> None:
        """Unmap all files."""
        self._open, self._runs, self.listed = {}, [], []

    def path_of(self, name: str) -> Path:
        """Return the path of a run."""
        return self.folder / f"{name}{SUFFIX}"

    def find(self, identifier: bytes) -> Listed | None:
        """Return an object in the newest run that has it; None if no listed pack does."""
        head = int.from_bytes(identifier[:8])
        for run in self._runs:
            found = run.find(identifier, head, self._is_listed)
            if found is not None:
                return found
        return None

    def find_all(self, identifiers: Sequence[bytes]) -> dict[bytes, Listed]:
        """Return those of `identifiers` that a listed pack has: one pass through each run."""
        found: dict[bytes, Listed] = {}
        if not self._runs or not identifiers:
            return found
        ids: Ids = np.frombuffer(b"".join(identifiers), dtype="<u8").reshape(-1, 4)
        heads = heads_of(ids)
        by_head = np.argsort(heads, kind="stable")
        ids, heads = ids[by_head], heads[by_head]
        for run in self._runs:
            missing = np.ones(len(ids), dtype=np.bool_)
            for numbers, rows in run.search(ids, heads, self._is_listed):
                found |= {row.id: row for row in run.listed_all(rows)}
                missing[numbers] = False
            ids, heads = ids[missing], heads[missing]
        return found

    def find_places(self, ids: Ids) -> PlaceColumns:
        """Return where objects lie that a listed pack has whole: one pass through each run."""
        found = PlaceColumns(*(np.full(len(ids), UNLISTED, dtype=np.int64) for _ in PlaceColumns._fields))
        heads = heads_of(ids)
        left = np.argsort(heads, kind="stable")
        for run in self._runs:
            if not len(left):
                break
            missing = np.ones(len(left), dtype=np.bool_)
            for numbers, rows in run.search(ids[left], heads[left], self._is_listed):
                taken, places = run.take(rows), left[numbers]
                whole = ~run.are_deltas(rows)
                found.pack[places] = np.where(whole, run.packs_of(rows).astype(np.int64), UNLISTED)
                found.offset[places], found.length[places] = taken["at"], taken["stored"]
                found.codec[places] = taken["codec"]
                missing[numbers] = False
            left = left[missing]
        return found

    def rows_of(self, pack: int) -> list[Listed]:
        """Return the objects that are listed in a pack: those that no newer row lists elsewhere."""
        listed: list[Listed] = []
        for run, numbers in self._numbers_of(pack):
            listed += run.listed_all(numbers)
            run.release()
        return listed

    def columns_of(self, pack: int) -> list[EntryColumns]:
        """Return the objects that are listed in a pack in columns, for each run that has some."""
        found: list[EntryColumns] = []
        for run, numbers in self._numbers_of(pack):
            found.append(run.columns(numbers))
            run.release()
        return found

    def _numbers_of(self, pack: int) -> Iterator[tuple[Run, Numbers]]:
        """Yield each run that lists objects of a pack, and the numbers of their rows."""
        for number, run in enumerate(self._runs):
            numbers = run.rows_of(pack)
            if not len(numbers):
                continue
            ids: Ids = np.ascontiguousarray(run.table["id"][numbers])
            heads = heads_of(ids)
            by_head = np.argsort(heads, kind="stable")
            numbers, ids, heads = numbers[by_head], ids[by_head], heads[by_head]
            for newer in self._runs[: number + 1]:
                counts = np.ones(len(ids), dtype=np.bool_)
                for places, rows in newer.search(ids, heads, self._is_listed):
                    # In its own run a row counts unless a newer one has the same id.
                    counts[places] = rows == numbers[places] if newer is run else False
                numbers, ids, heads = numbers[counts], ids[counts], heads[counts]
            yield run, np.sort(numbers)

    def is_wasteful(self, name: str) -> bool:
        """Return whether more than half of the rows of a run are in packs that are no longer listed."""
        run = self._open[name]
        return 2 * run.count(self._is_listed) < run.rows

    def of_names(self, names: Sequence[str]) -> list[Run]:
        """Return the open runs with these names."""
        return [self._open[name] for name in names]

    def list_pack(self, number: int, *, is_listed: bool) -> None:
        """Take note that the pack with a number is listed now, or is no longer."""
        if number >= len(self._is_listed):
            longer = np.zeros(2 * number + 2, dtype=np.bool_)
            longer[: len(self._is_listed)] = self._is_listed
            self._is_listed = longer
        self._is_listed[number] = is_listed

    def problem_of(self, name: str) -> str | None:
        """Read all of a run and return what is wrong with it, or None.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            return Run(self.path_of(name)).problem()
        except (IntegrityError, UnsupportedFormat) as error:
            return error.message

    def remove_others(self, names: Sequence[str]) -> None:
        """Remove the files in the folder that are not among `names`: what a crash or a merge left."""
        wanted = {self.path_of(name).name for name in names}
        for path in files_in(self.folder):
            is_ours = path.suffix == SUFFIX or path.name.startswith(TEMPORARY_PREFIX)
            if is_ours and path.name not in wanted and not path.is_dir():
                with disk_errors(path), suppress(FileNotFoundError):
                    path.unlink()


def is_sound(rows: Sequence[RunRow], runs: Runs) -> bool:
    """Return whether each of these runs can be opened.

    Raises:
        UnsupportedFormat: a newer version wrote one of them.
        StoreError: one of them cannot be read, but may be undamaged.
    """
    try:
        runs.set(rows, ())
    except IntegrityError:
        return False
    return True


def due(rows: Sequence[RunRow]) -> list[RunRow]:
    """Return the runs to merge, the oldest first: the oldest `FAN` of the lowest level that has as many; or none."""
    for level in sorted({row.level for row in rows}):
        alike = sorted(row for row in rows if row.level == level)
        if len(alike) >= FAN:
            return alike[:FAN]
    return []


STAGED_ROWS = 1 << 14
"""Rows that may lie in SQLite before they become a run, where nothing was sealed."""

_MAX_CONTAINERS = 1 << 14
_RETRIES = 5


class StoredRuns(Connected):
    """The runs of an open index, and the packs and parts that its rows name."""

    def __init__(self, connection: Connection, path: Path) -> None:
        super().__init__(connection, path)
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
        """Move the rows of SQLite into a run, if there are at least `least`, and merge the runs that are due.

        On a full disk the rows stay where they are, and are moved later.
        """
        with suppress(NoSpace):
            with self.transaction():
                self.flush(least)
            while self._merge():
                pass

    def flush(self, least: int = 1) -> None:
        """Move the rows of SQLite into a run, if there are at least `least`; part of the transaction.

        Rows of open parts are moved too: a part that is sealed keeps its number.

        Raises:
            NoSpace: the disk is full; nothing changed.
        """
        self._begin()
        if self._count_staged() < max(1, least):
            return
        path = new_run_path(self._runs.folder)
        with index_errors(self._path):
            write_rows(path, self._rows_to_move())
        self._write("INSERT INTO runs (name, level) VALUES (?, 0)", path.stem)
        self._write("DELETE FROM objects")
        self._fresh_at = None

    def drop_unsound_runs(self) -> list[PackId]:
        """Drop all rows if a run is damaged or missing; return the sealed packs, which are no longer listed.

        The parts stay listed, but what is recorded of them no longer counts: they are rechecked.

        Raises:
            UnsupportedFormat: a newer version wrote a run.
        """
        if is_sound(self._run_rows(), self._runs):
            return []
        packs = [PackId(pack.hex()) for (pack,) in self._run("SELECT id FROM packs WHERE id IS NOT NULL ORDER BY id")]
        for table in ("objects", "runs", "parts"):
            self._write(f"DELETE FROM {table}")  # noqa: S608  # one of the three
        self._write("DELETE FROM packs WHERE id IS NOT NULL")
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
        self._refresh()
        rows = self._runs.listed
        if full := due(rows):
            return self._rewrite(full, None, full[0].level + 1)
        wasteful = next((row for row in rows if self._runs.is_wasteful(row.name)), None)
        return wasteful is not None and self._rewrite([wasteful], wasteful.number, wasteful.level)

    def _rewrite(self, rows: list[RunRow], number: int | None, level: int) -> bool:
        """Replace open runs, the oldest first, by one of `level`, with the next number unless it is given."""
        path = new_run_path(self._runs.folder)
        with run_errors(self._path):
            sources = self._runs.of_names([row.name for row in rows])
            # The new run gets a hash of its own: damage that was merged would never be noticed.
            if problem := next(filter(None, (source.problem() for source in sources)), None):
                raise IntegrityError(problem)
            kept = merge_runs(path, sources, self._runs.is_listed)
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

    def _count_staged(self) -> int:
        ((span,),) = self._run("SELECT (SELECT max(row) FROM objects) - (SELECT min(row) FROM objects) + 1")
        return span or 0

    def _rows_to_move(self) -> Iterator[Listed]:
        sql = "SELECT id, at, stored, raw, codec, kind, base, pack FROM objects ORDER BY pack, at"
        for row in self._connection.execute(sql):
            yield Listed(*row)

    def has_runs(self) -> bool:
        """Return whether runs are listed."""
        return bool(self._run_rows())

    def _run_rows(self) -> list[RunRow]:
        return [RunRow(*row) for row in self._run("SELECT row, name, level FROM runs ORDER BY row")]

    def _refresh(self) -> None:
        """Read the lists of runs and packs again if they have changed."""
        if self._fresh_at is not None and self._run("PRAGMA data_version")[0][0] == self._fresh_at:
            return
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
