"""The payload of codecs 3 to 8: blocks of words, each split into byte planes, each plane raw or entropy-coded.

::

    planes u8 | log2 block u8 | mark u16 | tail u32 | table u32 x planes x blocks | planes | tail
"""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs.scratch import Bytes, take_bytes
from ptmtorrent.store.codecs.streams import Streams, read, read_table

_HEAD = struct.Struct("<BBHI")

SplitBlock = Callable[[slice, list[Bytes]], None]
"""Writes the planes of the block at a slice of the body."""

JoinBlock = Callable[[list[Bytes], slice, Bytes], None]
"""Writes a block from its planes; the slice is its position in the body."""


@dataclass(frozen=True)
class Shape:
    """How a body is split: bytes per word (and planes per block), log2 of the block length, the mark in the head."""

    width: int
    block_log: int
    mark: int = 0

    def tail(self, raw_size: int) -> int:
        """Return the number of bytes after the last whole word."""
        return raw_size % self.width

    def planes(self, body: int) -> int:
        """Return the number of planes of `body` bytes, over all blocks."""
        return self.width * -(-body // (1 << self.block_log))

    def blocks(self, body: int) -> Iterator[slice]:
        """Yield the slice of each block of `body` bytes."""
        for start in range(0, body, 1 << self.block_log):
            yield slice(start, min(start + (1 << self.block_log), body))

    def head(self, raw_size: int) -> bytes:
        """Return the head of the payload for `raw_size` bytes."""
        return _HEAD.pack(self.width, self.block_log, self.mark, self.tail(raw_size))


def split(data: memoryview, shape: Shape, split_block: SplitBlock) -> tuple[bytes, ...]:
    """Return the payload for `data` in new chunks; together they may be longer than `data`."""
    body = len(data) - shape.tail(len(data))
    stored = Streams()
    for block in shape.blocks(body):
        size = (block.stop - block.start) // shape.width
        # Each plane is coded while it is in the cache, and its memory is reused for the next block.
        planes = list(take_bytes("planes", size * shape.width).reshape(shape.width, size))
        split_block(block, planes)
        for plane in planes:
            stored.add(plane)
    return (shape.head(len(data)) + stored.table(), *stored.chunks, bytes(data[body:]))


def join(payload: memoryview, raw_size: int, shape: Shape, join_block: JoinBlock) -> bytes:
    """Return the `raw_size` bytes that `split` was given.

    Raises:
        IntegrityError: the payload is malformed or has the wrong size.
    """
    body = raw_size - shape.tail(raw_size)
    if payload[: _HEAD.size] != shape.head(raw_size):
        raise IntegrityError("the head of a plane payload is malformed")
    stored = read_table(payload, _HEAD.size, shape.planes(body), shape.tail(raw_size))
    canvas = io.BytesIO(bytes(raw_size))
    with canvas.getbuffer() as writable:
        target = np.frombuffer(writable, np.uint8)
        for block in shape.blocks(body):
            size = (block.stop - block.start) // shape.width
            planes = [read(*next(stored), size) for _ in range(shape.width)]
            join_block(planes, block, target[block])
        writable[body:] = payload[len(payload) - shape.tail(raw_size) :]
        del target
    # The buffer is not shared, so `getvalue` returns its memory without a copy.
    return canvas.getvalue()
