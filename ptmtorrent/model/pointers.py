"""Git LFS pointers: the small text files that git holds in place of large files.

git-lfs writes them in one form::

    version https://git-lfs.github.com/spec/v1
    oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
    size 12345

and reads more: other line ends, blank lines, spaces around the text, the addresses of earlier versions, `ext-` lines.
Whatever it reads is a pointer here too, and so is a text with further keys, which its specification permits.

Source: git-lfs 3.3.0, `docs/spec.md` and its behaviour (tests/interop/test_pointer_forms.py).
"""

import hashlib
import re

import msgspec

MAX_FILE_BYTES = 1 << 50
"""Limit of a file or package (1 PiB); the sum of many still fits 64 bits."""

MAX_POINTER_BYTES = 1024
"""The start of a file that git-lfs reads a pointer from; it ignores what follows."""

MAX_PADDED_BYTES = 8 << 10
"""Limit of a file that is read to look for a pointer at its start; a pointer in a longer one is refused.

A checkout by git-lfs looks into files of any length, `git lfs pull` into those below `MAX_POINTER_BYTES` only.
"""

_VERSIONS = ("https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2")
_KEYS = ("version", "oid", "size")
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What git-lfs removes around the text: the white space of Unicode."""

_OID = re.compile(r"sha256:([0-9a-f]{64})")
_SIZE = re.compile(r"[+-]?[0-9]{1,1000}")
_EXTENSION = re.compile(r"ext-([0-9])-[A-Za-z0-9_].*", re.DOTALL)
_FURTHER = re.compile(r"[a-z0-9.-]+")
_TOOLS = re.compile(rb"git-lfs|hawser|git-media")
_MARKS = (re.compile(rb"\boid\s+\S*[0-9a-f]{32}"), re.compile(rb"\bsize\s+[+-]?[0-9]"))


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed pointer: SHA-256 and size in bytes of the large file."""

    sha256: str
    size: int


def parse_pointer(data: bytes) -> Pointer | None:
    """Return the pointer at the start of `data`, or None for any other text.

    The size may exceed `MAX_FILE_BYTES`. Empty data is an empty file, not a pointer.
    """
    text = data[:MAX_POINTER_BYTES].decode(errors="surrogateescape").strip(_SPACE)
    values: list[str] = []
    priorities: dict[str, str] = {}
    for line in filter(None, (each.removesuffix("\r") for each in text.split("\n"))):
        key, separated, value = line.partition(" ")
        if not separated:
            return None
        if len(values) < len(_KEYS) and key == _KEYS[len(values)]:
            values.append(value)
        elif len(values) < len(_KEYS) and (extension := _EXTENSION.fullmatch(key)):
            if _OID.fullmatch(value) is None or priorities.setdefault(extension[1], key) != key:
                return None
        elif not values or key in _KEYS or _FURTHER.fullmatch(key) is None:
            return None
    return _pointer(values)


def _pointer(values: list[str]) -> Pointer | None:
    if len(values) < len(_KEYS) or values[0] not in _VERSIONS:
        return None
    oid, size = _OID.fullmatch(values[1]), _SIZE.fullmatch(values[2])
    if oid is None or size is None or not 0 <= int(values[2]) < 1 << 63:
        return None
    return Pointer(sha256=oid[1], size=int(values[2]))


def resembles_pointer(data: bytes) -> bool:
    """Return whether the start of `data` names an object of LFS, though git-lfs does not read it as a pointer.

    Such a text in place of weights says that they are missing; nothing is downloaded for it.
    """
    text = data[:MAX_POINTER_BYTES].lower()
    return _TOOLS.search(text) is not None and all(mark.search(text) for mark in _MARKS)


def format_pointer(pointer: Pointer) -> bytes:
    """Return the text that git-lfs writes; empty for an empty file, which it does not replace by a pointer."""
    if pointer.size == 0:
        return b""
    return f"version {_VERSIONS[0]}\noid sha256:{pointer.sha256}\nsize {pointer.size}\n".encode()


def git_blob_id(data: bytes) -> str:
    """Return the git SHA-1 id (40 hex digits) of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def pointer_git_id(sha256: str, size: int) -> str:
    """Return the git SHA-1 id of the canonical pointer to an LFS file, which is the id that trees name."""
    return git_blob_id(format_pointer(Pointer(sha256=sha256, size=size)))
