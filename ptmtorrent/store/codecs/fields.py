"""The payload of codec 9: blocks of the same fields, such as a scale and the small numbers it scales, as streams.

::

    block u16 | tail u16 | log2 segment u8 | fields u8 | width u16, planes u8 per field | table | streams | tail

A payload describes its own blocks, so that new types of blocks need no new codec. Each field becomes one stream; a
field of wide words (such as a 16-bit scale) becomes one stream per byte of a word.
"""

import io
from collections.abc import Iterator

import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs.blocks import FIELD, HEAD, Field, Layout
from ptmtorrent.store.codecs.scratch import Bytes, take_bytes
from ptmtorrent.store.codecs.streams import Streams, read, read_table

MAX_BLOCK_BYTES = 4096
MAX_FIELDS = 32

_PLANES = frozenset({1, 2, 4, 8})
"""Allowed widths of a field's words in bytes."""


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
    if len(payload) < HEAD.size:
        raise IntegrityError("a fields payload ends inside its head")
    block, _, _, count = HEAD.unpack_from(payload)
    rows = payload[HEAD.size : HEAD.size + FIELD.size * count]
    if len(rows) != FIELD.size * count or not 0 < count <= MAX_FIELDS:
        raise IntegrityError("a fields payload declares no fields, or too many")
    layout = Layout(tuple(Field(*row) for row in FIELD.iter_unpack(rows)))
    if any(one.planes not in _PLANES or not one.width or one.width % one.planes for one in layout.fields):
        raise IntegrityError("a fields payload declares a field that is not made of whole words")
    if layout.block != block or block > MAX_BLOCK_BYTES:
        raise IntegrityError("the fields of a fields payload do not add up to its block length")
    return layout
