"""Git LFS pointers: the small text files that git holds in place of large files.

Only text of exactly this form is a pointer, so that weights and pointers are never confused::

    version https://git-lfs.github.com/spec/v1
    oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
    size 12345

Source: git-lfs `docs/spec.md`: UTF-8, below 1,024 bytes, LF, `version` first, then keys in order, `ext-` lines too.
"""

import hashlib
import re

import msgspec

MAX_FILE_BYTES = 1 << 50
"""Limit of a file or package (1 PiB); the sum of many still fits 64 bits."""

MAX_POINTER_BYTES = 1023
_VERSION = b"version https://git-lfs.github.com/spec/v1\n"
_EXTENSION = rb"ext-[0-9]-[A-Za-z0-9]+ sha256:[0-9a-f]{64}\n"
_MARKS = re.compile(rb"oid\s+sha256:([0-9a-f]{64})\s.*?size\s+([0-9]{1,19})(?![0-9])", re.DOTALL)
_POINTER = re.compile(_VERSION + rb"((?:%b)*)oid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,18})\n" % _EXTENSION)


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed pointer: SHA-256 and size in bytes of the large file; `extensions` are the `ext-` lines."""

    sha256: str
    size: int
    extensions: tuple[str, ...] = ()


def parse_pointer(data: bytes) -> Pointer | None:
    """Return the pointer in `data`; None for any other text, including a pointer to a file over `MAX_FILE_BYTES`.

    Empty data is an empty file, not a pointer.
    """
    if len(data) > MAX_POINTER_BYTES:
        return None
    match = _POINTER.fullmatch(data)
    if match is None:
        return None
    extensions = tuple(match[1].decode().splitlines())
    if list(extensions) != sorted(set(extensions)):
        return None
    size = int(match[3])
    return Pointer(sha256=match[2].decode(), size=size, extensions=extensions) if size < MAX_FILE_BYTES else None


def recognise_pointer(data: bytes) -> Pointer | None:
    """Return the pointer in `data`, accepting changed line ends and spaces; git treats such text as an ordinary file.

    Only for reporting that weights are missing, not for downloading them.
    """
    if len(data) > MAX_POINTER_BYTES or not data.lstrip().startswith(_VERSION.rstrip()):
        return None
    match = _MARKS.search(data)
    return Pointer(sha256=match[1].decode(), size=int(match[2])) if match else None


def format_pointer(pointer: Pointer) -> bytes:
    """Return the text of `pointer` in git; empty for an empty file, which LFS does not replace by a pointer."""
    if pointer.size == 0:
        return b""
    extensions = "".join(f"{line}\n" for line in pointer.extensions).encode()
    return _VERSION + extensions + f"oid sha256:{pointer.sha256}\nsize {pointer.size}\n".encode()


def git_blob_id(data: bytes) -> str:
    """Return the git SHA-1 id (40 hex digits) of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def pointer_git_id(sha256: str, size: int) -> str:
    """Return the git SHA-1 id of the canonical pointer to an LFS file, which is the id that trees name."""
    return git_blob_id(format_pointer(Pointer(sha256=sha256, size=size)))
