"""Random packs in a channel folder, hashed from their bytes by code that shares nothing with what it tests."""

import hashlib
import random
from pathlib import Path

from blake3 import blake3

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.model.volume import PackHashes

LEAF = 16 << 10
BLOCK_BYTES = 4 << 20
"""Sizes of packs are given in blocks of 4 MiB, unless a test says otherwise."""


def piece_bytes_of(size: int) -> int:
    """The table of docs/formats/pack.md."""
    if size < 4 << 20:
        return 16 << 10
    return 256 << 10 if size < 64 << 20 else 4 << 20


def tree_root(row: list[bytes], padding: bytes) -> bytes:
    """The textbook Merkle root, padded to a power of two."""
    width = 1
    while width < len(row):
        width *= 2
    row = row + [padding] * (width - len(row))
    while len(row) > 1:
        row = [hashlib.sha256(row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


def hash_pack(data: bytes, rights: Rights = "open") -> PackHashes:
    """Hash a pack held in memory."""
    zero = bytes(32)
    grain = piece_bytes_of(len(data))
    empty_piece = tree_root([zero] * (grain // LEAF), zero)
    pieces = [data[at : at + grain] for at in range(0, len(data), grain)]
    layer = [
        tree_root([hashlib.sha256(piece[at : at + LEAF]).digest() for at in range(0, len(piece), LEAF)], zero)
        for piece in pieces
    ]
    return PackHashes(
        pack=PackId(blake3(data).hexdigest()),
        size=len(data),
        rights=rights,
        pieces_v1=b"".join(hashlib.sha1(piece, usedforsecurity=False).digest() for piece in pieces),
        root_v2=tree_root(layer, empty_piece),
        layer_v2=b"".join(layer) if len(layer) > 1 else b"",
    )


def make_pack(channel: Path, count: int, seed: int, unit: int = BLOCK_BYTES) -> PackHashes:
    """Write a pack of `count` times `unit` random bytes where a channel keeps it."""
    source = random.Random(seed)
    data = b"".join(source.randbytes(unit) for _ in range(count))
    hashes = hash_pack(data)
    path = channel / pack_path(hashes.pack)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashes


def request_of(pack: PackHashes) -> PackRequest:
    """Ask for a whole pack."""
    return PackRequest(pack=pack.pack, size=pack.size, extents=(Extent(offset=0, length=pack.size),), objects=())
