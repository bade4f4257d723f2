"""The fields of a block of quantised numbers: their widths, and views of the bytes of each (codecs 9 and 10)."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs.scratch import Bytes

SEGMENT_LOG = 22

HEAD = struct.Struct("<HHBB")
FIELD = struct.Struct("<HB")


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
        rows = (FIELD.pack(field.width, field.planes) for field in self.fields)
        return HEAD.pack(self.block, raw_size % self.block, SEGMENT_LOG, len(self.fields)) + b"".join(rows)

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
