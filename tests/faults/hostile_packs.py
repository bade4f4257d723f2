"""Git remotes whose few kilobytes of pack are gigabytes of content: blobs, deltas, trees in trees, deep trees."""

import hashlib
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.simulators.git_server import run_git

ZEROS = 0xFFFFFF
"""The most bytes that one instruction of a delta copies."""

COPIES = 28
BLOB_BYTES = 400 << 20
LEVELS, WIDTH, DEPTH = 12, 12, 3000
MANY = 300_000

_KINDS = {"commit": 1, "tree": 2, "blob": 3}
_REF_DELTA = 7


class Pack:
    """Objects to be written as a pack."""

    def __init__(self) -> None:
        self._records: list[bytes] = []

    def add(self, kind: str, body: bytes) -> str:
        """Add an object; return its id."""
        self._records.append(_head(_KINDS[kind], len(body)) + zlib.compress(body, 9))
        return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(body)) + body, usedforsecurity=False).hexdigest()

    def add_delta(self, base: str, base_size: int, copies: int) -> str:
        """Add a blob of zeros that is the blob `base`, of zeros too, so many times over; return its id."""
        size = copies * base_size
        copy = b"\xf0" + struct.pack("<I", base_size)[:3]
        delta = _number(base_size) + _number(size) + copy * copies
        self._records.append(_head(_REF_DELTA, len(delta)) + bytes.fromhex(base) + zlib.compress(delta, 9))
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        for _ in range(copies):
            digest.update(bytes(base_size))
        return digest.hexdigest()

    def commit(self, tree: str) -> str:
        """Add a commit of a tree; return its id."""
        who = "Sample <sample@hub.invalid> 1700000000 +0000"
        return self.add("commit", f"tree {tree}\nauthor {who}\ncommitter {who}\n\nAdd\n".encode())

    def write(self, bare: Path, commit: str) -> None:
        """Make a bare folder of these objects, whose branch is at `commit`."""
        run_git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        data = b"PACK" + struct.pack(">II", 2, len(self._records)) + b"".join(self._records)
        data += hashlib.sha1(data, usedforsecurity=False).digest()
        run_git("index-pack", "--stdin", folder=bare, given=data)
        run_git("update-ref", "refs/heads/main", commit, folder=bare)


def _tree(rows: Sequence[tuple[str, str, str]]) -> bytes:
    return b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for mode, name, oid in rows)


def _head(kind: int, size: int) -> bytes:
    first, size = (kind << 4) | (size & 15), size >> 4
    return bytes([first | 0x80]) + _number(size) if size else bytes([first])


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append((value & 0x7F) | 0x80)
        value >>= 7
    return bytes([*found, value])


def _large_blob(pack: Pack) -> str:
    return pack.add("tree", _tree([("100644", "zeros.bin", pack.add("blob", bytes(BLOB_BYTES)))]))


def _large_delta(pack: Pack) -> str:
    base = pack.add("blob", bytes(ZEROS))
    large = pack.add_delta(base, ZEROS, COPIES)
    return pack.add("tree", _tree([("100644", "base.bin", base), ("100644", "zeros.bin", large)]))


def _trees_in_trees(pack: Pack) -> str:
    here, mode = pack.add("blob", b"x"), "100644"
    for _ in range(LEVELS):
        here = pack.add("tree", _tree([(mode, f"{number:02}", here) for number in range(WIDTH)]))
        mode = "40000"
    return here


def _deep_tree(pack: Pack) -> str:
    here = pack.add("tree", _tree([("100644", "x", pack.add("blob", b"x"))]))
    for _ in range(DEPTH):
        here = pack.add("tree", _tree([("40000", "x", here)]))
    return here


def _many_names(pack: Pack) -> str:
    blob = pack.add("blob", b"x")
    return pack.add("tree", _tree([("100644", f"{number:07}", blob) for number in range(MANY)]))


BOMBS: Mapping[str, Callable[[Pack], str]] = {
    "large blob": _large_blob,
    "large delta": _large_delta,
    "trees in trees": _trees_in_trees,
    "deep tree": _deep_tree,
    "many names": _many_names,
}


def write_bomb(name: str, bare: Path) -> None:
    """Make a bare folder that holds a bomb."""
    pack = Pack()
    pack.write(bare, pack.commit(BOMBS[name](pack)))


def true_bytes(name: str) -> dict[str, str]:
    """Return the SHA-256 of the files of a bomb that may be captured, by path."""
    sizes = {
        "large blob": {"zeros.bin": BLOB_BYTES},
        "large delta": {"base.bin": ZEROS, "zeros.bin": COPIES * ZEROS},
    }
    return {path: hashlib.sha256(bytes(size)).hexdigest() for path, size in sizes.get(name, {}).items()}
