"""Finds the links of a group: in a tree of symbols, in messages, or in a heap.

::

    "TREE" | 0 | level | entries u16 | siblings 16 | key u64 | (child u64, key u64) ...
    "SNOD" | 1 | 0 | symbols u16 | (name u64, object u64, cache 24) ...
    "HEAP" | 0 0 0 0 | size u64 | free u64 | data u64
"""

from collections.abc import Iterator, Sequence

from ptmtorrent.model.containers.hdf5.blocks import UNDEFINED, Blocks, number
from ptmtorrent.model.containers.hdf5.headers import Message
from ptmtorrent.model.containers.hdf5.heaps import read_heap
from ptmtorrent.model.containers.source import NotThisFormat

MAX_DEPTH = 16
MAX_NAME_BYTES = 1024
_LINK_INFO, _LINK, _SYMBOLS = 0x02, 0x06, 0x11
_SYMBOL_BYTES = 40

Link = tuple[str, int]
"""The name and the address of an object header."""


def links_of(blocks: Blocks, messages: Sequence[Message]) -> Iterator[Link]:
    """Yield the hard links of a group; none for other objects.

    Raises:
        NotThisFormat: a damaged message, tree or heap.
    """
    for message in messages:
        if message.kind == _LINK:
            yield from _link(message.data)
        elif message.kind == _LINK_INFO:
            yield from _dense(blocks, message.data)
        elif message.kind == _SYMBOLS:
            tree, heap = number(message.data, 0), number(message.data, 8)
            names = number(blocks.signed(heap, b"HEAP", 32), 24)
            yield from _symbols(blocks, tree, names, 0)


def _link(data: bytes) -> Iterator[Link]:
    if number(data, 0, 1) != 1:
        raise NotThisFormat
    flags, at = number(data, 1, 1), 2
    kind = number(data, at, 1) if flags & 8 else 0
    at += (1 if flags & 8 else 0) + (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = number(data, at, width)
    at += width
    if length > MAX_NAME_BYTES:
        raise NotThisFormat
    if kind == 0:  # others lead to names, or to other files
        yield data[at : at + length].decode("utf-8", "surrogateescape"), number(data, at + length)


def _dense(blocks: Blocks, data: bytes) -> Iterator[Link]:
    at = 2 + (8 if number(data, 1, 1) & 1 else 0)
    heap, index = number(data, at), number(data, at + 8)
    if UNDEFINED not in {heap, index}:
        for entry in read_heap(blocks, heap, index):
            yield from _link(entry)


def _symbols(blocks: Blocks, address: int, names: int, depth: int) -> Iterator[Link]:
    if depth > MAX_DEPTH:
        raise NotThisFormat
    head = blocks.signed(address, b"TREE\x00", 24)
    level, entries = head[5], number(head, 6, 2)
    rows = blocks.read(address + 24, 8 + 16 * entries)
    for at in range(8, len(rows), 16):
        child = number(rows, at)
        if level:
            yield from _symbols(blocks, child, names, depth + 1)
        else:
            yield from _leaf(blocks, child, names)


def _leaf(blocks: Blocks, address: int, names: int) -> Iterator[Link]:
    count = number(blocks.signed(address, b"SNOD\x01", 8), 6, 2)
    rows = blocks.read(address + 8, count * _SYMBOL_BYTES)
    for at in range(0, len(rows), _SYMBOL_BYTES):
        name = names + number(rows, at)
        text = blocks.read(name, max(0, min(MAX_NAME_BYTES, blocks.size - name))).partition(b"\0")[0]
        yield text.decode("utf-8", "surrogateescape"), number(rows, at + 8)
