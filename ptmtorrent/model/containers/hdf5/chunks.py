"""Finds the chunks of a dataset by its index.

::

    "TREE" | 1 | level | entries u16 | siblings 16 | (size u32, mask u32, offsets u64 ..., child u64) ...
    "FAHD" | 0 | client | entry size | page bits | entries u64 | data block u64 | checksum
    "FADB" | 0 | client | header u64 | addresses u64 ... | checksum
"""

import math
from collections.abc import Iterator

import msgspec

from ptmtorrent.model.containers.hdf5.blocks import UNDEFINED, Blocks, number
from ptmtorrent.model.containers.source import MAX_NAMED, NotThisFormat

TREE = 0
SINGLE, IMPLICIT, FIXED_ARRAY = 1, 2, 3
MAX_DEPTH = 16
_HEAD_BYTES = 24


class Layout(msgspec.Struct, frozen=True):
    """Where the numbers are: `length` bytes at `address`; or chunks of shape `chunk`, whose `index` is there."""

    chunk: tuple[int, ...]
    address: int
    length: int = 0
    index: int = TREE


def read_chunks(blocks: Blocks, layout: Layout, shape: tuple[int, ...], length: int) -> Iterator[int]:
    """Yield the addresses of chunks of `length` bytes, in the order of the index; none if the index is not known.

    Raises:
        NotThisFormat: a damaged index.
    """
    count = math.prod(-(-whole // part) for whole, part in zip(shape, layout.chunk, strict=True))
    if count > MAX_NAMED:
        raise NotThisFormat
    if layout.index == TREE:
        yield from _tree(blocks, layout.address, 8 * (len(shape) + 1) + 8, length, 0)
    elif layout.index == SINGLE and count == 1:
        yield layout.address
    elif layout.index == IMPLICIT:
        yield from (layout.address + row * length for row in range(count))
    elif layout.index == FIXED_ARRAY:
        yield from _fixed_array(blocks, layout.address)


def _tree(blocks: Blocks, address: int, key_bytes: int, length: int, depth: int) -> Iterator[int]:
    head = blocks.signed(address, b"TREE\x01", _HEAD_BYTES)
    level, entries = head[5], number(head, 6, 2)
    if depth > MAX_DEPTH:
        raise NotThisFormat
    step = key_bytes + 8
    rows = blocks.read(address + _HEAD_BYTES, entries * step)
    for at in range(0, entries * step, step):
        child = number(rows, at + key_bytes)
        if level:
            yield from _tree(blocks, child, key_bytes, length, depth + 1)
        elif number(rows, at, 4) == length:
            yield child


def _fixed_array(blocks: Blocks, address: int) -> Iterator[int]:
    head = blocks.signed(address, b"FAHD\x00\x00\x08", 28)
    entries, page_bits, data = number(head, 8), head[7], number(head, 16)
    if data == UNDEFINED or entries > min(1 << min(page_bits, 32), MAX_NAMED):  # in pages, of which none are known
        return
    block = blocks.signed(data, b"FADB\x00\x00", 14 + 8 * entries)
    for at in range(14, len(block), 8):
        if (child := number(block, at)) != UNDEFINED:
            yield child
