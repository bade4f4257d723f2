"""What the two torrents of a volume promise of each pack: SHA-1 pieces (v1), Merkle root and piece layer (v2).

The torrents are listed by a release, and so signed. A pack whose bytes have these hashes can be seeded in both.
"""

import hashlib

import msgspec
from blake3 import blake3

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import bencode
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.model.volume import PackHashes

_SHA1_BYTES = hashlib.sha1(usedforsecurity=False).digest_size


class PackLayers(msgspec.Struct, frozen=True, kw_only=True):
    """A pack of a volume, its size, and the digest of its id and of all hashes that the torrents have of it."""

    pack: PackId
    size: int
    digest: str


def layers_in(v1: bytes, v2: bytes, *, name: str) -> tuple[PackLayers, ...]:
    """Return the packs of a volume from its two torrents, in the order of their files; `name` is for messages.

    Raises:
        IntegrityError: one is not the torrent of a volume, or they list different packs, or a hash is missing.
    """
    packs = packs_in(v1, name=name)
    if packs_in(v2, name=name) != packs:
        raise IntegrityError(f"the two torrents of `{name}` list different packs")
    try:
        return _layers(bencode.decode(v1, name=name), bencode.decode(v2, name=name), packs)
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"a torrent of `{name}` lacks hashes of its packs") from error


def digest_of(hashes: PackHashes) -> str:
    """Return the digest of a pack that was read, to compare with `PackLayers.digest`."""
    return _digest(hashes.pack, hashes.pieces_v1, hashes.root_v2, hashes.layer_v2)


def _layers(v1: bencode.Value, v2: bencode.Value, packs: tuple[tuple[PackId, int], ...]) -> tuple[PackLayers, ...]:
    pieces, length = _at(v1, b"info", b"pieces"), _at(v1, b"info", b"piece length")
    layers = _at(v2, b"piece layers")
    if not isinstance(pieces, bytes) or not isinstance(length, int) or not isinstance(layers, dict):
        raise TypeError
    found, at = [], 0
    for pack, size in packs:
        end = at + size // length * _SHA1_BYTES
        root = _at(v2, b"info", b"file tree", pack[:2].encode(), f"{pack}.pack".encode(), b"", b"pieces root")
        if not isinstance(root, bytes):
            raise TypeError
        layer = layers[root] if size > length else b""
        if not isinstance(layer, bytes):
            raise TypeError
        found.append(PackLayers(pack=pack, size=size, digest=_digest(pack, pieces[at:end], root, layer)))
        at = end
    return tuple(found)


def _at(tree: bencode.Value, *keys: bytes) -> bencode.Value:
    for key in keys:
        assert isinstance(tree, dict)  # noqa: S101  # narrows the type: `packs_in` has read both trees
        tree = tree[key]
    return tree


def _digest(pack: PackId, pieces: bytes, root: bytes, layer: bytes) -> str:
    whole = blake3(bytes.fromhex(pack))
    for part in (pieces, root, layer):
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()
