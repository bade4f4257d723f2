"""Read packs and objects for a repair from a channel: our own, or one given with `--from`."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ptmtorrent.catalogue.index import Described, describe_members, find_members
from ptmtorrent.channel.paths import PACKS, pack_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import LocalReader, read_listed
from ptmtorrent.errors import IntegrityError, PtmError
from ptmtorrent.model import bencode
from ptmtorrent.model.ids import ObjectId, PackId, object_id
from ptmtorrent.model.manifest import encode_manifest
from ptmtorrent.model.pieces import pieces_in
from ptmtorrent.model.placement import Form, Location
from ptmtorrent.model.plan import Extent
from ptmtorrent.model.release import Release
from ptmtorrent.model.torrents import SHA1_BYTES, packs_in
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.store import codecs
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.format import Entry, ObjectKind, PackClass

HEADER_BYTES = 512
"""Upper limit of a pack header in this version."""

REQUEST_BYTES = 8 << 20
"""Limit of bytes per request (8 MiB)."""


class ChannelObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object in a pack of a channel; `base` is the object that a delta needs.

    A manifest lies in no pack: `document` is the manifest, and `at` the place of an object of its package.
    """

    id: ObjectId
    raw: int
    kind: ObjectKind
    at: Location
    base: "ChannelObject | None" = None
    document: bytes | None = None

    @property
    def entry(self) -> Entry:
        """The object as the footer of its pack lists it."""
        base = None if self.base is None else self.base.id
        at = self.at
        return Entry(
            id=self.id, offset=at.offset, stored=at.length, raw=self.raw, codec=at.codec, kind=self.kind, base=base
        )


class RepairSource:
    """A channel to read packs from. Its bytes are not trusted; `moved` counts bytes moved over the network."""

    def __init__(self, reader: ChannelReader, release: Release | None, *, is_own: bool = False) -> None:
        """`is_own`: the channel of this home; bytes read from it do not count as moved."""
        self.name = reader.location
        self.moved = 0
        self._reader = reader
        self._release = release
        self._is_own = is_own

    def read(self, pack: PackId, extent: Extent) -> Iterator[tuple[int, bytes]]:
        """Yield `(offset in the pack, bytes)` for an extent of a pack, one request at a time.

        Raises:
            NotFound: the channel lacks the pack.
            IntegrityError, TransportError: the pack is too short or could not be read.
        """
        for at in range(extent.offset, extent.end, REQUEST_BYTES):
            data = self._reader.read_range(pack_path(pack), at, min(REQUEST_BYTES, extent.end - at))
            self.moved += 0 if self._is_own else len(data)
            yield at, data

    def class_of(self, pack: PackId) -> PackClass:
        """Return the class of a pack from its header in the channel.

        Raises:
            NotFound, IntegrityError, TransportError: the header could not be read.
        """
        data = b"".join(data for _, data in self.read(pack, Extent(offset=0, length=HEADER_BYTES)))
        return pack_format.decode_header(data, pack)[0]

    def pieces(self, pack: PackId) -> bytes | None:
        """Return the SHA-1 of each piece of a pack, from the torrents of the release; None if they lack the pack."""
        if (release := self._release) is None:
            return None
        for volume in release.volumes:
            with suppress(PtmError):
                torrent = read_listed(self._reader, release, volume.torrent_v1)
                at = 0
                for listed, size in packs_in(torrent, name=volume.torrent_v1.path):
                    if listed == pack:
                        return _pieces(torrent)[at : at + pieces_in(size) * SHA1_BYTES]
                    at += pieces_in(size) * SHA1_BYTES
        return None

    def read_object(self, remote: ChannelObject) -> tuple[bytes, bytes]:
        """Return an object encoded and decoded, verified against its id.

        Raises:
            IntegrityError: the bytes do not match the id.
            NotFound, TransportError: the channel lacks the pack, or could not be read.
        """
        base = None if remote.base is None else self.read_object(remote.base)[1]
        extent = Extent(offset=remote.at.offset, length=remote.at.length)
        payload = b"".join(data for _, data in self.read(remote.at.pack, extent))
        data = codecs.decode(remote.at.codec, payload, remote.raw, base)
        return payload, _verified(remote, data, self.name)

    def find(self, wanted: set[ObjectId]) -> Iterator[ChannelObject]:
        """Yield each object of `wanted`, manifests included, that the release has; stop once all are found.

        Raises:
            IntegrityError, TransportError: a shard could not be read.
        """
        if (release := self._release) is None:
            return
        left = set(wanted)
        seen: set[str] = set()
        for subset in release.subsets:
            members = find_members(release, self._reader, (), subset.name, ())
            fresh = [member for member in members if member.package not in seen]
            seen |= {member.package for member in fresh}
            for described in describe_members(fresh, self._reader):
                for remote in _objects_of(described):
                    if remote.id in left:
                        left.discard(remote.id)
                        yield remote
                if not left:
                    return


def repair_sources(own: Path, given: OpenChannel | None) -> list[RepairSource]:
    """Return the sources to try, in order: our own channel, then the one that was given."""
    sources = [RepairSource(LocalReader(own), None, is_own=True)] if (own / PACKS).is_dir() else []
    if given is not None:
        sources.append(RepairSource(given.reader, given.release))
    return sources


def _pieces(torrent: bytes) -> bytes:
    whole = bencode.decode(torrent, name="a torrent")
    info = whole.get(b"info") if isinstance(whole, dict) else None
    pieces = info.get(b"pieces") if isinstance(info, dict) else None
    return pieces if isinstance(pieces, bytes) else b""


def _objects_of(described: Described) -> Iterator[ChannelObject]:
    manifest, placement = described.manifest, described.placement
    if manifest is None or placement is None:
        return
    answers = {row for answer in manifest.raw for row in manifest.objects_of(answer.recipe)}
    for row, (identifier, size) in enumerate(manifest.objects):
        form = placement.form(row)
        if row == 0:
            data, snapshot = encode_manifest(manifest)
            yield ChannelObject(id=ObjectId(snapshot), raw=len(data), kind="manifest", at=form.at, document=data)
        kind: ObjectKind = "answer" if row in answers else "data"
        yield ChannelObject(id=identifier, raw=size, kind=kind, at=form.at, base=_base(form))


def _base(form: Form) -> ChannelObject | None:
    if form.base is None:
        return None
    return ChannelObject(id=form.base.id, raw=form.base.size, kind="data", at=form.base.at)


def _verified(remote: ChannelObject, data: bytes, name: str) -> bytes:
    if object_id(data) != remote.id:
        raise IntegrityError(f"the object `{remote.id}` in the channel `{name}` does not hash to its id")
    return data
