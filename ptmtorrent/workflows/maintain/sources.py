"""Where a damaged pack can be put right from: our own channel's copy of it, and a channel that was named."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ptmtorrent.catalogue.index import Described, describe_members, find_members
from ptmtorrent.channel.paths import PACKS
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import LocalReader, read_listed
from ptmtorrent.errors import IntegrityError, PtmError
from ptmtorrent.model import bencode
from ptmtorrent.model.ids import ObjectId, PackId, object_id
from ptmtorrent.model.placement import NO_BASE, Location, Placement, Spot
from ptmtorrent.model.plan import PIECE_BYTES, Extent
from ptmtorrent.model.release import Release
from ptmtorrent.model.torrents import SHA1_BYTES, packs_in
from ptmtorrent.model.volume import pack_path
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.store import codecs
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.format import Entry, ObjectKind, PackClass

HEADER_BYTES = 512
"""No header of this version is longer."""

REQUEST_BYTES = 8 << 20
"""No request asks for more at a time."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an object lies in a channel, what it is, and the place of its base where it is a delta."""

    id: ObjectId
    raw: int
    kind: ObjectKind
    at: Location
    base: "Place | None" = None

    @property
    def entry(self) -> Entry:
        """The object as a pack's footer would list it."""
        base = None if self.base is None else self.base.id
        at = self.at
        return Entry(
            id=self.id, offset=at.offset, stored=at.length, raw=self.raw, codec=at.codec, kind=self.kind, base=base
        )


class Source:
    """A channel that packs are read from. Nothing it sends is believed; `moved` counts what crossed the network."""

    def __init__(self, reader: ChannelReader, release: Release | None, *, ours: bool = False) -> None:
        """`ours`: the channel of this home; what is read from it was not moved."""
        self.name = reader.location
        self.moved = 0
        self._reader = reader
        self._release = release
        self._ours = ours

    def read(self, pack: PackId, extent: Extent) -> Iterator[tuple[int, bytes]]:
        """Yield the bytes of an extent of a pack, in stretches, with where each belongs.

        Raises:
            NotFound: the channel has no such pack.
            IntegrityError, TransportError: it is shorter, or could not be read.
        """
        for at in range(extent.offset, extent.end, REQUEST_BYTES):
            data = self._reader.read_range(pack_path(pack), at, min(REQUEST_BYTES, extent.end - at))
            self.moved += 0 if self._ours else len(data)
            yield at, data

    def class_of(self, pack: PackId) -> PackClass:
        """Return what class of pack the channel calls it.

        Raises:
            NotFound, IntegrityError, TransportError: it could not be had.
        """
        data = b"".join(data for _, data in self.read(pack, Extent(offset=0, length=HEADER_BYTES)))
        return pack_format.decode_header(data, pack)[0]

    def pieces(self, pack: PackId) -> bytes | None:
        """Return the SHA-1 of each piece of a pack, as the channel's release has them; None where it does not."""
        if (release := self._release) is None:
            return None
        for volume in release.volumes:
            with suppress(PtmError):
                torrent = read_listed(self._reader, release, volume.torrent_v1)
                at = 0
                for listed, size in packs_in(torrent, name=volume.torrent_v1.path):
                    if listed == pack:
                        return _pieces(torrent)[at : at + size // PIECE_BYTES * SHA1_BYTES]
                    at += size // PIECE_BYTES * SHA1_BYTES
        return None

    def read_object(self, place: Place) -> tuple[bytes, bytes]:
        """Return an object as it is stored and as it is, proven by its hash.

        Raises:
            IntegrityError: other bytes than its id names.
            NotFound, TransportError: the channel lacks the pack, or could not be read.
        """
        base = None if place.base is None else self.read_object(place.base)[1]
        extent = Extent(offset=place.at.offset, length=place.at.length)
        payload = b"".join(data for _, data in self.read(place.at.pack, extent))
        data = codecs.decode(place.at.codec, payload, place.raw, base)
        return payload, _proven(place, data, self.name)

    def find(self, wanted: set[ObjectId]) -> Iterator[Place]:
        """Yield where the release has the objects `wanted`, manifests included, each once, until all are found.

        Raises:
            IntegrityError, TransportError: a shard could not be had.
        """
        if (release := self._release) is None:
            return
        left = set(wanted)
        seen: set[str] = set()
        for subset in release.subsets:
            members = find_members(release, self._reader, (), subset.name, ())
            fresh = [member for member in members if member.content.package not in seen]
            seen |= {member.content.package for member in fresh}
            for described in describe_members(fresh, self._reader):
                for place in _places(described):
                    if place.id in left:
                        left.discard(place.id)
                        yield place
                if not left:
                    return


def sources_of(channel: Path, named: OpenChannel | None) -> list[Source]:
    """Return where to ask, in order: our own channel, then the one that was named."""
    sources = [Source(LocalReader(channel), None, ours=True)] if (channel / PACKS).is_dir() else []
    if named is not None:
        sources.append(Source(named.reader, named.release))
    return sources


def _pieces(torrent: bytes) -> bytes:
    whole = bencode.decode(torrent, name="a torrent")
    info = whole.get(b"info") if isinstance(whole, dict) else None
    pieces = info.get(b"pieces") if isinstance(info, dict) else None
    return pieces if isinstance(pieces, bytes) else b""


def _places(described: Described) -> Iterator[Place]:
    manifest, placement, member = described.manifest, described.placement, described.member
    if manifest is None or placement is None:
        return
    snapshot = ObjectId(member.content.snapshot)
    yield Place(id=snapshot, raw=member.content.manifest_size, kind="manifest", at=member.placement.manifest)
    yield Place(
        id=member.placement.placement,
        raw=member.placement.placement_size,
        kind="placement",
        at=member.placement.placement_at,
    )
    answers = {row for answer in manifest.raw for row in manifest.objects_of(answer.recipe)}
    for row, ((identifier, size), spot) in enumerate(zip(manifest.objects, placement.objects, strict=True)):
        yield Place(
            id=identifier,
            raw=size,
            kind="answer" if row in answers else "data",
            at=placement.location(spot),
            base=_base(placement, spot),
        )


def _base(placement: Placement, spot: Spot) -> Place | None:
    if spot[4] == NO_BASE:
        return None
    identifier, size, where = placement.bases[spot[4]]
    return Place(id=identifier, raw=size, kind="data", at=placement.location(where))


def _proven(place: Place, data: bytes, name: str) -> bytes:
    if object_id(data) != place.id:
        raise IntegrityError(f"the channel `{name}` has other bytes than the object `{place.id}`")
    return data
