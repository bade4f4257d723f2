"""Reads the entries of a fractal heap that a version 2 B-tree lists.

::

    "FRHP" | ... | table width u16 | first block u64 | largest direct block u64 | heap bits u16 | ... | root u64 | ...
    "FHIB" | 0 | heap u64 | offset | direct blocks u64 ...           "FHDB" | 0 | heap u64 | offset | ... | entries
    "BTHD" | 0 | type | node u32 | record u16 | depth u16 | 2 | root u64 | records u16 | all u64
    "BTLF" | 0 | type | records          "BTIN" | 0 | type | records | (child u64, records, ...) ...

A block's offset counts from the start of the heap, and an entry's offset includes the head of its block.
"""

from bisect import bisect_right
from collections.abc import Iterator
from operator import itemgetter

import msgspec

from ptmtorrent.model.containers.hdf5.blocks import UNDEFINED, Blocks, number
from ptmtorrent.model.containers.source import MAX_NAMED, NotThisFormat

MAX_ENTRY_BYTES = 4096
_HEAD_BYTES = 144
_BY_NAME = 5
_HASH_BYTES = 4
_NODE_BYTES = 6
_MAX_NODE_BYTES = 64 << 10


class _Heap(msgspec.Struct, frozen=True):
    """The direct blocks: offset in the heap, length, address; and the widths of an entry's offset and length."""

    blocks: list[tuple[int, int, int]]
    offset_bytes: int
    length_bytes: int


def read_heap(blocks: Blocks, heap: int, index: int) -> Iterator[bytes]:
    """Yield the entries that the tree at `index` lists in the heap at `heap`.

    Raises:
        NotThisFormat: damaged, or deeper than two levels.
    """
    found = _heap(blocks, heap)
    for identifier in _records(blocks, index):
        if number(identifier, 0, 1) & 0xF0:  # not managed in direct blocks
            continue
        offset = number(identifier, 1, found.offset_bytes)
        length = number(identifier, 1 + found.offset_bytes, found.length_bytes)
        row = bisect_right(found.blocks, offset, key=itemgetter(0)) - 1
        if row < 0 or length > MAX_ENTRY_BYTES:
            raise NotThisFormat
        start, size, address = found.blocks[row]
        if offset + length > start + size:
            raise NotThisFormat
        yield blocks.read(address + offset - start, length)


def _heap(blocks: Blocks, address: int) -> _Heap:
    head = blocks.signed(address, b"FRHP\x00", _HEAD_BYTES)
    largest, width, first, direct = number(head, 10, 4), number(head, 110, 2), number(head, 112), number(head, 120)
    bits, root, rows = number(head, 128, 2), number(head, 132), number(head, 140, 2)
    offset_bytes = -(-bits // 8)
    length_bytes = min((direct.bit_length() + 6) // 8, (largest.bit_length() + 7) // 8)
    if number(head, 7, 2) or not 0 < bits <= 64 or not first or width > 1024 or rows > 64:
        raise NotThisFormat
    if not rows:
        return _Heap([(0, first, root)], offset_bytes, length_bytes)
    pointers = blocks.signed(root, b"FHIB\x00", 13 + offset_bytes + 8 * rows * width)
    listed, offset = [], 0
    for row in range(rows):
        size = first << max(0, row - 1)
        if size > direct:  # rows of indirect blocks: too many links
            break
        for column in range(width):
            child = number(pointers, 13 + offset_bytes + 8 * (row * width + column))
            if child != UNDEFINED:
                listed.append((offset, size, child))
            offset += size
    return _Heap(listed, offset_bytes, length_bytes)


def _records(blocks: Blocks, address: int) -> Iterator[bytes]:
    """Yield the heap ids in a tree of links by name."""
    head = blocks.signed(address, b"BTHD\x00" + bytes([_BY_NAME]), 34)
    node, record, depth = number(head, 6, 4), number(head, 10, 2), number(head, 12, 2)
    root, count = number(head, 16), number(head, 24, 2)
    if root == UNDEFINED:
        return
    if depth > 1 or not _HASH_BYTES < record < node <= _MAX_NODE_BYTES or number(head, 26) > MAX_NAMED:
        raise NotThisFormat
    children = [(root, count)]
    if depth:
        inner = blocks.signed(root, b"BTIN\x00", node)
        at = _NODE_BYTES + count * record
        yield from _ids(inner, count, record)
        width = (((node - 10) // record).bit_length() + 7) // 8
        step = 8 + width
        places = range(at, at + step * (count + 1), step)
        children = [(number(inner, place), number(inner, place + 8, width)) for place in places]
    for child, records in children:
        yield from _ids(blocks.signed(child, b"BTLF\x00", node), records, record)


def _ids(node: bytes, count: int, record: int) -> Iterator[bytes]:
    for row in range(count):
        at = _NODE_BYTES + row * record
        yield node[at + _HASH_BYTES : at + record]
