"""Packs of random bytes and requests for them, for tests of transports."""

import random
from pathlib import Path

from blake3 import blake3

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.placement import Location
from ptmtorrent.model.plan import Extent, PackRequest, merge
from ptmtorrent.model.wanted import WantedObject
from ptmtorrent.transports.port import Delivered

PIECE = 4 << 20


def write_pack(channel: Path, size: int, seed: int = 1) -> tuple[PackId, bytes]:
    """Write a pack of random bytes at its path in a channel."""
    data = random.Random(seed).randbytes(size)
    pack = PackId(blake3(data).hexdigest())
    path = channel / pack_path(pack)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return pack, data


def whole(pack: PackId, data: bytes) -> PackRequest:
    return parts(pack, data, (0, len(data)))


def parts(pack: PackId, data: bytes, *spans: tuple[int, int]) -> PackRequest:
    """Return a request for the objects at the spans `(offset, length)`, one extent each."""
    objects = tuple(
        WantedObject(
            id=ObjectId(blake3(data[offset : offset + length]).hexdigest()),
            size=length,
            at=Location(pack=pack, pack_size=len(data), offset=offset, length=length, codec=0),
        )
        for offset, length in spans
    )
    extents = merge((Extent(offset=offset, length=length) for offset, length in spans), gap=0)
    return PackRequest(pack=pack, size=len(data), extents=extents, objects=objects)


def read_delivered(delivered: Delivered) -> bytes:
    with delivered.path.open("rb") as file:
        file.seek(delivered.start)
        return file.read(delivered.extent.length)
