"""Streams of bytes in a payload, each raw or entropy-coded, preceded by a table of their stored lengths.

The table has one little-endian u32 per stream: bit 31 is set if it is raw, bits 0 to 30 are its stored length.
"""

from collections.abc import Iterator

import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs import frames
from ptmtorrent.store.codecs.entropy import looks_random
from ptmtorrent.store.codecs.scratch import Bytes

_RAW_FLAG = 1 << 31
_ENTRY_BYTES = 4


class Streams:
    """Collects the stored form of streams, and their table."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self._table: list[int] = []

    def add(self, stream: Bytes) -> None:
        """Store `stream` in its shorter form; the caller may reuse its memory."""
        chunk, flag = _shorter(stream)
        self.chunks.append(chunk)
        self._table.append(flag | len(chunk))

    def table(self) -> bytes:
        """Return the table of all added streams."""
        return np.array(self._table, "<u4").tobytes()


def read_table(payload: memoryview, offset: int, count: int, tail: int) -> Iterator[tuple[memoryview, bool]]:
    """Return an iterator over the `count` streams whose table is at `offset`: stored bytes, and whether they are raw.

    Raises:
        IntegrityError: table, streams and `tail` bytes do not add up to the payload.
    """
    start = offset + _ENTRY_BYTES * count
    if len(payload) < start:
        raise IntegrityError("a payload ends inside its table")
    table: list[int] = np.frombuffer(payload[offset:start], "<u4").tolist()
    if start + sum(entry & ~_RAW_FLAG for entry in table) + tail != len(payload):
        raise IntegrityError("the streams of a payload do not add up to its length")
    return _stored(payload, start, table)


def read(stored: memoryview, is_raw: bool, size: int) -> Bytes:  # noqa: FBT001  # half of an unpacked pair
    """Return the `size` bytes of a stream.

    Raises:
        IntegrityError: the stream is damaged or has the wrong length.
    """
    if not is_raw:
        return np.frombuffer(frames.expand(stored, size), np.uint8)
    if len(stored) != size:
        raise IntegrityError(f"a raw stream has {len(stored)} bytes instead of {size}")
    return np.frombuffer(stored, np.uint8)


def _shorter(stream: Bytes) -> tuple[bytes, int]:
    if not looks_random(stream):
        shrunk = frames.shrink_entropy(stream.data)
        if len(shrunk) < stream.size:
            return shrunk, 0
    return stream.tobytes(), _RAW_FLAG


def _stored(payload: memoryview, offset: int, table: list[int]) -> Iterator[tuple[memoryview, bool]]:
    for entry in table:
        length = entry & ~_RAW_FLAG
        yield payload[offset : offset + length], length != entry
        offset += length
