"""The two torrents of a volume, bencoded from hashes that were computed while the packs were written.

Both have root name `packs`, paths `<2 hex>/<pack id>.pack` sorted by pack, and pieces as long as the alignment of the
packs; neither has trackers, web seeds, dates or a private flag, so their bytes follow from the set of packs alone
(docs/formats/volume.md).

Source: BEP 3 (v1), BEP 52 (v2).
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import bencode
from ptmtorrent.model.ids import InfoHash, PackId, is_hex64
from ptmtorrent.model.pieces import ALIGNMENTS, alignment_of, is_whole, pieces_in
from ptmtorrent.model.placement import MAX_PACK_BYTES
from ptmtorrent.model.volume import MAX_VOLUME_PACKS, ROOT_NAME, VolumePlan, max_volume_bytes

SHA1_BYTES = 20
SHA256_BYTES = 32
LEAF_BYTES = 16 << 10
"""The leaves of a BEP 52 tree are 16 KiB."""

_WHOLE_V1 = {b"info"}
_INFO_V1 = {b"files", b"name", b"piece length", b"pieces"}
_WHOLE_V2 = {b"info", b"piece layers"}
_INFO_V2 = {b"file tree", b"meta version", b"name", b"piece length"}


def torrent_v1(volume: VolumePlan) -> tuple[bytes, InfoHash]:
    """Return the v1 torrent of `volume` and its infohash, 40 hex digits.

    Raises:
        IntegrityError: a pack whose hashes do not fit its size.
    """
    _check(volume)
    files: list[bencode.Value] = [{b"length": pack.size, b"path": list(_path(pack.pack))} for pack in volume.packs]
    info: bencode.Value = {
        b"files": files,
        b"name": ROOT_NAME.encode(),
        b"piece length": volume.alignment,
        b"pieces": b"".join(pack.pieces_v1 for pack in volume.packs),
    }
    digest = hashlib.sha1(bencode.encode(info), usedforsecurity=False).hexdigest()
    return bencode.encode({b"info": info}), InfoHash(digest)


def torrent_v2(volume: VolumePlan) -> tuple[bytes, InfoHash]:
    """Return the v2 torrent of `volume` and its infohash, 64 hex digits.

    Raises:
        IntegrityError: a pack whose hashes do not fit its size or each other.
    """
    _check(volume)
    tree: dict[bytes, bencode.Value] = {}
    for pack in volume.packs:
        folder, name = _path(pack.pack)
        files = tree.setdefault(folder, {})
        assert isinstance(files, dict)  # noqa: S101  # narrows the type
        files[name] = {b"": {b"length": pack.size, b"pieces root": pack.root_v2}}
    info: bencode.Value = {
        b"file tree": tree,
        b"meta version": 2,
        b"name": ROOT_NAME.encode(),
        b"piece length": volume.alignment,
    }
    layers: dict[bytes, bencode.Value] = {pack.root_v2: pack.layer_v2 for pack in volume.packs if pack.layer_v2}
    digest = hashlib.sha256(bencode.encode(info)).hexdigest()
    return bencode.encode({b"info": info, b"piece layers": layers}), InfoHash(digest)


def packs_in(torrent: bytes, *, name: str) -> tuple[tuple[PackId, int], ...]:
    """Return the packs of a volume's torrent, v1 or v2, as `(pack, bytes)` in the order of its files.

    Raises:
        IntegrityError: not a torrent, or not one of a volume: another root, piece length or path, or anything beside
            them (a tracker, a web seed, a link).
    """
    whole = bencode.decode(torrent, name=name)
    info = whole.get(b"info") if isinstance(whole, dict) else None
    if not isinstance(whole, dict) or not isinstance(info, dict):
        raise IntegrityError(f"`{name}` is not a torrent")
    alignment = info.get(b"piece length")
    if info.get(b"name") != ROOT_NAME.encode() or not isinstance(alignment, int) or alignment not in ALIGNMENTS:
        raise IntegrityError(f"`{name}` is not the torrent of a volume: its root or its piece length differs")
    if (b"file tree" in info) == (b"files" in info):
        raise IntegrityError(f"`{name}` is neither a v1 nor a v2 torrent")
    is_v2 = b"file tree" in info
    if set(whole) != (_WHOLE_V2 if is_v2 else _WHOLE_V1) or set(info) != (_INFO_V2 if is_v2 else _INFO_V1):
        raise IntegrityError(f"`{name}` has keys that the torrent of a volume does not have")
    listed = _listed_v2(info[b"file tree"]) if is_v2 else _listed_v1(info[b"files"])
    packs = tuple((_pack_at(path, name), size) for path, size in listed)
    if not packs or any(before >= after for (before, _), (after, _) in pairwise(packs)):
        raise IntegrityError(f"`{name}` does not list packs in order, each once")
    _check_sizes([size for _, size in packs], alignment, name)
    pieces = info.get(b"pieces")
    count = sum(pieces_in(size) for _, size in packs)
    if not is_v2 and not (isinstance(pieces, bytes) and len(pieces) == SHA1_BYTES * count):
        raise IntegrityError(f"`{name}` does not have a hash for each of its pieces")
    return packs


def _check_sizes(sizes: Sequence[int], alignment: int, name: str) -> None:
    """Refuse packs that are not whole pieces of `alignment`, and volumes over a limit of size."""
    if any(size > MAX_PACK_BYTES or not is_whole(size) or alignment_of(size) != alignment for size in sizes):
        raise IntegrityError(f"`{name}` lists a pack that is not whole pieces of {alignment} bytes, or larger than any")
    if len(sizes) > MAX_VOLUME_PACKS or sum(sizes) > max_volume_bytes(alignment):
        raise IntegrityError(f"`{name}` lists more packs or bytes than a volume may have")


def _listed_v1(files: bencode.Value | None) -> list[tuple[list[bencode.Value], int]]:
    listed: list[tuple[list[bencode.Value], int]] = []
    for file in files if isinstance(files, list) else []:
        plain = isinstance(file, dict) and set(file) == {b"length", b"path"}
        path = file.get(b"path") if isinstance(file, dict) and plain else None
        size = file.get(b"length") if isinstance(file, dict) else None
        listed.append((path if isinstance(path, list) else [], size if isinstance(size, int) else 0))
    return listed


def _listed_v2(tree: bencode.Value) -> list[tuple[list[bencode.Value], int]]:
    listed: list[tuple[list[bencode.Value], int]] = []
    for folder, files in tree.items() if isinstance(tree, dict) else []:
        if not isinstance(files, dict) or not files:
            listed.append(([folder], 0))  # no folder of packs: refused as a path that no pack has
            continue
        for file, node in files.items():
            leaf = node.get(b"") if isinstance(node, dict) and len(node) == 1 else None
            plain = isinstance(leaf, dict) and set(leaf) == {b"length", b"pieces root"}
            size = leaf.get(b"length") if isinstance(leaf, dict) and plain else None
            listed.append(([folder, file], size if isinstance(size, int) else 0))
    return listed


def _path(pack: PackId) -> tuple[bytes, bytes]:
    return pack[:2].encode(), f"{pack}.pack".encode()


def _pack_at(path: list[bencode.Value], name: str) -> PackId:
    text = path[-1].removesuffix(b".pack").decode("ascii", "replace") if path and isinstance(path[-1], bytes) else ""
    if not is_hex64(text) or tuple(path) != _path(PackId(text)):
        raise IntegrityError(f"`{name}` lists a path that no pack has")
    return PackId(text)


def _check(volume: VolumePlan) -> None:
    for pack in volume.packs:
        pieces = pieces_in(pack.size)
        whole = is_whole(pack.size) and alignment_of(pack.size) == volume.alignment
        fits = whole and len(pack.pieces_v1) == pieces * SHA1_BYTES
        layer = pieces * SHA256_BYTES if pieces > 1 else 0
        if not fits or len(pack.root_v2) != SHA256_BYTES or len(pack.layer_v2) != layer:
            raise IntegrityError(f"the hashes of pack `{pack.pack}` do not fit its {pack.size} bytes")
        if layer and merkle_root(pack.layer_v2, volume.alignment) != pack.root_v2:
            raise IntegrityError(f"the piece layer of pack `{pack.pack}` does not hash to its root")


def merkle_root(layer: bytes, alignment: int) -> bytes:
    """Return the BEP 52 root above the hashes of pieces of `alignment` bytes, padded with that of empty leaves."""
    row = [layer[at : at + SHA256_BYTES] for at in range(0, len(layer), SHA256_BYTES)]
    row += [_empty_piece(alignment)] * ((1 << (len(row) - 1).bit_length()) - len(row))
    while len(row) > 1:
        row = [hashlib.sha256(row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


@cache
def _empty_piece(alignment: int) -> bytes:
    digest = bytes(SHA256_BYTES)
    for _ in range((alignment // LEAF_BYTES).bit_length() - 1):
        digest = hashlib.sha256(digest + digest).digest()
    return digest
