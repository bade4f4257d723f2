"""The planner over columns: the same plan as `plan.plan_moves` makes of values, for millions of objects.

Rows are sorted by pack and offset; extents are found for all packs at once. What a request has is a view of the sorted
rows, which makes the values of a pack when they are asked for.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
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
    """Rows of the objects of `table` and of its bases, by pack and offset. A base's row is behind those of objects.

    `packs` are the rows of the packs, and `firsts` where the rows of each begin.
    """

    def __init__(self, table: ObjectTable, rows: Numbers, bases: Numbers) -> None:
        pack, offset = _both(table, "pack", rows, bases), _both(table, "offset", rows, bases)
        key = pack.astype("u8")
        key <<= _OFFSET_BITS
        key += offset
        order = np.argsort(key)
        del key
        self.table = table
        self.offset = offset[order]
        del offset
        self.end = _both(table, "length", rows, bases)[order]
        self.end += self.offset
        self.rows = np.concatenate((rows, (bases + len(table)).astype("u4")))[order]
        pack = pack[order]
        self.firsts = np.flatnonzero(np.diff(pack, prepend=pack[:1] + 1)).tolist()
        self.packs = pack[self.firsts].tolist()

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
    ordered = SortedRows(table, _without(table, rows, bases), bases)
    bounds = pairwise([*ordered.firsts, len(ordered.rows)])
    return in_order(
        _request(ordered, pack, first, end, whole=whole_packs)
        for pack, (first, end) in zip(ordered.packs, bounds, strict=True)
    )


def _request(ordered: SortedRows, pack: int, first: int, end: int, *, whole: bool) -> PackRequest:
    """Return the request for a pack, whose rows are `first` to `end`."""
    table, size = ordered.table, ordered.table.pack_sizes[pack]
    extents = _extents(ordered.offset[first:end], ordered.end[first:end])
    if whole or sum(extent.length for extent in extents) >= WHOLE_PACK_SHARE * size:
        extents = (Extent(offset=0, length=size),)
    return PackRequest(
        pack=table.packs[pack],
        size=size,
        extents=extents,
        objects=PackObjects(ordered, first, end),
        early=bool(np.count_nonzero(ordered.rows[first:end] >= len(table))),
    )


def _extents(offsets: Numbers, ends: Numbers) -> tuple[Extent, ...]:
    """Return the extents of objects, by offset; those that touch, overlap or lie near each other are joined."""
    reached = np.maximum.accumulate(ends)
    starts = [0, *(np.flatnonzero(offsets[1:] > reached[:-1] + MERGE_GAP_BYTES) + 1).tolist()]
    pairs = zip(offsets[starts].tolist(), reached[[*(start - 1 for start in starts[1:]), -1]].tolist(), strict=True)
    return tuple(Extent(offset=offset, length=end - offset) for offset, end in pairs)


def _both(table: ObjectTable, name: str, rows: Numbers, bases: Numbers) -> Numbers:
    of_objects = _taken(table.objects, name, rows)
    return np.concatenate((of_objects, _taken(table.bases, name, bases))) if len(bases) else of_objects


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
