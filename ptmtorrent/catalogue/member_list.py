"""Members of a release as columns: what a plan of all packages of a hub keeps of the index.

A member is made from its row when it is asked for. Rows of several runs are appended shard by shard, and sorted by the
place of their documents once all are known.
"""

from collections.abc import Container, Iterator, Sequence
from typing import overload

import numpy as np

from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.members import ShardColumns
from ptmtorrent.model.release import FileRef, Member, RunRef

FILE, OFFSET = 0, 1
"""The columns of the numbers of a shard that are looked at here."""

KEPT_COLUMNS = 11


class MemberList(Sequence[Member]):
    """The `named` members, and then those of `rows` of the columns, whose files `only` selects."""

    def __init__(
        self,
        columns: ShardColumns,
        documents: Sequence[FileRef],
        rows: Numbers,
        only: tuple[FileKind, ...],
        named: Sequence[Member] = (),
    ) -> None:
        """The file of a row of `columns` is one of `documents`."""
        self._columns = columns
        self._documents = documents
        self._rows = rows
        self._only = only
        self._named = tuple(named)

    def __len__(self) -> int:
        return len(self._named) + len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Member: ...
    @overload
    def __getitem__(self, at: slice) -> list[Member]: ...
    def __getitem__(self, at: int | slice) -> Member | list[Member]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        number = range(len(self))[at]
        return self._named[number] if number < len(self._named) else self._member(number - len(self._named))

    def __iter__(self) -> Iterator[Member]:
        yield from self._named
        yield from map(self._member, range(len(self._rows)))

    def names(self) -> Iterator[PackageName]:
        """Yield the name of each member, in order."""
        yield from (member.package for member in self._named)
        yield from map(self._columns.names.__getitem__, self._rows.tolist())

    def choose(self, names: Container[PackageName]) -> "MemberList":
        """Return the members whose names are among `names`, none of them `named`."""
        return self._among(names, wanted=True)

    def behind(self, named: Sequence[Member]) -> "MemberList":
        """Return the same members without those `named`, which come first."""
        left = self._among({member.package for member in named}, wanted=False)
        return MemberList(self._columns, self._documents, left._rows, self._only, named)  # noqa: SLF001  # its own kind

    def _among(self, names: Container[PackageName], *, wanted: bool) -> "MemberList":
        taken = np.fromiter(((name in names) == wanted for name in self.names()), bool, len(self._rows))
        return MemberList(self._columns, self._documents, self._rows[taken], self._only)

    def _member(self, number: int) -> Member:
        row = int(self._rows[number])
        documents = self._documents[int(self._columns.numbers[FILE][row])]
        return Member(row=self._columns.row(row), documents=documents, only=self._only)


class MemberListBuilder:
    """Collects rows of the shards of `runs`."""

    def __init__(self, runs: Sequence[RunRef]) -> None:
        self._documents = [ref for run in runs for ref in run.documents]
        self._first = [sum(len(run.documents) for run in runs[:number]) for number in range(len(runs))]
        self._names: list[PackageName] = []
        self._parts: list[tuple[Numbers, ...]] = []

    def add(self, run: int, columns: ShardColumns, rows: Sequence[int]) -> None:
        """Add some rows of a shard of `run`; all of them are members."""
        if not rows:
            return
        self._names += map(columns.names.__getitem__, rows)
        taken = np.array(rows)
        numbers = [column[taken] for column in columns.numbers]
        numbers[FILE] = numbers[FILE].astype("u4") + self._first[run]
        hashes = (columns.snapshots, columns.facts, columns.hashes, columns.present)
        self._parts.append((*(column[taken] for column in hashes), *numbers))

    def finish(self, only: tuple[FileKind, ...]) -> MemberList:
        """Return all members in the order of their documents."""
        parts = self._parts or [tuple(np.empty(0, "u4") for _ in range(KEPT_COLUMNS))]
        self._parts = []
        snapshots, facts, hashes, present, *numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
        columns = ShardColumns(
            names=tuple(self._names),
            snapshots=snapshots,
            facts=facts,
            hashes=hashes,
            present=present,
            numbers=tuple(numbers),
        )
        paths = sorted(range(len(self._documents)), key=lambda file: self._documents[file].path)
        place = np.empty(len(paths), "u4")
        place[paths] = np.arange(len(paths), dtype="u4")
        rows = np.lexsort((numbers[OFFSET], place[numbers[FILE]])).astype("u4")
        return MemberList(columns, self._documents, rows, only)
