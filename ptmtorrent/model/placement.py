"""The placement: where the objects of one snapshot lie (docs/formats/placement.md).

Replaceable and not part of any identity: an object's hash proves its bytes wherever they were found. An object stored
as a delta is decoded with its base, which lies anywhere in the release and is never a delta itself.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import msgspec

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId, is_hex64
from ptmtorrent.model.manifest import Manifest

NO_BASE = -1
DELTA_CODECS = frozenset({7, 8})
"""Codecs whose bytes mean nothing without a base."""

MAX_PACK_BYTES = 1 << 30
"""No pack is longer than 1 GiB; the usual one is about 256 MiB."""

Spot = tuple[int, int, int, int, int]
"""`(pack row, offset, stored length, codec, base row)`; offset is of the encoded bytes, base row is -1 for none."""


class Location(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where one object lies, spelled out: `[pack, pack size, offset, stored length, codec]`, in bytes."""

    pack: PackId
    pack_size: int
    offset: int
    length: int
    codec: int


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """An object that deltas were taken against, its raw size in bytes, and where it lies."""

    id: ObjectId
    size: int
    at: Location


class Placement(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """One `Spot` for each row of the manifest's object table, in the same order.

    `bases` are the objects that deltas were taken against, of this snapshot or another: `(id, raw size, spot)`.
    """

    FORMAT: ClassVar[str] = "ptmtorrent/placement"

    snapshot: SnapshotId
    packs: tuple[tuple[PackId, int], ...]
    objects: tuple[Spot, ...]
    bases: tuple[tuple[ObjectId, int, Spot], ...] = ()

    def location(self, spot: Spot) -> Location:
        """Spell out `spot`."""
        pack, size = self.packs[spot[0]]
        return Location(pack=pack, pack_size=size, offset=spot[1], length=spot[2], codec=spot[3])


def new_placement(
    snapshot: SnapshotId, objects: Sequence[Location], bases: Sequence[Base | None] | None = None
) -> Placement:
    """Build the placement of `snapshot` from where its objects lie, in the order of the object table.

    `bases` are those of the objects, in the same order, None for each that is no delta; without `bases` none is.
    """
    listed = sorted({base.id: base for base in bases or () if base is not None}.values(), key=lambda base: base.id)
    base_row = {base.id: number for number, base in enumerate(listed)}
    packs = sorted({(place.pack, place.pack_size) for place in (*objects, *(base.at for base in listed))})
    pack_row = {pack: number for number, (pack, _) in enumerate(packs)}

    def spot(place: Location, base: Base | None = None) -> Spot:
        row = NO_BASE if base is None else base_row[base.id]
        return (pack_row[place.pack], place.offset, place.length, place.codec, row)

    return Placement(
        format=Placement.FORMAT,
        version=Placement.VERSION,
        requires=(),
        snapshot=snapshot,
        packs=tuple(packs),
        objects=tuple(spot(place, base) for place, base in zip(objects, bases or [None] * len(objects), strict=True)),
        bases=tuple((base.id, base.size, spot(base.at)) for base in listed),
    )


def decode_placement(data: bytes, manifest: Manifest, snapshot: SnapshotId) -> Placement:
    """Read the placement of `manifest`.

    Its own hash is checked by the caller where one is known; every number is checked here against the manifest,
    because stored bytes are never longer than raw ones, and a delta is as long as its base.

    Raises:
        IntegrityError: of another snapshot, the wrong length, a spot outside its pack, or a delta without its base.
        UnsupportedFormat: written by a newer version.
    """
    placement = canonical.decode(data, Placement, name=f"placement of {snapshot[:12]}")
    if placement.snapshot != snapshot or len(placement.objects) != len(manifest.objects):
        raise IntegrityError(f"the placement given for `{manifest.package.package}` belongs to another snapshot")
    for pack, size in placement.packs:
        check_pack(pack, size)
    if any(before >= after for (before, _), (after, _) in pairwise(placement.packs)):
        raise IntegrityError(f"the placement of `{manifest.package.package}` does not list packs in order, each once")
    sizes = [size for _, size in manifest.objects]
    for spot, size in zip(placement.objects, sizes, strict=True):
        _check_spot(placement, spot, size)
    _check_bases(placement, sizes)
    if placement.bases:
        _check_own_bases(placement, manifest)
    return placement


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


def _check_spot(placement: Placement, spot: Spot, raw_size: int) -> None:
    if not 0 <= spot[0] < len(placement.packs) or not NO_BASE <= spot[4] < len(placement.bases):
        raise IntegrityError(f"the placement of `{placement.snapshot}` names a row it does not have")
    check_location(placement.location(spot), raw_size)


def _check_bases(placement: Placement, sizes: Sequence[int]) -> None:
    """Refuse deltas without a base, bases that are deltas, of another length, not in order, or not needed."""
    named = f"the placement of `{placement.snapshot}`"
    for spot, size in zip(placement.objects, sizes, strict=True):
        if (spot[3] in DELTA_CODECS) != (spot[4] != NO_BASE):
            raise IntegrityError(f"{named} has a delta without a base, or a base without a delta")
        if spot[4] != NO_BASE and placement.bases[spot[4]][1] != size:
            raise IntegrityError(f"{named} has a delta that is not as long as its base")
    for identifier, size, spot in placement.bases:
        if not is_hex64(identifier) or spot[3] in DELTA_CODECS or spot[4] != NO_BASE:
            raise IntegrityError(f"{named} has a malformed base, or one that is a delta itself")
        _check_spot(placement, spot, size)
    if any(before >= after for (before, _, _), (after, _, _) in pairwise(placement.bases)):
        raise IntegrityError(f"{named} does not list bases in order, each once")
    if len({spot[4] for spot in placement.objects} - {NO_BASE}) != len(placement.bases):
        raise IntegrityError(f"{named} lists a base that nothing needs")


def _check_own_bases(placement: Placement, manifest: Manifest) -> None:
    """Refuse a base of the snapshot itself that would lie in two places, or be of two lengths."""
    own = {
        identifier: (size, spot) for (identifier, size), spot in zip(manifest.objects, placement.objects, strict=True)
    }
    for identifier, size, spot in placement.bases:
        if own.get(identifier, (size, spot)) != (size, spot):
            raise IntegrityError(f"the placement of `{placement.snapshot}` has two places for `{identifier}`")
