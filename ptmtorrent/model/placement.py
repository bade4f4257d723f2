"""The placement: where the objects of one snapshot lie, in columns (docs/formats/placement.md).

Replaceable and not part of any identity: an object's hash proves its bytes wherever they were found. An object has one
or more forms, the cheapest of which is read: stored whole, or as a delta, which is decoded with its base.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

import msgspec
import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.canonical import (
    HASH,
    HASH_BYTES,
    U8,
    U32,
    ColumnReader,
    Hashes,
    Numbers,
    encode_columns,
    hash_column,
    hex_of,
)
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId, is_hex64
from ptmtorrent.model.manifest import Manifest

MAGIC = b"PTMPLACE"

SUBTRACT, SUBTRACT_GROUPED, TRANSPOSED = 7, 8, 12

DELTA_CODECS = frozenset({SUBTRACT, SUBTRACT_GROUPED, TRANSPOSED})
"""Codecs whose bytes mean nothing without a base."""

MAX_PACK_BYTES = 1 << 30
"""No pack is longer than 1 GiB; the usual one is about 256 MiB."""

MAX_FORMS = 255
"""Limit of the forms of one object, and of the bases of one form."""


class Location(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where one object lies, spelled out: `[pack, pack size, offset, stored length, codec]`, in bytes."""

    pack: PackId
    pack_size: int
    offset: int
    length: int
    codec: int


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """An object that deltas were taken against, its raw size in bytes, and where it lies, stored whole."""

    id: ObjectId
    size: int
    at: Location


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which an object is stored: where, and the base that its bytes are decoded with, if there is one."""

    at: Location
    base: Base | None = None


class Head(canonical.Document, frozen=True, kw_only=True):
    """The head of a placement: numbers of rows in its columns."""

    FORMAT: ClassVar[str] = "ptmtorrent/placement"
    VERSION: ClassVar[int] = 2

    snapshot: SnapshotId
    packs: int
    objects: int
    forms: int
    links: int
    bases: int


class Spots(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Columns of places: the row of the pack, offset, stored length, codec."""

    pack: Numbers
    offset: Numbers
    length: Numbers
    codec: Numbers


