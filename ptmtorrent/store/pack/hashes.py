"""The hashes of a pack: computed in one pass while it is written, and kept beside the index.

They are its name (BLAKE3), SHA-1 pieces (BEP 3) and the SHA-256 Merkle tree (BEP 52), in
`hashes/<2 hex>/<pack id>.json`:

::

    {"format":"ptmtorrent/pack-hashes","layer_v2":"","own":true,"pack":"ab12...","pieces_v1":"77...","requires":[],
     "rights":"open","root_v2":"c0...","size":16384,"version":2}

`own` distinguishes packs that were captured here from adopted ones: only documents in our own packs are trusted. A pack
whose hashes are lost counts as adopted, unless the index listed all its documents; see docs/formats/pack.md.

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
from pathlib import Path
from typing import ClassVar, NamedTuple

from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, ensure_dir, files_in, read_regular, write_file
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.pieces import ALIGNMENTS, THRESHOLDS, alignment_of, is_whole, pieces_in
from ptmtorrent.model.volume import PackHashes

LEAF_BYTES = 16 << 10
BLOCK_BYTES = ALIGNMENTS[-1]
MAX_WAITING = 4
"""Limit of blocks (4 MiB each) that wait to be hashed."""

SMALL_BYTES = 16 << 10
"""Shorter data is copied: the objects that would hold millions of records take longer and more memory than that."""

sha1 = partial(hashlib.sha1, usedforsecurity=False)
sha256 = hashlib.sha256


class Pieces(NamedTuple):
    """The pieces of some bytes at one grain: the SHA-1 of each, and the root of its SHA-256 leaves."""

    digests: list[bytes]
    roots: list[bytes]


Block = dict[int, Pieces]
"""The pieces of a block by grain, in bytes."""


class PackHasher:
    """Hashes the bytes of a pack, passed in order and in any lengths; hashes full blocks on `pool`, if there is one.

    Data that was passed to `update` must not change afterwards.
    """

    def __init__(self, pool: Executor | None = None) -> None:
        self.size = 0
        self._pool = pool
        self._blake3 = blake3()
        self._gathered: list[memoryview] = []
        self._small = bytearray()
        self._gathered_bytes = 0
        self._waiting: deque[tuple[Future[Block], list[memoryview], tuple[int, ...]]] = deque()
        self._done: list[Block] = []

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        view = memoryview(data).cast("B")
        self._blake3.update(view)
        while view:
            part = view[: BLOCK_BYTES - self._gathered_bytes]
            view = view[len(part) :]
            self._gather(part)
            self._gathered_bytes += len(part)
            self.size += len(part)
            if self._gathered_bytes == BLOCK_BYTES:
                self._hash_gathered()

    def _gather(self, part: memoryview) -> None:
        if len(part) < SMALL_BYTES:
            self._small += part
            return
        self._close_small()
        self._gathered.append(part)

    def _close_small(self) -> None:
        if self._small:
            self._gathered.append(memoryview(self._small))
            self._small = bytearray()

    def name(self) -> PackId:
        """Return the name of a pack that ends here."""
        return PackId(self._blake3.hexdigest())

    def finish(self, rights: Rights) -> PackHashes:
        """Return the hashes of a pack of `size` bytes, which is padded to whole pieces."""
        if not is_whole(self.size):
            raise AssertionError("a pack is padded before its hashes are taken")
        grain = alignment_of(self.size)
        self._collect(0)
        self._close_small()
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
        self._close_small()
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        grains = ALIGNMENTS[1:] if self.size < THRESHOLDS[1] else ALIGNMENTS[2:]
        if self._pool is None:
            self._done.append(hash_block(gathered, grains))
            return
        self._waiting.append((self._pool.submit(hash_block, gathered, grains), gathered, grains))
        self._collect(MAX_WAITING)

    def _collect(self, most: int) -> None:
        """Take the hashes of blocks that are done, and wait until at most `most` are not: each holds its bytes."""
        while self._waiting and (len(self._waiting) > most or self._waiting[0][0].done()):
            future, gathered, grains = self._waiting.popleft()
            # A block that no thread has begun is hashed here: all of them may wait for a lock of the caller.
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


class Sidecar(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The hashes of one pack, in hex. If it is missing, the pack is hashed again."""

    FORMAT: ClassVar[str] = "ptmtorrent/pack-hashes"
    VERSION: ClassVar[int] = 2
    OLDER: ClassVar[str] = canonical.OLDER_STORE

    pack: PackId
    size: int
    rights: Rights
    own: bool
    pieces_v1: str
    root_v2: str
    layer_v2: str


def sidecar_in(root: Path, pack: PackId) -> Path:
    """Return the path of the hashes of `pack` in the store at `root`."""
    return root / "hashes" / pack[:2] / f"{pack}.json"


def write_sidecar(root: Path, hashes: PackHashes, *, own: bool) -> None:
    """Store `hashes`, durably."""
    sidecar = Sidecar(
        format=Sidecar.FORMAT,
        version=Sidecar.VERSION,
        requires=(),
        pack=hashes.pack,
        size=hashes.size,
        rights=hashes.rights,
        own=own,
        pieces_v1=hashes.pieces_v1.hex(),
        root_v2=hashes.root_v2.hex(),
        layer_v2=hashes.layer_v2.hex(),
    )
    path = sidecar_in(root, hashes.pack)
    ensure_dir(path.parent, sure=True)
    write_file(path, canonical.encode(sidecar))


def read_sidecar(root: Path, pack: PackId) -> tuple[PackHashes, bool] | None:
    """Return the hashes of `pack` and whether it is our own; None if they are missing or damaged."""
    path = sidecar_in(root, pack)
    try:
        with disk_errors(path):
            data = read_regular(path) if path.is_file() else b""
        sidecar = canonical.decode(data, Sidecar, name=path.name)
        hashes = PackHashes(
            pack=sidecar.pack,
            size=sidecar.size,
            rights=sidecar.rights,
            pieces_v1=bytes.fromhex(sidecar.pieces_v1),
            root_v2=bytes.fromhex(sidecar.root_v2),
            layer_v2=bytes.fromhex(sidecar.layer_v2),
        )
    except (IntegrityError, ValueError):
        return None
    return (hashes, sidecar.own) if hashes.pack == pack and _adds_up(hashes) else None


def has_sidecars(root: Path) -> bool:
    """Return whether the store at `root` has the hashes of any pack; a copy of the packs alone has none."""
    return any(files_in(folder, "*.json") for folder in files_in(root / "hashes"))


def _adds_up(hashes: PackHashes) -> bool:
    pieces = pieces_in(hashes.size)
    layer = 0 if pieces == 1 else pieces
    lengths = (len(hashes.pieces_v1), len(hashes.root_v2), len(hashes.layer_v2))
    return is_whole(hashes.size) and lengths == (20 * pieces, 32, 32 * layer)
