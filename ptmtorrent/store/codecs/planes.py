"""The payload of codecs 3 to 6: blocks of words, each split into byte planes, each plane raw or entropy-coded.

::

    planes u8 | log2 block u8 | zeros u16 | tail u32 | table u32 x planes x blocks | planes | tail
"""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs import frames
from ptmtorrent.store.codecs.entropy import Bytes, looks_random

_HEAD = struct.Struct("<BBHI")
_RAW_FLAG = 1 << 31


@dataclass(frozen=True)
class Planes:
    """How one codec splits: bytes a word (and so planes a block), log2 of the block's bytes, the two functions."""

    width: int
    block_log: int
    split: Callable[[Bytes, int], list[Bytes]]
    join: Callable[[list[Bytes], Bytes], None]

    def planes(self, body: int) -> int:
        """Return how many planes `body` bytes have, over all blocks."""
        return self.width * -(-body // (1 << self.block_log))

    def blocks(self, body: int) -> Iterator[tuple[int, int]]:
        """Yield start and end of each block of `body` bytes."""
        for start in range(0, body, 1 << self.block_log):
            yield start, min(start + (1 << self.block_log), body)


def split(data: memoryview, kind: Planes) -> bytes:
    """Return the payload for `data`; it may be longer than `data`."""
    raw = np.frombuffer(data, np.uint8)
    tail = raw.size % kind.width
    body = raw.size - tail
    # Each plane is written while it is warm, and its memory used again for the next.
    out = io.BytesIO()
    out.write(_HEAD.pack(kind.width, kind.block_log, 0, tail))
    out.write(bytes(4 * kind.planes(body)))
    table = [
        _write_plane(out, plane) for start, end in kind.blocks(body) for plane in kind.split(raw[start:end], kind.width)
    ]
    out.write(data[body:])
    out.seek(_HEAD.size)
    out.write(np.array(table, "<u4").tobytes())
    return out.getvalue()


def _write_plane(out: io.BytesIO, plane: Bytes) -> int:
    """Write a plane in its shorter form; return its entry in the table."""
    if not looks_random(plane):
        shrunk = frames.shrink_entropy(plane.data)
        if len(shrunk) < plane.size:
            return out.write(shrunk)
    return _RAW_FLAG | out.write(plane.data)


def join(payload: memoryview, raw_size: int, kind: Planes) -> bytes:
    """Return the `raw_size` bytes that `split` was given.

    Raises:
        IntegrityError: the payload is malformed or of another size.
    """
    tail = raw_size % kind.width
    body = raw_size - tail
    if bytes(payload[: _HEAD.size]) != _HEAD.pack(kind.width, kind.block_log, 0, tail):
        raise IntegrityError("the head of a plane payload is malformed")
    table, start = _read_table(payload, kind, body)
    canvas = io.BytesIO(bytes(raw_size))
    with canvas.getbuffer() as writable:
        _fill(np.frombuffer(writable, np.uint8)[:body], payload[start:], table, kind)
        writable[body:] = payload[len(payload) - tail :]
    # The buffer was ours alone, so this is the same memory and not a copy.
    return canvas.getvalue()


def _read_table(payload: memoryview, kind: Planes, body: int) -> tuple[list[int], int]:
    """Return the plane table and where the planes start; the lengths add up to what is there."""
    start = _HEAD.size + 4 * kind.planes(body)
    if len(payload) < start:
        raise IntegrityError("a plane payload ends inside its table")
    table: list[int] = np.frombuffer(payload[_HEAD.size : start], "<u4").tolist()
    tail = len(payload) - start - sum(entry & ~_RAW_FLAG for entry in table)
    if tail != int(payload[4]):
        raise IntegrityError("the planes of a payload do not add up to its length")
    return table, start


def _fill(target: Bytes, payload: memoryview, table: list[int], kind: Planes) -> None:
    entries = iter(table)
    offset = 0
    for start, end in kind.blocks(target.size):
        size = (end - start) // kind.width
        planes: list[Bytes] = []
        for entry in [next(entries) for _ in range(kind.width)]:
            length = entry & ~_RAW_FLAG
            planes.append(_read_plane(payload[offset : offset + length], size, is_raw=length != entry))
            offset += length
        kind.join(planes, target[start:end])


def _read_plane(stored: memoryview, size: int, *, is_raw: bool) -> Bytes:
    if not is_raw:
        return np.frombuffer(frames.expand(stored, size), np.uint8)
    if len(stored) != size:
        raise IntegrityError("a raw plane has another length than its block")
    return np.frombuffer(stored, np.uint8)
