"""An open run: immutable, mapped into memory, searched without an object a row.

The pages that a search touched would stay resident, so they are released again: after each stretch of a batch, and
after that number of single look-ups. The file stays in the cache of the kernel.
"""

import mmap
import os
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ptmtorrent.disk.durable import disk_error, disk_errors, open_regular, read_at
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.codecs import MAX_RAW_BYTES
from ptmtorrent.store.index import run_format
from ptmtorrent.store.index.run_format import DTYPES, PACKED_ROW, ROW, Layout, Section
from ptmtorrent.store.pack.columns import EntryColumns, Flags, Ids, Numbers
from ptmtorrent.store.pack.format import OBJECT_KINDS, Entry

STRETCH_ROWS = 1 << 20
"""Rows that a batch of look-ups passes before the pages it touched are released (60 MB)."""

_STEP_ROWS = 1 << 12
_LOOKUPS = 1 << 5
"""Single look-ups after which pages are released: the kernel may map 2 MiB for each."""

_NEARNESS = 16
_SMALL_BYTES = 1 << 20
_ID_BYTES = 32
_READ_BYTES = 4 << 20


MAX_CODEC = 255


class Listed(NamedTuple):
    """An object as the index lists it: its place in the pack with the number `pack`, and its base if it is a delta."""

    id: bytes
    at: int
    stored: int
    raw: int
    codec: int
    kind: int
    base: bytes | None
    pack: int


class Found(msgspec.Struct, frozen=True):
    """An object and the file that holds it: a sealed `pack` of `size` bytes, or the unsealed `part` with that name."""

    entry: Entry
    rights: Rights
    pack: PackId | None
    part: str | None
    size: int


class Container(msgspec.Struct, frozen=True):
    """A pack or a part as the index lists it."""

    pack: PackId | None
    part: str | None
    size: int
    rights: int


def entry_of(listed: Listed) -> Entry:
    """Return the object of a row.

    Raises:
        LookupError: a value is impossible.
    """
    identifier, offset, stored, raw, codec, kind, base, _ = listed
    are_numbers = type(offset) is type(stored) is type(raw) is type(codec) is type(kind) is int
    if not are_numbers or offset < 0 or not 0 <= codec <= MAX_CODEC or kind < 0:
        raise LookupError(f"the row of `{identifier.hex()}` is invalid")
    if not 0 <= stored <= raw <= MAX_RAW_BYTES:
        raise LookupError(f"the row of `{identifier.hex()}` is invalid")
    if len(identifier) != _ID_BYTES or (base is not None and len(base) != _ID_BYTES):
        raise LookupError(f"the row of `{identifier.hex()}` is invalid: an id is cut short")
    return Entry(
        id=ObjectId(identifier.hex()),
        offset=offset,
        stored=stored,
        raw=raw,
        codec=codec,
        kind=OBJECT_KINDS[kind],
        base=None if base is None else ObjectId(base.hex()),
    )


