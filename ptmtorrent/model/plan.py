"""The planner: from wanted and available objects to the requests of a fetch. Pure; property-tested.

A plan consists of pack requests. Each names a pack and its extents with wanted objects: the whole pack for swarms,
smaller extents for HTTP Range requests. Packs with bases of deltas come first, so that few deltas have to wait.

`plan_moves` plans values. `plan_rows` makes the same plan of the columns of millions of objects: it sorts rows by pack
and offset, finds extents for all packs at once, and makes the objects of a request values when they are asked for.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, overload

import msgspec
import numpy as np

from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.wanted import NO_BASE, Columns, ObjectTable, WantedObject

MERGE_GAP_BYTES = 256 << 10
"""Extents closer than this are requested as one, because the gap costs less than a request."""

WHOLE_PACK_SHARE = 0.8
"""If the extents cover this share of a pack, the whole pack is requested."""

_OFFSET_BITS = 31
"""Bits of an offset in a pack, or of its end: no pack is longer than 1 GiB."""

_STAGED = re.compile(r"([0-9a-f]{64})\.([0-9]{1,10})-([0-9]{1,10})\.part")


class Extent(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Bytes `offset` to `offset + length` of a pack."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The first byte after the extent."""
        return self.offset + self.length


def staging_path(staging: Path, pack: PackId, extent: Extent) -> Path:
    """Return the path of the staging file of `extent` of `pack` in the folder `staging`."""
    return staging / f"{pack}.{extent.offset}-{extent.length}.part"


def staged_extent(name: str) -> tuple[PackId, Extent] | None:
    """Return the pack and the extent of a staging file with this name; None for another file."""
    match = _STAGED.fullmatch(name)
    return match and (PackId(match[1]), Extent(offset=int(match[2]), length=int(match[3])))


