"""Reads the messages of an object header, versions 1 and 2, with their continuations.

::

    1 | 0 | messages u16 | references u32 | size u32 | 0 u32 | type u16, size u16, flags, 0, 0, 0, data ...
    "OHDR" | 2 | flags | [times 16] | [limits 4] | size | type, size u16, flags, [order u16], data ... | checksum
"""

from collections.abc import Iterator

import msgspec

from ptmtorrent.model.containers.hdf5.blocks import MAX_BLOCK_BYTES, Blocks, number
from ptmtorrent.model.containers.source import NotThisFormat

MAX_MESSAGES = 50_000
_CONTINUATION = 0x10
_SHARED = 1 << 1
_CHECKSUM_BYTES = 4


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message. One that is shared holds only where it lies, and has no data here."""

    kind: int
    data: bytes


def read_messages(blocks: Blocks, address: int) -> Iterator[Message]:
    """Yield the messages of the object header at `address`.

    Raises:
        NotThisFormat: no object header.
    """
    start = blocks.read(address, 6)
    version = 2 if start.startswith(b"OHDR\x02") else start[0]
    if version == 1:
        queue = [(address + 16, number(blocks.read(address, 16), 8, 4))]
        head = (2, 2, 8)
    elif version == 2:
        flags = start[5]
        at = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        queue = [(at + width, number(blocks.read(at, width), 0, width))]
        head = (1, 2, 6 if flags & 4 else 4)
    else:
        raise NotThisFormat
    count = 0
    while queue:
        at, length = queue.pop()
        if length > MAX_BLOCK_BYTES:
            raise NotThisFormat
        for message in _messages(blocks.read(at, length), *head):
            count += 1
            if count > MAX_MESSAGES:
                raise NotThisFormat
            if message.kind == _CONTINUATION:
                queue.append(_continuation(blocks, message.data, signed=version == 2))
            else:
                yield message


def _messages(data: bytes, kind_bytes: int, size_bytes: int, head_bytes: int) -> Iterator[Message]:
    at = 0
    while at + head_bytes <= len(data):
        kind = number(data, at, kind_bytes)
        length = number(data, at + kind_bytes, size_bytes)
        flags = data[at + kind_bytes + size_bytes]
        at += head_bytes
        if at + length > len(data):
            raise NotThisFormat
        yield Message(kind, b"" if flags & _SHARED else data[at : at + length])
        at += length


def _continuation(blocks: Blocks, data: bytes, *, signed: bool) -> tuple[int, int]:
    at, length = number(data, 0), number(data, 8)
    if not signed:
        return at, length
    blocks.signed(at, b"OCHK", 4)
    if length < 4 + _CHECKSUM_BYTES:
        raise NotThisFormat
    return at + 4, length - 4 - _CHECKSUM_BYTES
