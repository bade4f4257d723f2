"""Wanted objects as columns: millions of them take their bytes, and no value each.

Rows are appended package by package, from the object table of a manifest and the columns of its placement. A row is one
place in one file; the rows of a file follow one another. A value is made for a row only while its pack is in flight.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.canonical import HASH, HASH_BYTES, Numbers
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.model.placement import Location, Placement

NO_BASE = (1 << 32) - 1
"""The row of the base of an object that is not stored as a delta."""


class WantedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object that is needed, its location, and its raw size in bytes. A delta is decoded with its `base`."""

    id: ObjectId
    size: int
    at: Location
    base: ObjectId | None = None


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """A form of the object in `row`, such as one that is not in its columns; rows of packs and bases as there."""

    row: int
    pack: int
    offset: int
    length: int
    codec: int
    base: int


class Columns:
    """Growing columns of objects and their places: ids, raw sizes, rows of packs, offsets, stored lengths, codecs."""

    def __init__(self) -> None:
        self.ids = bytearray()
        self.size = array("I")
        self.pack = array("I")
        self.offset = array("I")
        self.length = array("I")
        self.codec = bytearray()

    def __len__(self) -> int:
        return len(self.codec)

    def id(self, row: int) -> ObjectId:
        """Return the id of the object in a row."""
        return ObjectId(self.ids[HASH_BYTES * row : HASH_BYTES * (row + 1)].hex())

    def array(self, name: str) -> Numbers:
        """Return a column as an array over the same bytes; rows cannot be appended while it exists."""
        kind = {"ids": HASH, "codec": "u1"}.get(name, "u4")
        return np.frombuffer(getattr(self, name), kind)

    def keys(self, rows: "Numbers | None" = None) -> Numbers:
        """Return the first eight bytes of the ids, of all rows or of some, as numbers in the order of the ids."""
        words = np.frombuffer(self.ids, ">u8").reshape(-1, HASH_BYTES // 8)[:, 0]
        taken = words.copy() if rows is None else words[rows]
        return taken if sys.byteorder == "big" else taken.byteswap(inplace=True).view("u8")


class ObjectTable:
    """The objects of all wanted files, the bases that their forms need, and the packs that hold either."""

    def __init__(self) -> None:
        self.objects = Columns()
        self.base = array("I")
        self.bases = Columns()
        self.alternatives: list[Alternative] = []
        self.packs: list[PackId] = []
        self.pack_sizes = array("I")
        self._pack_rows: dict[bytes, int] = {}
        self._base_rows: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.objects)

    def add(self, manifest: Manifest, placement: Placement, runs: Sequence[tuple[int, int]]) -> None:
        """Append the rows of the object table of `manifest` that `runs` name, as (first, count) each.

        Raises:
            IntegrityError: another package states another size of one of the packs; nothing is appended.
        """
        packs = self._add_packs(placement)
        bases = self._add_bases(placement, packs) if len(placement.base_sizes) else None
        single = len(placement.forms.pack) == len(manifest.objects)
        forms = slice(None) if single else placement.first[:-1]
        pack = packs[placement.forms.pack][forms]
        offset, length = placement.forms.offset[forms], placement.forms.length[forms]
        codec = placement.forms.codec[forms]
        base = None if bases is None else bases[placement.base_of][forms]
        ids = bytes.fromhex("".join([identifier for identifier, _ in manifest.objects]))
        sizes = array("I", [size for _, size in manifest.objects])
        into = self.objects
        for first, count in runs:
            end = first + count
            if not single:
                self._add_alternatives(placement, packs, bases, range(first, end))
            into.ids += ids[HASH_BYTES * first : HASH_BYTES * end]
            into.size += sizes[first:end]
            into.pack.frombytes(pack[first:end].tobytes())
            into.offset.frombytes(offset[first:end].tobytes())
            into.length.frombytes(length[first:end].tobytes())
            into.codec += codec[first:end].tobytes()
            self.base.frombytes(b"\xff\xff\xff\xff" * count if base is None else base[first:end].tobytes())

    def item(self, row: int) -> WantedObject:
        """Return the object in a row, with the place in its columns."""
        base = self.base[row]
        return WantedObject(
            id=self.objects.id(row),
            size=self.objects.size[row],
            at=self._place(self.objects, row),
            base=None if base == NO_BASE else self.bases.id(base),
        )

    def base_item(self, row: int) -> WantedObject:
        """Return the base in a row of the bases."""
        return WantedObject(id=self.bases.id(row), size=self.bases.size[row], at=self._place(self.bases, row))

    def form(self, row: int) -> Alternative:
        """Return the form of an object that is in its columns."""
        columns = self.objects
        return Alternative(
            row=row,
            pack=columns.pack[row],
            offset=columns.offset[row],
            length=columns.length[row],
            codec=columns.codec[row],
            base=self.base[row],
        )

    def put_form(self, form: Alternative) -> None:
        """Put a form into the columns of its object."""
        columns, row = self.objects, form.row
        columns.pack[row], columns.offset[row], columns.length[row] = form.pack, form.offset, form.length
        columns.codec[row], self.base[row] = form.codec, form.base

    def deltas(self, rows: Numbers) -> Iterator[WantedObject]:
        """Yield those of the objects in `rows` that are stored as deltas."""
        base = np.frombuffer(self.base, "u4")[rows] if len(rows) else np.empty(0, "u4")
        return map(self.item, rows[base != NO_BASE].tolist())

    def that_are_bases(self, rows: Numbers, bases: Sequence[int]) -> list[int]:
        """Return those of the objects in `rows` that are among `bases`, which are rows of the bases."""
        if not len(rows) or not len(bases):
            return []
        named = {self.bases.id(row) for row in bases}
        alike = rows[np.isin(self.objects.keys(rows), self.bases.keys(np.asarray(bases)))]
        return [row for row in alike.tolist() if self.objects.id(row) in named]

    def _place(self, columns: Columns, row: int) -> Location:
        pack = columns.pack[row]
        return Location(
            pack=self.packs[pack],
            pack_size=self.pack_sizes[pack],
            offset=columns.offset[row],
            length=columns.length[row],
            codec=columns.codec[row],
        )

    def _add_packs(self, placement: Placement) -> Numbers:
        """Return the row of each pack of `placement` here."""
        data, sizes = placement.pack_ids.tobytes(), placement.pack_sizes.tolist()
        names = [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
        for name, size in zip(names, sizes, strict=True):
            row = self._pack_rows.get(name)
            if row is not None and self.pack_sizes[row] != size:
                raise IntegrityError(f"the pack `{name.hex()}` has {self.pack_sizes[row]} bytes, and {size} elsewhere")
        for name, size in zip(names, sizes, strict=True):
            if name not in self._pack_rows:
                self._pack_rows[name] = len(self.packs)
                self.packs.append(PackId(name.hex()))
                self.pack_sizes.append(size)
        return np.array([self._pack_rows[name] for name in names], "u4")

    def _add_bases(self, placement: Placement, packs: Numbers) -> Numbers:
        """Return the row of each base of `placement` here, and after them that of no base."""
        data, spots, into = placement.base_ids.tobytes(), placement.bases, self.bases
        rows: list[int] = []
        for row, size in enumerate(placement.base_sizes.tolist()):
            name = data[HASH_BYTES * row : HASH_BYTES * (row + 1)]
            if name not in self._base_rows:
                self._base_rows[name] = len(into)
                into.ids += name
                into.size.append(size)
                into.pack.append(int(packs[spots.pack[row]]))
                into.offset.append(int(spots.offset[row]))
                into.length.append(int(spots.length[row]))
                into.codec.append(int(spots.codec[row]))
            rows.append(self._base_rows[name])
        return np.array([*rows, NO_BASE], "u4")

    def _add_alternatives(
        self, placement: Placement, packs: Numbers, bases: "Numbers | None", objects: Iterable[int]
    ) -> None:
        spots = placement.forms
        for row, number in enumerate(objects, len(self)):
            for form in range(int(placement.first[number]) + 1, int(placement.first[number + 1])):
                self.alternatives.append(
                    Alternative(
                        row=row,
                        pack=int(packs[spots.pack[form]]),
                        offset=int(spots.offset[form]),
                        length=int(spots.length[form]),
                        codec=int(spots.codec[form]),
                        base=NO_BASE if bases is None else int(bases[placement.base_of[form]]),
                    )
                )


class Lacking:
    """The rows of `columns` that files lack, found by id until they are taken. Used from one thread at a time."""

    def __init__(self, columns: Columns, rows: Numbers) -> None:
        keys = columns.keys(rows)
        order = np.argsort(keys)
        self._columns = columns
        self._keys = keys[order]
        self._searched = self._keys.data
        del keys
        self._rows = rows[order]
        self._taken = np.zeros(len(rows), bool)

    def __contains__(self, identifier: object) -> bool:
        return isinstance(identifier, str) and bool(self._find(identifier))

    def take(self, identifier: ObjectId) -> list[int]:
        """Return the rows with this object, which are lacked no more."""
        found = self._find(identifier)
        if not found:
            return []
        self._taken[found] = True
        rows: list[int] = self._rows[found].tolist()
        return rows

    def discard(self, identifier: ObjectId) -> None:
        """Forget the rows with this object."""
        self.take(identifier)

    def unique(self) -> Numbers:
        """Return one row for each object that is lacked, by id."""
        rows, keys = self._rows, self._keys
        if np.count_nonzero(self._taken):
            left = np.flatnonzero(~self._taken)
            rows, keys = rows[left], keys[left]
        again = np.flatnonzero(keys[1:] == keys[:-1]) + 1
        if not len(again):
            return rows
        ids = self._columns.array("ids")
        same = again[ids[rows[again]] == ids[rows[again - 1]]]
        if len(same) < len(again):  # ids that begin alike, which only an attacker makes
            return rows[np.unique(ids[rows].view("S32"), return_index=True)[1]]
        first = np.ones(len(rows), bool)
        first[same] = False
        return rows[first]

    def _find(self, identifier: str) -> list[int]:
        keys, key = self._searched, int(identifier[:16], 16)
        at, found = bisect_left(keys, key), []
        while at < len(keys) and keys[at] == key:
            if not self._taken[at] and self._columns.id(int(self._rows[at])) == identifier:
                found.append(at)
            at += 1
        return found
