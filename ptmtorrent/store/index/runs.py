"""The runs of a store: which there are, the look-up in all of them, the newest first, and when they are merged.

Levels: a new run has level 0. Once a level has `FAN` runs, they become one run of the next level. An entry is thus
written once for its pack and once for each level, and a level above the fourth needs a million packs or more.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ptmtorrent.disk.durable import TEMPORARY_PREFIX, disk_errors, files_in
from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.store.index.run import Flags, Ids, Listed, Run
from ptmtorrent.store.index.run_writer import SUFFIX, heads_of

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
        highest = max([*packs, *(run.highest_pack for run in self._runs)], default=-1)
        self._is_listed = np.zeros(highest + 2, dtype=np.bool_)
        self._is_listed[list(packs)] = True

    def close(self) -> None:
        """Unmap all files."""
        self._open, self._runs = {}, []

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

    def rows_of(self, pack: int) -> list[Listed]:
        """Return the objects that are listed in a pack: those that no newer row lists elsewhere."""
        listed: list[Listed] = []
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
            listed += run.listed_all(np.sort(numbers))
            run.release()
        return listed

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
