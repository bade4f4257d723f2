"""All hashes of a pack in one pass: its name (BLAKE3), SHA-1 pieces (BEP 3), SHA-256 Merkle tree (BEP 52).

The length of pieces is known only at the end. A block of 4 MiB stays in memory until it is full, and is then hashed at
each grain that a pack of more than 4 MiB can still have. A block that is not full at the end is hashed at the grain of
the pack alone, so nothing is hashed by 16 KiB that does not need it.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from functools import cache, partial
from itertools import islice
from typing import NamedTuple

from blake3 import blake3

from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.pieces import ALIGNMENTS, THRESHOLDS, alignment_of, is_whole
from ptmtorrent.model.volume import PackHashes

LEAF_BYTES = 16 << 10
BLOCK_BYTES = ALIGNMENTS[-1]
MAX_WAITING = 4
"""Blocks that wait to be hashed: 4 MiB each."""

sha1 = partial(hashlib.sha1, usedforsecurity=False)
sha256 = hashlib.sha256


class Pieces(NamedTuple):
    """The pieces of some bytes at one grain: the SHA-1 of each, and the root of its SHA-256 leaves."""

    digests: list[bytes]
    roots: list[bytes]


Block = dict[int, Pieces]
"""The pieces of a block by grain, in bytes."""


class PackHasher:
    """Takes a pack's bytes in order, in stretches of any length. Full blocks are hashed on `pool` where one is given.

    What is given to `update` must not change afterwards.
    """

    def __init__(self, pool: Executor | None = None) -> None:
        self.size = 0
        self._pool = pool
        self._blake3 = blake3()
        self._gathered: list[memoryview] = []
        self._gathered_bytes = 0
        self._waiting: deque[tuple[Future[Block], list[memoryview], tuple[int, ...]]] = deque()
        self._done: list[Block] = []

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data).cast("B")
        self._blake3.update(view)
        while view:
            part = view[: BLOCK_BYTES - self._gathered_bytes]
            view = view[len(part) :]
            self._gathered.append(part)
            self._gathered_bytes += len(part)
            self.size += len(part)
            if self._gathered_bytes == BLOCK_BYTES:
                self._hash_gathered()

    def name(self) -> PackId:
        """Return the name of a pack that ends here."""
        return PackId(self._blake3.hexdigest())

    def finish(self, rights: Rights) -> PackHashes:
        """Return the hashes of a pack of `size` bytes, which is padded to whole pieces."""
        if not is_whole(self.size):
            raise AssertionError("a pack is padded before its hashes are taken")
        grain = alignment_of(self.size)
        self._collect(0)
        blocks = [block[grain] for block in self._done]
        if self._gathered:
            blocks.append(hash_block(self._gathered, (grain,))[grain])
        layer = [root for block in blocks for root in block.roots]
        single = len(layer) == 1
        return PackHashes(
            pack=self.name(),
            size=self.size,
            rights=rights,
            pieces_v1=b"".join(digest for block in blocks for digest in block.digests),
            root_v2=layer[0] if single else _merkle(layer, _empty_piece(grain)),
            layer_v2=b"" if single else b"".join(layer),
        )

    def _hash_gathered(self) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        grains = ALIGNMENTS[1:] if self.size < THRESHOLDS[1] else ALIGNMENTS[2:]
        if self._pool is None:
            self._done.append(hash_block(gathered, grains))
            return
        self._waiting.append((self._pool.submit(hash_block, gathered, grains), gathered, grains))
        self._collect(MAX_WAITING)

    def _collect(self, most: int) -> None:
        while len(self._waiting) > most:
            future, gathered, grains = self._waiting.popleft()
            # What has not begun is done here: all threads of the pool may wait for a lock that our caller holds.
            self._done.append(hash_block(gathered, grains) if future.cancel() else future.result())


def hash_block(stretches: Sequence[memoryview], grains: Sequence[int]) -> Block:
    """Return the pieces of bytes given in stretches, at each of `grains`: ascending, all of which divide the bytes."""
    nodes, node_bytes = _leaves(stretches), LEAF_BYTES
    found: Block = {}
    for grain in grains:
        width = grain // node_bytes
        nodes = [_merkle(nodes[at : at + width], bytes(32)) for at in range(0, len(nodes), width)]
        node_bytes = grain
        found[grain] = Pieces(_digests(stretches, grain), nodes)
    return found


def _digests(stretches: Sequence[memoryview], grain: int) -> list[bytes]:
    """Return the SHA-1 of each `grain` bytes."""
    found: list[bytes] = []
    piece, filled = sha1(), 0
    for stretch in stretches:
        at = 0
        while at < len(stretch):
            part = stretch[at : at + grain - filled]
            piece.update(part)
            at += len(part)
            filled += len(part)
            if filled == grain:
                found.append(piece.digest())
                piece, filled = sha1(), 0
    return found


def _leaves(stretches: Sequence[memoryview]) -> list[bytes]:
    """Return the SHA-256 of each 16 KiB."""
    leaves: list[bytes] = []
    leaf, filled = sha256(), 0
    for stretch in stretches:
        start = min(-filled % LEAF_BYTES, len(stretch))
        leaf.update(stretch[:start])
        if filled and (filled + start) % LEAF_BYTES == 0:
            leaves.append(leaf.digest())
            leaf = sha256()
        whole = start + (len(stretch) - start) // LEAF_BYTES * LEAF_BYTES
        leaves += [sha256(stretch[at : at + LEAF_BYTES]).digest() for at in range(start, whole, LEAF_BYTES)]
        leaf.update(stretch[whole:])
        filled = (filled + len(stretch)) % LEAF_BYTES
    return leaves


def _merkle(nodes: Sequence[bytes], padding: bytes) -> bytes:
    """Return the root over `nodes`, padded to a power of two (BEP 52)."""
    width = 1 << (len(nodes) - 1).bit_length()
    level = [*nodes, *(padding,) * (width - len(nodes))]
    while len(level) > 1:
        pairs = zip(islice(level, 0, None, 2), islice(level, 1, None, 2), strict=True)
        level = [sha256(left + right).digest() for left, right in pairs]
    return level[0]


@cache
def _empty_piece(grain: int) -> bytes:
    return _merkle([bytes(32)] * (grain // LEAF_BYTES), bytes(32))