class ObjectsInPack(Protocol):
    """The objects of a pack, by offset, whose values are made when they are asked for; `inside` finds some of them."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[WantedObject]: ...
    def inside(self, extent: Extent) -> list[WantedObject]:
        """Return the objects that lie inside `extent`."""
        ...


class PackRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The request for one pack: disjoint extents in order, and the objects in them, by offset.

    An `early` one has bases of deltas.
    """

    pack: PackId
    size: int
    extents: tuple[Extent, ...]
    objects: "tuple[WantedObject, ...] | ObjectsInPack"
    early: bool = False

    @property
    def whole(self) -> bool:
        """Is the whole pack asked for?"""
        return self.extents == (Extent(offset=0, length=self.size),)

    @property
    def bytes(self) -> int:
        """Bytes to move."""
        return sum(extent.length for extent in self.extents)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that must be moved: packs with bases first, and then the largest ones."""

    requests: tuple[PackRequest, ...]

    @property
    def bytes_to_move(self) -> int:
        """Bytes that will cross a transport."""
        return sum(request.bytes for request in self.requests)


_NO_BASES: Mapping[ObjectId, WantedObject] = MappingProxyType({})


def plan_moves(
    wanted: Iterable[WantedObject],
    have: Callable[[ObjectId], bool],
    *,
    bases: Mapping[ObjectId, WantedObject] = _NO_BASES,
    parked: Container[ObjectId] = (),
    whole_packs: bool = False,
) -> Plan:
    """Plan how to get the objects of `wanted` for which `have` is false.

    `bases` says where the bases of deltas lie: those that a missing delta needs and that are not here come along.
    `parked` are deltas whose stored bytes are here already: their bases are brought, they are not.
    `whole_packs` asks for packs only, as a swarm needs it. The result names every missing object exactly once, and no
    byte of a pack twice.
    """
    missing = {item.id: item for item in wanted if not have(item.id)}
    needed = {item.base for item in missing.values() if item.base in bases}
    moved = {identifier: item for identifier, item in missing.items() if identifier not in parked}
    moved |= {base: bases[base] for base in needed if base is not None and not have(base)}
    by_pack: dict[PackId, list[WantedObject]] = defaultdict(list)
    for item in moved.values():
        by_pack[item.at.pack].append(item)
    needed = {item.base for item in moved.values()}
    return in_order(_request(pack, items, needed, whole=whole_packs) for pack, items in by_pack.items())


def in_order(requests: Iterable[PackRequest]) -> Plan:
    """Return the plan of some requests: those with bases first, and then the largest ones."""
    return Plan(requests=tuple(sorted(requests, key=lambda each: (not each.early, -each.bytes, each.pack))))


def _request(
    pack: PackId, items: list[WantedObject], needed: Container[ObjectId | None], *, whole: bool
) -> PackRequest:
    items.sort(key=lambda item: (item.at.offset, item.id))
    size = items[0].at.pack_size
    extents = (Extent(offset=0, length=size),) if whole else _extents_of(items, size)
    early = any(item.id in needed for item in items)
    return PackRequest(pack=pack, size=size, extents=extents, objects=tuple(items), early=early)


def _extents_of(items: Iterable[WantedObject], size: int) -> tuple[Extent, ...]:
    """Return the extents of `items` in a pack of `size` bytes: the whole pack, where they cover most of it."""
    extents = merge(Extent(offset=item.at.offset, length=item.at.length) for item in items)
    covered = sum(extent.length for extent in extents)
    return (Extent(offset=0, length=size),) if covered >= WHOLE_PACK_SHARE * size else extents


def needed_extents(request: PackRequest) -> tuple[Extent, ...]:
    """Return the extents that the objects of `request` need, where it asks for the whole pack; else its own."""
    return _extents_of(request.objects, request.size) if request.whole else request.extents


def merge(extents: Iterable[Extent], gap: int = MERGE_GAP_BYTES) -> tuple[Extent, ...]:
    """Join extents that touch, overlap or lie less than `gap` bytes apart; the result is sorted and disjoint."""
    merged: list[Extent] = []
    for extent in sorted(extents):
        if merged and extent.offset <= merged[-1].end + gap:
            end = max(merged[-1].end, extent.end)
            merged[-1] = Extent(offset=merged[-1].offset, length=end - merged[-1].offset)
        else:
            merged.append(extent)
    return tuple(merged)


def objects_in(request: PackRequest, extent: Extent) -> Sequence[WantedObject]:
    """Return the objects of `request` that lie inside `extent`."""
    if not isinstance(request.objects, tuple):
        return request.objects.inside(extent)
    return [
        item
        for item in request.objects
        if extent.offset <= item.at.offset and item.at.offset + item.at.length <= extent.end
    ]


def narrow(request: PackRequest, extents: Sequence[Extent]) -> PackRequest:
    """Return `request` reduced to `extents`."""
    objects = tuple(item for extent in extents for item in objects_in(request, extent))
    return msgspec.structs.replace(request, extents=tuple(extents), objects=objects)


def widen(request: PackRequest) -> PackRequest:
    """Ask for the whole pack instead: what a swarm is asked for."""
    return msgspec.structs.replace(request, extents=(Extent(offset=0, length=request.size),))


def resume_extents(plan: Plan, begun: Mapping[PackId, Sequence[Extent]]) -> Plan:
    """Ask for the extents that an earlier run has begun, as far as they still hold something wanted.

    What is wanted can change shape between two runs, because some of it is here by now; keeping to the begun extents is
    what makes their staging files worth something.
    """
    if not any(request.pack in begun for request in plan.requests):
        return plan
    return in_order(_resume(request, begun.get(request.pack, ())) for request in plan.requests)


def _resume(request: PackRequest, begun: Sequence[Extent]) -> PackRequest:
    if request.whole or not begun:
        return request
    usable = _disjoint(extent for extent in begun if extent.end <= request.size and objects_in(request, extent))
    covered = {item.id for extent in usable for item in objects_in(request, extent)}
    fresh = [Extent(offset=item.at.offset, length=item.at.length) for item in request.objects if item.id not in covered]
    extents = sorted((*usable, *merge(fresh, gap=0 if usable else MERGE_GAP_BYTES)))
    return msgspec.structs.replace(request, extents=tuple(extents))


def _disjoint(extents: Iterable[Extent]) -> list[Extent]:
    chosen: list[Extent] = []
    for extent in sorted(extents, key=lambda extent: (extent.offset, -extent.length)):
        if not chosen or extent.offset >= chosen[-1].end:
            chosen.append(extent)
    return chosen


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
    """Plan how to get the objects in `rows` of `table`, each listed once, and its `bases`; see `plan_moves`.

    An object that is among the bases too is moved once, as the base.
    """
    ordered = SortedRows(table, _without(table, rows, bases), bases)
    bounds = pairwise([*ordered.firsts, len(ordered.rows)])
    return in_order(
        _request_rows(ordered, pack, first, end, whole=whole_packs)
        for pack, (first, end) in zip(ordered.packs, bounds, strict=True)
    )


def _request_rows(ordered: SortedRows, pack: int, first: int, end: int, *, whole: bool) -> PackRequest:
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
    needed = np.sort(base[base != NO_BASE])  # `np.unique` loads a large module of numpy, for masked arrays
    needed = needed[np.diff(needed, prepend=NO_BASE) != 0]
    if has is not None:
        needed = needed[[not has(table.bases.id(row)) for row in needed.tolist()]]
    if parked:
        rows = rows[[table.objects.id(row) not in parked for row in rows.tolist()]]
    return rows, needed
