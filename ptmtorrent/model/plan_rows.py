"""The planner over columns: the same plan as `plan.plan_moves` makes of values, for millions of objects.

Rows are sorted by pack and offset; extents are found for all packs at once. What a request has is a view of the sorted
rows, which makes the values of a pack when they are asked for.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import overload

import numpy as np

from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.plan import (
    MERGE_GAP_BYTES,
    WHOLE_PACK_SHARE,
    Extent,
    PackRequest,
    Plan,
    WantedObject,
    in_order,
)
from ptmtorrent.model.wanted import NO_BASE, Columns, ObjectTable

_OFFSET_BITS = 31
"""Bits of an offset in a pack, or of its end: no pack is longer than 1 GiB."""


class SortedRows:
    """Rows of the objects of `table` and of its bases, by pack and offset. A base's row is behind those of objects."""

    def __init__(self, table: ObjectTable, rows: Numbers, bases: Numbers) -> None:
        pack = _both(table, "pack", rows, bases).astype("i8")
        offset = _both(table, "offset", rows, bases)
        order = np.argsort((pack << _OFFSET_BITS) + offset, kind="stable")
        self.table = table
        self.rows = np.concatenate((rows, bases + len(table))).astype("i8")[order]
        self.pack = pack[order]
        self.offset = offset[order].astype("i8")
        self.end = self.offset + _both(table, "length", rows, bases)[order]

    def item(self, at: int) -> WantedObject:
        """Return the object in a row."""
        row, objects = int(self.rows[at]), len(self.table)
        return self.table.item(row) if row < objects else self.table.base_item(row - objects)


class PackObjects(Sequence[WantedObject]):
    """The rows `first` to `end` of sorted rows: the objects of one pack, by offset."""

    def __init__(self, rows: SortedRows, first: int, end: int) -> None:
        self._sorted = rows
        self._first = first
        self._end = end

    def __len__(self) -> int:
        return self._end - self._first

    @overload
    def __getitem__(self, at: int) -> WantedObject: ...
    @overload
    def __getitem__(self, at: slice) -> list[WantedObject]: ...
    def __getitem__(self, at: int | slice) -> WantedObject | list[WantedObject]:
        rows = range(self._first, self._end)[at]
        return self._sorted.item(rows) if isinstance(rows, int) else [self._sorted.item(row) for row in rows]

    def __iter__(self) -> Iterator[WantedObject]:
        return map(self._sorted.item, range(self._first, self._end))

    def inside(self, extent: Extent) -> list[WantedObject]:
        """Return the objects that lie inside `extent`."""
        offsets, ends = (column[self._first : self._end] for column in (self._sorted.offset, self._sorted.end))
        first = int(np.searchsorted(offsets, extent.offset))
        rows = first + np.flatnonzero(ends[first : int(np.searchsorted(offsets, extent.end, "right"))] <= extent.end)
        return [self._sorted.item(self._first + row) for row in rows.tolist()]


def plan_rows(table: ObjectTable, rows: Numbers, bases: Numbers, *, whole_packs: bool = False) -> Plan:
    """Plan how to get the objects in `rows` of `table`, each listed once, and its `bases`; see `plan.plan_moves`.

    An object that is among the bases too is moved once, as the base.
    """
    rows = _without(table, rows, bases)
    ordered = SortedRows(table, rows, bases)
    if not len(ordered.rows):
        return Plan(requests=())
    starts, ends = _extents(ordered)
    firsts = np.flatnonzero(np.diff(ordered.pack, prepend=-1))
    lasts = np.append(firsts[1:], len(ordered.pack))
    has_base = np.add.reduceat(ordered.rows >= len(table), firsts) > 0
    cuts = np.searchsorted(starts, np.append(firsts, len(ordered.pack)))
    found = zip(ordered.pack[firsts].tolist(), firsts.tolist(), lasts.tolist(), has_base.tolist(), strict=True)
    requests: list[PackRequest] = []
    for number, (pack, first, last, early) in enumerate(found):
        here = slice(int(cuts[number]), int(cuts[number + 1]))
        offsets, sizes = ordered.offset[starts[here]], ends[here] - ordered.offset[starts[here]]
        size = table.pack_sizes[pack]
        if whole_packs or int(sizes.sum()) >= WHOLE_PACK_SHARE * size:
            extents: tuple[Extent, ...] = (Extent(offset=0, length=size),)
        else:
            pairs = zip(offsets.tolist(), sizes.tolist(), strict=True)
            extents = tuple(Extent(offset=offset, length=length) for offset, length in pairs)
        objects = PackObjects(ordered, first, last)
        requests.append(PackRequest(pack=table.packs[pack], size=size, extents=extents, objects=objects, early=early))
    return in_order(requests)


def _extents(ordered: SortedRows) -> tuple[Numbers, Numbers]:
    """Return the first row of each extent, and its end; rows that touch, overlap or lie near each other are joined."""
    above = ordered.pack << _OFFSET_BITS
    reached = np.maximum.accumulate(above + ordered.end)
    starts = np.flatnonzero(
        np.append(True, (above + ordered.offset)[1:] > reached[:-1] + MERGE_GAP_BYTES)
    )  # the first row
    new_pack = np.flatnonzero(np.diff(ordered.pack)) + 1
    starts = np.union1d(starts, new_pack)
    last = np.append(starts[1:], len(above)) - 1
    return starts, (reached - above)[last]


def _both(table: ObjectTable, name: str, rows: Numbers, bases: Numbers) -> Numbers:
    return np.concatenate((_taken(table.objects, name, rows), _taken(table.bases, name, bases)))


def _taken(columns: Columns, name: str, rows: Numbers) -> Numbers:
    return columns.array(name)[rows] if len(rows) else np.empty(0, "u4")


def _without(table: ObjectTable, rows: Numbers, bases: Numbers) -> Numbers:
    """Return `rows` without the objects that are among the bases."""
    twice = table.that_are_bases(rows, bases.tolist())
    return rows[~np.isin(rows, twice)] if twice else rows


def missing_rows(
    table: ObjectTable, rows: Numbers, has: Callable[[ObjectId], bool] | None, parked: Collection[ObjectId]
) -> tuple[Numbers, Numbers]:
    """Return those of the objects in `rows` that have to be moved, and the rows of the bases that have to be.

    `has` returns whether an object is available locally; None: none is. `parked` are deltas whose stored bytes are
    here already: their bases are brought, they are not.
    """
    if has is not None:
        rows = rows[[not has(table.objects.id(row)) for row in rows.tolist()]]
    base = np.frombuffer(table.base, "u4")[rows] if len(rows) else rows
    needed = np.unique(base[base != NO_BASE])
    if has is not None:
        needed = needed[[not has(table.bases.id(row)) for row in needed.tolist()]]
    if parked:
        rows = rows[[table.objects.id(row) not in parked for row in rows.tolist()]]
    return rows, needed
