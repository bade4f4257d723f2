"""Lists the members of a tar file.

::

    name 100 | ... | size 12 (octal, or binary with the first bit set) at 124 | type at 156 | "ustar" at 257 |
    the bytes, padded to 512 | ... | two blocks of zeros

Source: POSIX `pax`, section "ustar Interchange Format"; GNU tar for large sizes. Names beyond 100 bytes, which are
records of their own, are cut off.
"""

import re
from collections.abc import Iterator

import msgspec

from ptmtorrent.model.containers.source import MAX_NAMED, ByteSource, NotThisFormat

START = re.compile(rb"(?s).{257}ustar[\x00 ]")
BLOCK_BYTES = 512
_REGULAR = frozenset({b"0", b"\0", b"7"})
_OCTAL = re.compile(rb" *([0-7]{0,11})[ \x00]*\Z")


class TarMember(msgspec.Struct, frozen=True, gc=False):
    """A regular file in a tar."""

    name: str
    offset: int
    length: int


def read_tar(source: ByteSource) -> Iterator[TarMember]:
    """Yield the regular files in file order.

    Raises:
        NotThisFormat: a header without the magic or with a wrong checksum, or a member that ends beyond the file.
    """
    at = 0
    for _ in range(MAX_NAMED):
        head = source.read(at, BLOCK_BYTES)
        if len(head) < BLOCK_BYTES or not any(head):
            if not at:
                raise NotThisFormat
            return
        if head[257:262] != b"ustar" or _octal(head[148:156]) != sum(head[:148]) + 8 * 32 + sum(head[156:]):
            raise NotThisFormat
        length = _size(head[124:136])
        if at + BLOCK_BYTES + length > source.size:
            raise NotThisFormat
        if head[156:157] in _REGULAR:
            name = head[:100].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            yield TarMember(name, at + BLOCK_BYTES, length)
        at += BLOCK_BYTES + -(-length // BLOCK_BYTES) * BLOCK_BYTES
    raise NotThisFormat


def _size(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[4:])
    return _octal(field)


def _octal(field: bytes) -> int:
    found = _OCTAL.match(field)
    if found is None:
        raise NotThisFormat
    return int(found[1] or b"0", 8)
