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
from ptmtorrent.store.codecs import frames
from ptmtorrent.store.codecs.entropy import looks_random
from ptmtorrent.store.codecs.scratch import Bytes, take_bytes

_HEAD = struct.Struct("<BBHI")
_RAW_FLAG = 1 << 31

SplitBlock = Callable[[slice, list[Bytes]], None]
"""Writes the planes of the block that a slice of the body names."""

JoinBlock = Callable[[list[Bytes], slice, Bytes], None]
"""Writes a block from its planes; the slice says where in the body it is."""


@dataclass(frozen=True)
class Shape:
    """How a body is cut: bytes a word (and so planes a block), log2 of the block's bytes, what the head says of it."""

    width: int
    block_log: int
    mark: int = 0

    def tail(self, raw_size: int) -> int:
        """Return how many last bytes of `raw_size` are no whole word."""
        return raw_size % self.width

    def planes(self, body: int) -> int:
        """Return how many planes `body` bytes have, over all blocks."""
        return self.width * -(-body // (1 << self.block_log))

    def blocks(self, body: int) -> Iterator[slice]:
        """Yield the place of each block of `body` bytes."""
        for start in range(0, body, 1 << self.block_log):
            yield slice(start, min(start + (1 << self.block_log), body))

    def head(self, raw_size: int) -> bytes:
        """Return the first bytes of the payload for `raw_size` bytes."""
        return _HEAD.pack(self.width, self.block_log, self.mark, self.tail(raw_size))


def split(data: memoryview, shape: Shape, split_block: SplitBlock) -> tuple[bytes, ...]:
    """Return the payload for `data` in chunks of their own; together they may be longer than `data`."""
    body = len(data) - shape.tail(len(data))
    table: list[int] = []
    chunks: list[bytes] = []
    for block in shape.blocks(body):
        size = (block.stop - block.start) // shape.width
        # Each plane is coded while it is warm, and its memory used again for the next block.
        planes = list(take_bytes("planes", size * shape.width).reshape(shape.width, size))
        split_block(block, planes)
        for plane in planes:
            chunk, flag = _store_plane(plane)
            chunks.append(chunk)
            table.append(flag | len(chunk))
    return (shape.head(len(data)) + np.array(table, "<u4").tobytes(), *chunks, bytes(data[body:]))


def _store_plane(plane: Bytes) -> tuple[bytes, int]:
    """Return a plane in its shorter form, and the flag of that form."""
    if not looks_random(plane):
        shrunk = frames.shrink_entropy(plane.data)
        if len(shrunk) < plane.size:
            return shrunk, 0
    return plane.tobytes(), _RAW_FLAG


def join(payload: memoryview, raw_size: int, shape: Shape, join_block: JoinBlock) -> bytes:
    """Return the `raw_size` bytes that `split` was given.

    Raises:
        IntegrityError: the payload is malformed or of another size.
    """
    body = raw_size - shape.tail(raw_size)
    if payload[: _HEAD.size] != shape.head(raw_size):
        raise IntegrityError("the head of a plane payload is malformed")
    table, start = _read_table(payload, shape, body)
    canvas = io.BytesIO(bytes(raw_size))
    with canvas.getbuffer() as writable:
        target = np.frombuffer(writable, np.uint8)
        stored = _stored_planes(payload, start, table)
        for block in shape.blocks(body):
            size = (block.stop - block.start) // shape.width
            planes = [_read_plane(*next(stored), size) for _ in range(shape.width)]
            join_block(planes, block, target[block])
        writable[body:] = payload[len(payload) - shape.tail(raw_size) :]
        del target
    # The buffer was ours alone, so this is the same memory and not a copy.
    return canvas.getvalue()


def _read_table(payload: memoryview, shape: Shape, body: int) -> tuple[list[int], int]:
    """Return the plane table and where the planes start; the lengths add up to what is there."""
    start = _HEAD.size + 4 * shape.planes(body)
    if len(payload) < start:
        raise IntegrityError("a plane payload ends inside its table")
    table: list[int] = np.frombuffer(payload[_HEAD.size : start], "<u4").tolist()
    tail = len(payload) - start - sum(entry & ~_RAW_FLAG for entry in table)
    if tail != int(payload[4]):
        raise IntegrityError("the planes of a payload do not add up to its length")
    return table, start


def _stored_planes(payload: memoryview, offset: int, table: list[int]) -> Iterator[tuple[memoryview, bool]]:
    """Yield the stored bytes of each plane, and whether they are raw."""
    for entry in table:
        length = entry & ~_RAW_FLAG
        yield payload[offset : offset + length], length != entry
        offset += length


def _read_plane(stored: memoryview, is_raw: bool, size: int) -> Bytes:  # noqa: FBT001  # half of an unpacked pair
    if not is_raw:
        return np.frombuffer(frames.expand(stored, size), np.uint8)
    if len(stored) != size:
        raise IntegrityError("a raw plane has another length than its block")
    return np.frombuffer(stored, np.uint8)
