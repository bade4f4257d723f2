"""Volumes: which packs share a torrent, and the two torrents bencoded from hashes that are already known.

Root name `packs`, paths `<2 hex>/<hash>.pack`, sorted; every pack is a multiple of the piece length, so v1 pieces
never span two packs and both torrents describe the same bytes (docs/formats/volume.md). Nothing is read to make one.
"""

import msgspec

from ptmtorrent.model.capture import Rights
from ptmtorrent.model.ids import PackId

ROOT_NAME = "packs"
MAX_VOLUME_BYTES = 1 << 40
LEVEL_WIDTH = 8
"""Eight volumes of a level merge into one of the next."""


class PackHashes(msgspec.Struct, frozen=True, kw_only=True):
    """What was computed while the pack was written, enough to make any torrent of it.

    `pieces_v1`: 20 bytes of SHA-1 for each 4 MiB piece. `root_v2`: 32 bytes, the SHA-256 Merkle root over 16 KiB
    leaves. `layer_v2`: 32 bytes for each piece (BEP 52), empty when the pack is one piece.
    """

    pack: PackId
    size: int
    rights: Rights
    pieces_v1: bytes
    root_v2: bytes
    layer_v2: bytes


class VolumePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A set of packs that will be one torrent, sorted by id, all of the same rights."""

    rights: Rights
    level: int
    packs: tuple[PackHashes, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all packs."""
        return sum(pack.size for pack in self.packs)


def pack_path(pack: PackId) -> str:
    """Return where a pack lies in a channel: `packs/<2 hex>/<64 hex>.pack`."""
    return f"{ROOT_NAME}/{pack[:2]}/{pack}.pack"