class Placement(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The columns of a placement.

    `first` has a row for each object and one more: the forms of object `n` are the rows `first[n]` to `first[n + 1]` of
    `forms`. `base_of` has a row for each form: the row of its base, or the number of bases for none.
    """

    snapshot: SnapshotId
    pack_ids: Hashes
    pack_sizes: Numbers
    first: Numbers
    forms: Spots
    base_of: Numbers
    base_ids: Hashes
    base_sizes: Numbers
    bases: Spots

    @property
    def packs(self) -> tuple[PackId, ...]:
        """The packs that hold any form or base, by id."""
        return tuple(PackId(hex_of(self.pack_ids, row)) for row in range(len(self.pack_sizes)))

    def forms_of(self, row: int) -> tuple[Form, ...]:
        """Return the forms of the object in `row` of the manifest's object table, in the order of the columns."""
        return tuple(self._form(form) for form in range(int(self.first[row]), int(self.first[row + 1])))

    def form(self, row: int) -> Form:
        """Return the first form of an object, the one that is the cheapest among many packages."""
        return self._form(int(self.first[row]))

    @property
    def several(self) -> list[int]:
        """The rows of the objects with several forms."""
        rows: list[int] = np.flatnonzero(np.diff(self.first) > 1).tolist()
        return rows

    def all_bases(self) -> Iterator[Base]:
        """Yield the bases that any form needs, by id."""
        return (self._base(row) for row in range(len(self.base_sizes)))

    def _form(self, form: int) -> Form:
        base = int(self.base_of[form])
        return Form(at=self._at(self.forms, form), base=None if base == len(self.base_sizes) else self._base(base))

    def _base(self, row: int) -> Base:
        identifier = ObjectId(hex_of(self.base_ids, row))
        return Base(id=identifier, size=int(self.base_sizes[row]), at=self._at(self.bases, row))

    def _at(self, spots: Spots, row: int) -> Location:
        pack = int(spots.pack[row])
        return Location(
            pack=PackId(hex_of(self.pack_ids, pack)),
            pack_size=int(self.pack_sizes[pack]),
            offset=int(spots.offset[row]),
            length=int(spots.length[row]),
            codec=int(spots.codec[row]),
        )


def encode_placement(snapshot: SnapshotId, objects: Sequence[Sequence[Form]]) -> bytes:
    """Return the placement of `snapshot` from the forms of its objects, in the order of the object table.

    The bytes depend on the forms alone.
    """
    forms = [form for each in objects for form in each]
    bases = sorted({form.base.id: form.base for form in forms if form.base}.values(), key=lambda base: base.id)
    base_row = {base.id: row for row, base in enumerate(bases)}
    links = [base_row[form.base.id] for form in forms if form.base]
    places = [form.at for form in forms]
    base_places = [base.at for base in bases]
    packs = sorted({(place.pack, place.pack_size) for place in (*places, *base_places)})
    pack_row = {pack: row for row, (pack, _) in enumerate(packs)}
    head = Head(
        format=Head.FORMAT,
        version=Head.VERSION,
        requires=(),
        snapshot=snapshot,
        packs=len(packs),
        objects=len(objects),
        forms=len(forms),
        links=len(links),
        bases=len(bases),
    )
    return encode_columns(
        MAGIC,
        head,
        hash_column([pack for pack, _ in packs]),
        np.array([size for _, size in packs], U32),
        np.array([len(each) for each in objects], U8),
        *_spots(places, pack_row),
        np.array([form.base is not None for form in forms], U8),
        np.array(links, U32),
        hash_column([base.id for base in bases]),
        np.array([base.size for base in bases], U32),
        *_spots(base_places, pack_row),
    )


def encode_whole(snapshot: SnapshotId, packs: Sequence[tuple[PackId, int]], spots: Spots) -> bytes:
    """Return the placement that `encode_placement` does, of objects that have one form each, without a base.

    `packs` are the packs that are needed, with their sizes, sorted; the places are in the order of the object table.
    """
    rows = len(spots.pack)
    head = (
        f'{{"bases":0,"format":"{Head.FORMAT}","forms":{rows},"links":0,"objects":{rows},"packs":{len(packs)},'
        f'"requires":[],"snapshot":"{snapshot}","version":{Head.VERSION}}}'
    ).encode()
    return b"".join(
        (
            MAGIC,
            len(head).to_bytes(4, "little"),
            head,
            hash_column([each for each, _ in packs]),
            np.array([size for _, size in packs], U32).tobytes(),
            b"\1" * rows,
            spots.pack.astype(U32).tobytes(),
            spots.offset.astype(U32).tobytes(),
            spots.length.astype(U32).tobytes(),
            spots.codec.astype(U8).tobytes(),
            bytes(rows),
        )
    )


def decode_placement(data: bytes, manifest: Manifest, snapshot: SnapshotId) -> Placement:
    """Read the placement of `manifest`.

    Its own hash is checked by the caller where one is known; every number is checked here against the manifest,
    because stored bytes are never longer than raw ones, and a delta is as long as its base.

    Raises:
        IntegrityError: of another snapshot, the wrong length, a place outside its pack, or a delta without its base.
        UnsupportedFormat: written by a newer version.
    """
    named = f"placement of {manifest.package.package}"
    reader = ColumnReader(data, MAGIC, named)
    head = reader.head(Head)
    if head.snapshot != snapshot or head.objects != len(manifest.objects):
        raise IntegrityError(f"the placement given for `{manifest.package.package}` belongs to another snapshot")
    pack_ids = reader.column(HASH, head.packs)
    pack_sizes = reader.column(U32, head.packs)
    counts = reader.column(U8, head.objects)
    forms = _read_spots(reader, head.forms)
    links = reader.column(U8, head.forms)
    link_bases = reader.column(U32, head.links)
    base_ids = reader.column(HASH, head.bases)
    base_sizes = reader.column(U32, head.bases)
    bases = _read_spots(reader, head.bases)
    reader.finish()
    _check_counts(head, counts, links, link_bases, named)
    base_of = np.full(head.forms, head.bases, U32)
    if head.links:
        base_of[links == 1] = link_bases
    single = head.forms == head.objects
    placement = Placement(
        snapshot=snapshot,
        pack_ids=pack_ids,
        pack_sizes=pack_sizes,
        first=np.arange(head.objects + 1) if single else np.append(0, np.cumsum(counts, dtype=np.int64)),
        forms=forms,
        base_of=base_of,
        base_ids=base_ids,
        base_sizes=base_sizes,
        bases=bases,
    )
    sizes = np.array([size for _, size in manifest.objects], np.int64)
    _check(placement, sizes if single else np.repeat(sizes, counts), named)
    if head.bases:
        _check_own_bases(placement, manifest, named)
    return placement


def _check_counts(head: Head, counts: Numbers, links: Numbers, link_bases: Numbers, named: str) -> None:
    """Refuse counts of forms and bases that do not add up; most objects have one form, and most forms no base."""
    single = head.forms == head.objects and counts.tobytes() == b"\1" * head.objects
    whole = not head.links and links.tobytes() == bytes(head.forms)
    if not single and not (counts.all() and int(counts.sum()) == head.forms):
        raise _malformed(named, "counts of forms or bases that do not add up")
    if whole:
        return
    if int(links.sum()) != head.links:
        raise _malformed(named, "counts of forms or bases that do not add up")
    if int(links.max(initial=0)) > 1:
        raise _malformed(named, "a form with several bases, which no codec has")
    if int(link_bases.max(initial=0)) >= head.bases:
        raise _malformed(named, "a row of a base that it does not list")


def check_pack(pack: PackId, size: int) -> None:
    """Refuse a pack whose id is malformed or whose size no pack can have."""
    if not is_hex64(pack) or not 0 < size <= MAX_PACK_BYTES:
        raise IntegrityError(f"the pack `{pack}` of {size} bytes is malformed")


def check_location(place: Location, raw_size: int) -> None:
    """Refuse a location that leaves its pack, or stores `raw_size` bytes in more than that.

    Raises:
        IntegrityError: naming the pack.
    """
    check_pack(place.pack, place.pack_size)
    inside = place.offset >= 0 and place.length >= 0 and place.offset + place.length <= place.pack_size
    if not inside or place.length > raw_size:
        raise IntegrityError(f"an object is listed outside of the pack `{place.pack}`")


def _spots(places: Sequence[Location], pack_row: dict[PackId, int]) -> tuple[Numbers, ...]:
    return (
        np.array([pack_row[place.pack] for place in places], U32),
        np.array([place.offset for place in places], U32),
        np.array([place.length for place in places], U32),
        np.array([place.codec for place in places], U8),
    )


def _read_spots(reader: ColumnReader, rows: int) -> Spots:
    return Spots(
        pack=reader.column(U32, rows),
        offset=reader.column(U32, rows),
        length=reader.column(U32, rows),
        codec=reader.column(U8, rows),
    )


def _check(placement: Placement, raw: Numbers, named: str) -> None:
    """Refuse impossible packs, places and bases; `raw` has the raw size of each form's object."""
    if not _is_ascending(placement.pack_ids):
        raise _malformed(named, "packs that are not in order, each once")
    sizes: list[int] = placement.pack_sizes.tolist()
    if sizes and not (min(sizes) > 0 and max(sizes) <= MAX_PACK_BYTES):
        raise _malformed(named, "a pack of a size that no pack has")
    _check_spots(placement, placement.forms, raw, named)
    # `any` and `all` of arrays take longer than this, and most placements are small
    used = np.bincount(placement.forms.pack, minlength=len(sizes))
    if placement.base_sizes.size:
        _check_spots(placement, placement.bases, placement.base_sizes, named)
        used += np.bincount(placement.bases.pack, minlength=len(sizes))
    if np.count_nonzero(used) != len(sizes):
        raise _malformed(named, "a pack that nothing needs")
    _check_bases(placement, raw, named)


def _check_spots(placement: Placement, spots: Spots, raw: Numbers, named: str) -> None:
    if np.count_nonzero(spots.pack >= len(placement.pack_sizes)):
        raise _malformed(named, "a row of a pack that it does not list")
    ends = spots.offset.astype(np.int64) + spots.length
    if np.count_nonzero(ends > placement.pack_sizes[spots.pack]) or np.count_nonzero(spots.length > raw):
        raise _malformed(named, "an object outside its pack, or longer stored than raw")


def _check_bases(placement: Placement, raw: Numbers, named: str) -> None:
    """Refuse deltas without a base, bases that are deltas, of another length, not in order, or not needed."""
    count = len(placement.base_sizes)
    if not count:
        if not DELTA_CODECS.isdisjoint(placement.forms.codec.tobytes()):
            raise _malformed(named, "a delta without a base, or a base that is a delta itself")
        return
    deltas = _is_delta(placement.forms.codec)
    linked = placement.base_of != count
    rows = placement.base_of[linked]
    if (deltas != linked).any() or _is_delta(placement.bases.codec).any():
        raise _malformed(named, "a delta without a base, or a base that is a delta itself")
    if (placement.base_sizes[rows] != raw[linked]).any():
        raise _malformed(named, "a delta that is not as long as its base")
    if not _is_ascending(placement.base_ids) or not np.bincount(rows, minlength=count).all():
        raise _malformed(named, "bases that are not in order, each once and needed")


def _check_own_bases(placement: Placement, manifest: Manifest, named: str) -> None:
    """Refuse a base of the snapshot itself that would lie in a place where the snapshot does not have it."""
    bases = {base.id: base for base in placement.all_bases()}
    for row, (identifier, size) in enumerate(manifest.objects):
        base = bases.get(identifier)
        if base is not None and (size != base.size or all(form.at != base.at for form in placement.forms_of(row))):
            raise _malformed(named, f"two places for the base `{base.id}`")


def _is_ascending(hashes: Hashes) -> bool:
    """Return whether hashes are in order, each once."""
    data = hashes.tobytes()
    parts = (data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
    return all(before < after for before, after in pairwise(parts))


def _is_delta(codecs: Numbers) -> Numbers:
    found: Numbers = np.isin(codecs, tuple(DELTA_CODECS))
    return found


def _malformed(named: str, what: str) -> IntegrityError:
    return IntegrityError(f"the {named} has {what}")
