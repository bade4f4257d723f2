"""All hashes of a pack in one pass: its name (BLAKE3), SHA-1 pieces (BEP 3), SHA-256 Merkle tree (BEP 52)."""

import hashlib

from blake3 import blake3

from ptmtorrent.model.capture import Rights
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import PIECE_BYTES
from ptmtorrent.model.volume import PackHashes

LEAF_BYTES = 16 << 10
_LEAVES = PIECE_BYTES // LEAF_BYTES


class PackHasher:
    """Takes a pack's bytes in order, in stretches of any length."""

    def __init__(self) -> None:
        self.size = 0
        self._blake3 = blake3()
        self._piece = hashlib.sha1(usedforsecurity=False)
        self._pieces: list[bytes] = []
        self._leaf = hashlib.sha256()
        self._leaves: list[bytes] = []
        self._layer: list[bytes] = []

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data).cast("B")
        self._blake3.update(view)
        while view:
            room = PIECE_BYTES - self.size % PIECE_BYTES
            part, view = view[:room], view[room:]
            self._piece.update(part)
            self._take_leaves(part)
            self.size += len(part)
            if self.size % PIECE_BYTES == 0:
                self._end_piece()

    def name(self) -> PackId:
        """Return the name of a pack that ends here."""
        return PackId(self._blake3.hexdigest())

    def finish(self, rights: Rights) -> PackHashes:
        """Return the hashes of a pack of `size` bytes, which is a multiple of 4 MiB."""
        if self.size == 0 or self.size % PIECE_BYTES:
            raise AssertionError("a pack is padded before its hashes are taken")
        single = len(self._layer) == 1
        return PackHashes(
            pack=self.name(),
            size=self.size,
            rights=rights,
            pieces_v1=b"".join(self._pieces),
            root_v2=self._layer[0] if single else _merkle(self._layer, _empty_piece()),
            layer_v2=b"" if single else b"".join(self._layer),
        )

    def _take_leaves(self, part: memoryview) -> None:
        """Hash `part`, which starts at byte `size` and stays inside one piece."""
        filled = self.size % LEAF_BYTES
        start = 0
        if filled:
            start = min(LEAF_BYTES - filled, len(part))
            self._leaf.update(part[:start])
            if filled + start < LEAF_BYTES:
                return
            self._end_leaf()
        whole = start + (len(part) - start) // LEAF_BYTES * LEAF_BYTES
        self._leaves += [hashlib.sha256(part[at : at + LEAF_BYTES]).digest() for at in range(start, whole, LEAF_BYTES)]
        self._leaf.update(part[whole:])

    def _end_leaf(self) -> None:
        self._leaves.append(self._leaf.digest())
        self._leaf = hashlib.sha256()

    def _end_piece(self) -> None:
        self._pieces.append(self._piece.digest())
        self._piece = hashlib.sha1(usedforsecurity=False)
        self._layer.append(_merkle(self._leaves, bytes(32)))
        self._leaves = []


def _merkle(nodes: list[bytes], padding: bytes) -> bytes:
    """Return the root over `nodes`, padded to a power of two (BEP 52)."""
    width = 1 << (len(nodes) - 1).bit_length()
    level = nodes + [padding] * (width - len(nodes))
    while len(level) > 1:
        level = [hashlib.sha256(left + right).digest() for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def _empty_piece() -> bytes:
    return _merkle([bytes(32)] * _LEAVES, bytes(32))