class Run:
    """The run at `path`. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Map the file.

        Raises:
            IntegrityError: damaged, cut short or missing.
            UnsupportedFormat: written by another version.
            StoreError: it cannot be read.
        """
        self.path = path
        self._layout, self._map, self._descriptor = _open(path)
        weakref.finalize(self, os.close, self._descriptor)
        self.rows = self._layout.counts["rows"]
        self.size = self._layout.size
        self.segments = self._section("segments")
        self.table = self._section("rows")
        self.delta_rows = self._section("delta_rows")
        self.bases = self._section("bases")
        self.heads = self._section("heads")
        self.order = self._section("order")
        self._fanout = self._section("fanout")
        self._bits = (self._layout.counts["fanout"] - 1).bit_length() - 1
        # Copies: few, and searched by each look-up. The views of single numbers need no copy.
        self._firsts: list[int] = self.segments["first"].tolist()
        self._packs: list[int] = self.segments["pack"].tolist()
        self._head = np.ascontiguousarray(self.heads, dtype=np.uint64).data
        self._row = np.ascontiguousarray(self.order, dtype=np.uint32).data
        self._fan = np.ascontiguousarray(self._fanout, dtype=np.uint32).data
        self._delta = np.ascontiguousarray(self.delta_rows, dtype=np.uint32).data
        self._lookups = 0
        self._check_outline()

    def find(self, identifier: bytes, head: int, is_listed: Flags) -> Listed | None:
        """Return the newest row of an object in a pack that `is_listed`; `head` are the first 8 bytes of the id."""
        self._count()
        prefix = head >> (64 - self._bits) if self._bits else 0
        end = self._fan[prefix + 1]
        at = bisect_left(self._head, head, self._fan[prefix], end)
        while at < end and self._head[at] == head:
            row = self._row[at]
            start = self._layout.starts["rows"] + row * PACKED_ROW.size
            if self._map[start : start + len(identifier)] == identifier and is_listed[self._pack_of(row)]:
                return self.listed(row)
            at += 1
        return None

    def listed(self, row: int) -> Listed:
        """Return the row with this number."""
        if row >= self.rows:
            raise LookupError(f"`{self.path.name}` has no row {row}")
        start = self._layout.starts["rows"] + row * PACKED_ROW.size
        identifier, at, stored, raw, codec, kind, _ = PACKED_ROW.unpack_from(self._map, start)
        return Listed(identifier, at, stored, raw, codec, kind, self._base_of(row), self._pack_of(row))

    def search(self, ids: Ids, heads: Ids, is_listed: Flags) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield which of `ids` have a row in a pack that `is_listed`, and the numbers of the newest of these rows.

        `heads` are their first words, ascending. Pages are released after each stretch.
        """
        for wanted, first, last in self._stretches(heads):
            at = np.minimum(np.searchsorted(self.heads[first:last], heads[wanted]) + first, self.rows - 1)
            same = np.flatnonzero(self.heads[at] == heads[wanted])
            order = self.order[at[same]].astype(np.int64)
            for start in range(0, len(same), _STEP_ROWS):
                rows, numbers = order[start : start + _STEP_ROWS], wanted.start + same[start : start + _STEP_ROWS]
                right = (self.take(rows)["id"] == ids[numbers]).all(axis=1)
                right &= is_listed[self.packs_of(rows)]
                others = numbers[~right]  # another id with the same head, or a pack that was dropped
                found = [self._search_one(ids[number], int(heads[number]), is_listed) for number in others.tolist()]
                there = np.array(found, dtype=np.int64)
                numbers = np.concatenate([numbers[right], others[there >= 0]])
                yield numbers, np.concatenate([rows[right], there[there >= 0]])
            self.release()

    def listed_all(self, rows: Numbers) -> list[Listed]:
        """Return the rows with these numbers."""
        if not len(rows):
            return []
        taken = self.take(rows)
        identifiers = np.ascontiguousarray(taken["id"]).view("V32").ravel().tolist()
        fields = (taken[name].tolist() for name in ("at", "stored", "raw", "codec", "kind"))
        packs = self.packs_of(rows).tolist()
        bases: list[bytes | None] = [None] * len(rows)
        for number, base in zip(*self._bases_of(rows), strict=True):
            bases[number] = base
        return [Listed(*values) for values in zip(identifiers, *fields, bases, packs, strict=True)]

    def columns(self, rows: Numbers) -> EntryColumns:
        """Return the rows with these numbers in columns.

        Raises:
            LookupError: a value is impossible.
        """
        taken, deltas = self.take(rows), np.flatnonzero(self.are_deltas(rows))
        if not _are_possible(taken):
            raise LookupError(f"a row in `{self.path.name}` is invalid")
        return EntryColumns(
            ids=np.ascontiguousarray(taken["id"]),
            offsets=taken["at"].astype(np.int64),
            lengths=taken["stored"].astype(np.int64),
            deltas=deltas,
            bases=self.bases[np.searchsorted(self.delta_rows, rows[deltas])],
        )

    def are_deltas(self, rows: Numbers) -> Flags:
        """Return which of the rows with these numbers have a base."""
        if not len(self.delta_rows):
            return np.zeros(len(rows), dtype=np.bool_)
        at = np.minimum(np.searchsorted(self.delta_rows, rows), len(self.delta_rows) - 1)
        found: Flags = self.delta_rows[at] == rows
        return found

    def rows_of(self, pack: int) -> Numbers:
        """Return the numbers of the rows of a pack, in its order."""
        stretches = [
            np.arange(first, last, dtype=np.int64)
            for number, first, last in zip(self._packs, self._firsts, [*self._firsts[1:], self.rows], strict=True)
            if number == pack
        ]
        return np.concatenate(stretches) if stretches else np.empty(0, dtype=np.int64)

    def packs_of(self, rows: Numbers) -> npt.NDArray[np.uint32]:
        """Return the numbers of the packs of rows."""
        packs: npt.NDArray[np.uint32] = self.segments["pack"][
            np.searchsorted(self.segments["first"], rows, side="right") - 1
        ]
        return packs

    def count(self, is_listed: Flags) -> int:
        """Return how many rows are in packs that are listed."""
        lengths = np.diff(self.segments["first"].astype(np.int64), append=self.rows)
        return int(lengths[is_listed[self.segments["pack"]]].sum())

    @property
    def highest_pack(self) -> int:
        """The highest number of a pack here, -1 without one."""
        return max(self._packs, default=-1)

    def release(self) -> None:
        """Release the pages that were touched."""
        if self.size > _SMALL_BYTES:
            self._map.madvise(mmap.MADV_DONTNEED)
        self._lookups = 0

    def problem(self) -> str | None:
        """Read all of the file and return what is wrong with it, or None.

        Raises:
            StoreError: it cannot be read.
        """
        whole = blake3()
        with disk_errors(self.path):
            descriptor = open_regular(self.path)
            try:
                for at in range(0, self._layout.end, _READ_BYTES):
                    whole.update(read_at(descriptor, at, min(_READ_BYTES, self._layout.end - at)))
                kept = read_at(descriptor, self._layout.end, run_format.HASH_BYTES)
            finally:
                os.close(descriptor)
        if kept != whole.digest():
            return f"its file `{self.path.name}` is damaged"
        return next((f"a row in `{self.path.name}` is invalid" for is_valid in self._validity() if not is_valid), None)

    def _validity(self) -> Iterator[bool]:
        for at in range(0, self.rows, STRETCH_ROWS):
            rows = self.table[at : at + STRETCH_ROWS]
            yield _are_possible(rows)
            self.release()

    def _search_one(self, words: Ids, head: int, is_listed: Flags) -> int:
        identifier = words.astype("<u8").tobytes()
        prefix = head >> (64 - self._bits) if self._bits else 0
        end = self._fan[prefix + 1]
        at = bisect_left(self._head, head, self._fan[prefix], end)
        while at < end and self._head[at] == head:
            row = self._row[at]
            if self.listed(row).id == identifier and is_listed[self._pack_of(row)]:
                return row
            at += 1
        return -1

    def _stretches(self, heads: Ids) -> Iterator[tuple[slice, int, int]]:
        """Divide `heads`, ascending, by the rows they can be at: which of them, the first row, the row after the last.

        Equal heads are never divided.
        """
        starts = self.heads[::STRETCH_ROWS].copy()
        firsts = [self._leftmost(at) for at in range(0, self.rows, STRETCH_ROWS)]
        splits = np.searchsorted(heads, starts).tolist()
        self.release()
        for number, first in enumerate(firsts):
            is_last = number + 1 == len(firsts)
            begin = splits[number] if number else 0
            end = len(heads) if is_last else splits[number + 1]
            if begin < end:
                yield slice(begin, end), first, self.rows if is_last else firsts[number + 1]

    def take(self, rows: Numbers) -> npt.NDArray[Any]:
        """Return the rows with these numbers. Scattered ones are read, because each would map pages of its own."""
        if len(rows) and int(rows.max()) >= self.rows:
            raise LookupError(f"`{self.path.name}` has no row {rows.max()}")
        is_near = len(rows) == 0 or int(rows.max()) - int(rows.min()) < _NEARNESS * len(rows)
        if is_near or self.size <= _SMALL_BYTES:
            near: npt.NDArray[Any] = self.table[rows]
            return near
        start, width = self._layout.starts["rows"], PACKED_ROW.size
        with disk_errors(self.path):
            taken = b"".join([os.pread(self._descriptor, width, start + width * row) for row in rows.tolist()])
        return np.frombuffer(taken, dtype=ROW)

    def _leftmost(self, at: int) -> int:
        while at and self._head[at - 1] == self._head[at]:
            at -= 1
        return at

    def _bases_of(self, rows: Numbers) -> tuple[list[int], list[bytes]]:
        if not len(self.delta_rows):
            return [], []
        at = np.minimum(np.searchsorted(self.delta_rows, rows), len(self.delta_rows) - 1)
        numbers = np.flatnonzero(self.delta_rows[at] == rows)
        bases = np.ascontiguousarray(self.bases[at[numbers]]).view("V32").ravel().tolist()
        return numbers.tolist(), bases

    def _base_of(self, row: int) -> bytes | None:
        at = bisect_left(self._delta, row)
        if at == len(self._delta) or self._delta[at] != row:
            return None
        start = self._layout.starts["bases"] + at * 32
        return self._map[start : start + 32]

    def _pack_of(self, row: int) -> int:
        return self._packs[bisect_right(self._firsts, row) - 1]

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups >= _LOOKUPS:
            self.release()

    def _section(self, name: Section) -> npt.NDArray[Any]:
        dtype: Any = DTYPES[name]
        entries, start = self._layout.counts[name], self._layout.starts[name]
        words = int(np.prod(dtype.shape, dtype=np.int64))
        flat: npt.NDArray[Any] = np.frombuffer(self._map, dtype=dtype.base, count=entries * words, offset=start)
        return flat.reshape((entries, *dtype.shape))

    def _check_outline(self) -> None:
        """Refuse a file whose small sections lead outside of it; the others are checked where they are used."""
        firsts, fanout = self._firsts, self._fanout
        ascending = all(one < next_one for one, next_one in pairwise(firsts))
        if (firsts and (firsts[0] or firsts[-1] >= self.rows or not ascending)) or bool(firsts) != bool(self.rows):
            raise IntegrityError(f"the packs in `{self.path.name}` are damaged")
        if int(fanout[-1]) != self.rows or bool((fanout[1:] < fanout[:-1]).any()):
            raise IntegrityError(f"the fanout of `{self.path.name}` is damaged")


def _are_possible(rows: npt.NDArray[Any]) -> bool:
    return bool(
        (rows["stored"] <= rows["raw"]).all()
        and (rows["raw"] <= MAX_RAW_BYTES).all()
        and (rows["kind"] < len(OBJECT_KINDS)).all()
    )


def _open(path: Path) -> tuple[Layout, mmap.mmap, int]:
    """Return layout and map of a run, and a descriptor, which the caller closes."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError as error:
        raise IntegrityError(f"`{path.name}` is missing") from error
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        with disk_errors(path):
            size = os.fstat(descriptor).st_size
            start = read_at(descriptor, 0, min(size, run_format.MAX_HEADER_BYTES))
        layout = run_format.decode_header(start, size, path.name)
        with disk_errors(path):
            return layout, mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), descriptor
    except BaseException:
        os.close(descriptor)
        raise
