"""The placement: where the objects of one snapshot lie (docs/formats/placement.md).

Replaceable and not part of any identity: an object's hash proves its bytes wherever they were found.
"""

from itertools import pairwise
from typing import ClassVar

import msgspec

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId, is_hex64
from ptmtorrent.model.manifest import Manifest

NO_BASE = -1
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


class Placement(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """One `Spot` for each row of the manifest's object table, in the same order.

    `bases` are objects of other snapshots that deltas were taken against: `(id, raw size, spot)`.
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
    snapshot: SnapshotId, objects: tuple[Location, ...], bases: tuple[tuple[ObjectId, int, Location], ...] = ()
) -> Placement:
    """Build the placement of `snapshot` from the locations of its objects, in the order of the object table."""
    packs = sorted({(place.pack, place.pack_size) for place in (*objects, *(base[2] for base in bases))})
    row = {pack: index for index, (pack, _) in enumerate(packs)}

    def spot(place: Location, base: int = NO_BASE) -> Spot:
        return (row[place.pack], place.offset, place.length, place.codec, base)

    return Placement(
        format=Placement.FORMAT,
        version=Placement.VERSION,
        requires=(),
        snapshot=snapshot,
        packs=tuple(packs),
        objects=tuple(spot(place) for place in objects),
        bases=tuple((identifier, size, spot(place)) for identifier, size, place in bases),
    )


def decode_placement(data: bytes, manifest: Manifest, snapshot: SnapshotId) -> Placement:
    """Read the placement of `manifest`.

    Its own hash is checked by the caller where one is known; every number is checked here against the manifest,
    because stored bytes are never longer than raw ones.

    Raises:
        IntegrityError: of another snapshot, the wrong length, or a spot outside its pack.
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
    for _, size, spot in placement.bases:
        _check_spot(placement, spot, size)
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
        raise IntegrityError(f"an object is said to lie outside the pack `{place.pack}`")


def _check_spot(placement: Placement, spot: Spot, raw_size: int) -> None:
    if not 0 <= spot[0] < len(placement.packs) or not NO_BASE <= spot[4] < len(placement.bases):
        raise IntegrityError(f"the placement of `{placement.snapshot}` names a row it does not have")
    check_location(placement.location(spot), raw_size)
