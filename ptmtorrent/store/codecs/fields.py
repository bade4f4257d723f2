"""The payload of codec 9: blocks of the same fields, such as a scale and the small numbers it scales, as streams.

::

    block u16 | tail u16 | log2 segment u8 | fields u8 | width u16, planes u8 per field | table | streams | tail

A payload describes its own blocks, so that new types of blocks need no new codec. Each field becomes one stream; a
field of wide words (such as a 16-bit scale) becomes one stream per byte of a word.
"""

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs.scratch import Bytes, take_bytes
from ptmtorrent.store.codecs.streams import Streams, read, read_table

SEGMENT_LOG = 22
MAX_BLOCK_BYTES = 4096
MAX_FIELDS = 32

_HEAD = struct.Struct("<HHBB")
_FIELD = struct.Struct("<HB")
_PLANES = frozenset({1, 2, 4, 8})
"""Allowed widths of a field's words in bytes."""


@dataclass(frozen=True)
class Field:
    """A field's bytes in a block (`width`), and the bytes of one of its words, each of which becomes a plane."""

    width: int
    planes: int = 1


@dataclass(frozen=True)
class Layout:
    """The fields of a block, in order."""

    fields: tuple[Field, ...]

    @property
    def block(self) -> int:
        """Bytes per block."""
        return sum(field.width for field in self.fields)

    def segments(self, body: int) -> Iterator[slice]:
        """Yield the slices of the segments of `body` bytes: each has the whole blocks that fit in 4 MiB."""
        step = (1 << SEGMENT_LOG) // self.block * self.block
        for start in range(0, body, step):
            yield slice(start, min(start + step, body))

    def head(self, raw_size: int) -> bytes:
        """Return the head of the payload for `raw_size` bytes: everything before the table."""
        rows = (_FIELD.pack(field.width, field.planes) for field in self.fields)
        return _HEAD.pack(self.block, raw_size % self.block, SEGMENT_LOG, len(self.fields)) + b"".join(rows)

    def parts(self, segment: Bytes) -> Iterator[npt.NDArray[Any]]:
        """Yield a view of `segment` for each stream, in order; whole blocks only.

        An item of the view is copied at once: a whole field of single bytes, otherwise one byte of a word.
        """
        count = segment.size // self.block
        at = 0
        for field in self.fields:
            words = field.width // field.planes
            shape, strides, item = ((count, words), (self.block, field.planes), 1)
            if field.planes == 1:
                shape, strides, item = ((count, 1), (self.block, field.width), field.width)
            for plane in reversed(range(field.planes)):
                yield np.ndarray(shape, np.dtype((np.void, item)), segment.data, at + plane, strides)
            at += field.width


def _layout(*fields: tuple[int, int] | int) -> Layout:
    """Return a layout from widths, or pairs of a width and the bytes per word."""
    return Layout(tuple(Field(*field) if isinstance(field, tuple) else Field(field) for field in fields))


_HALF = (2, 2)

BY_DTYPE: Mapping[str, Layout] = MappingProxyType(
    {
        "Q4_0": _layout(_HALF, 16),
        "Q4_1": _layout(_HALF, _HALF, 16),
        "Q5_0": _layout(_HALF, 4, 16),
        "Q5_1": _layout(_HALF, _HALF, 4, 16),
        "Q8_0": _layout(_HALF, 32),
        "Q2_K": _layout(16, 64, _HALF, _HALF),
        "Q3_K": _layout(32, 64, 8, 4, _HALF),
        "Q4_K": _layout(_HALF, _HALF, 4, 4, 4, 128),
        "Q5_K": _layout(_HALF, _HALF, 4, 4, 4, 32, 128),
        "Q6_K": _layout(128, 64, 16, _HALF),
        "IQ4_NL": _layout(_HALF, 16),
        "IQ4_XS": _layout(_HALF, 2, 4, 128),
        "TQ1_0": _layout(48, 4, _HALF),
        "TQ2_0": _layout(64, _HALF),
        "MXFP4": _layout(1, 16),
    }
)
"""Layouts of ggml's blocks (ggml-common.h) by type, for the types where coding fields saves at least 0.5 %."""


def encode(data: memoryview, layout: Layout) -> tuple[bytes, ...]:
    """Return the payload for `data` in new chunks; together they may be longer than `data`."""
    whole = np.frombuffer(data, np.uint8)
    body = len(data) - len(data) % layout.block
    stored = Streams()
    for segment in layout.segments(body):
        for part in layout.parts(whole[segment]):
            stream = take_bytes("field", part.size * part.itemsize)
            np.copyto(stream.view(part.dtype).reshape(part.shape), part)
            stored.add(stream)
    return (layout.head(len(data)) + stored.table(), *stored.chunks, bytes(data[body:]))


def decode(payload: memoryview, raw_size: int) -> bytes:
    """Return the `raw_size` bytes that `encode` was given.

    Raises:
        IntegrityError: the payload is malformed or has the wrong size.
    """
    layout = _read_layout(payload)
    head, tail = layout.head(raw_size), raw_size % layout.block
    if payload[: len(head)] != head:
        raise IntegrityError("the head of a fields payload is malformed")
    body = raw_size - tail
    count = sum(field.planes for field in layout.fields) * sum(1 for _ in layout.segments(body))
    stored = read_table(payload, len(head), count, tail)
    canvas = io.BytesIO(bytes(raw_size))
    with canvas.getbuffer() as writable:
        target = np.frombuffer(writable, np.uint8)
        for segment in layout.segments(body):
            _fill(target[segment], layout, stored)
        writable[body:] = payload[len(payload) - tail :]
        del target
    # The buffer is not shared, so `getvalue` returns its memory without a copy.
    return canvas.getvalue()


def _fill(segment: Bytes, layout: Layout, stored: Iterator[tuple[memoryview, bool]]) -> None:
    for part in layout.parts(segment):
        stream = read(*next(stored), part.size * part.itemsize)
        np.copyto(part, stream.view(part.dtype).reshape(part.shape))


def _read_layout(payload: memoryview) -> Layout:
    """Return the layout that a payload declares."""
    if len(payload) < _HEAD.size:
        raise IntegrityError("a fields payload ends inside its head")
    block, _, _, count = _HEAD.unpack_from(payload)
    rows = payload[_HEAD.size : _HEAD.size + _FIELD.size * count]
    if len(rows) != _FIELD.size * count or not 0 < count <= MAX_FIELDS:
        raise IntegrityError("a fields payload declares no fields, or too many")
    layout = Layout(tuple(Field(*row) for row in _FIELD.iter_unpack(rows)))
    if any(one.planes not in _PLANES or not one.width or one.width % one.planes for one in layout.fields):
        raise IntegrityError("a fields payload declares a field that is not made of whole words")
    if layout.block != block or block > MAX_BLOCK_BYTES:
        raise IntegrityError("the fields of a fields payload do not add up to its block length")
    return layout
