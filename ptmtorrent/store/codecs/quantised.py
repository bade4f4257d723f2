"""Types of quantised blocks whose numbers are coded by the size of their scale, and the numpy kernel for them.

Each type has a mark in payloads, the fields of its block, and groups of numbers that share a scale. `unpack` writes the
numbers of a block as symbols, one byte each, group by group: numbers of 5 and 6 bits joined from the fields that hold
their bits, two neighbours of 4 bits in one symbol. `codes` says how large the scale of each group is, as its logarithm
to base 2 in units of 1/1024.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs.blocks import BY_DTYPE as LAYOUTS
from ptmtorrent.store.codecs.blocks import Layout
from ptmtorrent.store.codecs.scratch import Bytes
from ptmtorrent.store.codecs.words import logarithms

Codes = npt.NDArray[np.int32]
"""The size of each group's scale: the bits of a positive half-precision number approximate 1024 times its logarithm."""

_STRETCH_BLOCKS = 1024


@dataclass(frozen=True)
class Kind:
    """A type of blocks: its mark, fields, those of them that hold numbers, and its groups of `width` symbols."""

    mark: int
    layout: Layout
    numbers: frozenset[int]
    groups: int
    width: int
    codes: Callable[[Bytes], Codes]
    unpack: Callable[[Bytes, Bytes], None]
    pack: Callable[[Bytes, Bytes], None]
    has_columns: bool = False
    splits: bool = False

    @property
    def symbols(self) -> int:
        """Symbols per block."""
        return self.groups * self.width

    @property
    def sides(self) -> int:
        """Streams of the fields that hold no numbers."""
        return sum(field.planes for at, field in enumerate(self.layout.fields) if at not in self.numbers)

    def parts(self, segment: Bytes) -> Iterator[npt.NDArray[Any]]:
        """Yield a view of `segment` for each stream of a field that holds no numbers."""
        owners = (at for at, field in enumerate(self.layout.fields) for _ in range(field.planes))
        for owner, part in zip(owners, self.layout.parts(segment), strict=True):
            if owner not in self.numbers:
                yield part


def unpack(kind: Kind, segment: Bytes, symbols: Bytes) -> None:
    """Write the symbols of the whole blocks of `segment`."""
    blocks, rows = segment.reshape(-1, kind.layout.block), symbols.reshape(-1, kind.symbols)
    for start in range(0, len(blocks), _STRETCH_BLOCKS):
        stretch = slice(start, start + _STRETCH_BLOCKS)
        kind.unpack(blocks[stretch], rows[stretch])


def pack(kind: Kind, symbols: Bytes, segment: Bytes) -> None:
    """Write the numbers into the blocks of `segment`: the inverse of `unpack`; other fields stay as they are."""
    blocks, rows = segment.reshape(-1, kind.layout.block), symbols.reshape(-1, kind.symbols)
    for start in range(0, len(blocks), _STRETCH_BLOCKS):
        stretch = slice(start, start + _STRETCH_BLOCKS)
        kind.pack(rows[stretch], blocks[stretch])


def _half(blocks: Bytes, at: int) -> Codes:
    """Return the bits of the half-precision number at byte `at` of each block, without its sign."""
    return blocks[:, at].astype(np.int32) | (blocks[:, at + 1].astype(np.int32) & 0x7F) << 8


def _logs(values: npt.NDArray[np.integer[Any]]) -> Codes:
    found: Codes = (4 * logarithms()[values]).astype(np.int32)
    return found


def _first_codes(blocks: Bytes) -> Codes:
    return _half(blocks, 0)


def _unpack_q8(blocks: Bytes, rows: Bytes) -> None:
    rows[:] = blocks[:, 2:]


def _pack_q8(rows: Bytes, blocks: Bytes) -> None:
    blocks[:, 2:] = rows


def _unpack_q5(blocks: Bytes, rows: Bytes) -> None:
    bits = np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little")
    rows[:, :16] = blocks[:, 6:] & 15
    rows[:, 16:] = blocks[:, 6:] >> 4
    rows |= bits << 4


def _pack_q5(rows: Bytes, blocks: Bytes) -> None:
    blocks[:, 2:6] = np.packbits(rows >> 4 & 1, axis=1, bitorder="little")
    blocks[:, 6:] = rows[:, :16] & 15 | rows[:, 16:] << 4


def _codes_q4k(blocks: Bytes) -> Codes:
    """Return the size of each group's offset, divided by its scale: how far its numbers are from zero."""
    one, two, three = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([one & 63, three & 15 | one >> 6 << 4], axis=1)
    offsets = np.concatenate([two & 63, three >> 4 | two >> 6 << 4], axis=1)
    whole = _half(blocks, 2) - _half(blocks, 0)
    return (_logs(offsets) - _logs(scales) + whole[:, None]).reshape(-1)


def _unpack_q4k(blocks: Bytes, rows: Bytes) -> None:
    packed, into = blocks[:, 16:].reshape(-1, 4, 16, 2), rows.reshape(-1, 4, 2, 16)
    into[:, :, 0] = packed[..., 0] & 15 | packed[..., 1] << 4
    into[:, :, 1] = packed[..., 0] >> 4 | packed[..., 1] & 0xF0


def _pack_q4k(rows: Bytes, blocks: Bytes) -> None:
    pairs, into = rows.reshape(-1, 4, 2, 16), blocks[:, 16:].reshape(-1, 4, 16, 2)
    into[..., 0] = pairs[:, :, 0] & 15 | pairs[:, :, 1] << 4
    into[..., 1] = pairs[:, :, 0] >> 4 | pairs[:, :, 1] & 0xF0
    blocks[:, 16:] = into.reshape(-1, 128)


def _codes_q6k(blocks: Bytes) -> Codes:
    scales = np.abs(blocks[:, 192:208].view(np.int8).astype(np.int16))
    return (_logs(scales) + _half(blocks, 208)[:, None]).reshape(-1)


def _unpack_q6k(blocks: Bytes, rows: Bytes) -> None:
    for half in range(2):
        low, high = blocks[:, 64 * half : 64 * half + 64], blocks[:, 128 + 32 * half : 160 + 32 * half]
        into = rows[:, 128 * half : 128 * half + 128]
        for part in range(4):
            nibbles = low[:, 32 * (part & 1) : 32 * (part & 1) + 32] >> 4 * (part >> 1) & 15
            into[:, 32 * part : 32 * part + 32] = nibbles | (high >> 2 * part & 3) << 4


def _pack_q6k(rows: Bytes, blocks: Bytes) -> None:
    for half in range(2):
        parts = [rows[:, at : at + 32] for at in range(128 * half, 128 * half + 128, 32)]
        for side in range(2):
            at = 64 * half + 32 * side
            blocks[:, at : at + 32] = parts[side] & 15 | parts[side + 2] << 4
        high = [(one >> 4 & 3) << 2 * part for part, one in enumerate(parts)]
        blocks[:, 128 + 32 * half : 160 + 32 * half] = high[0] | high[1] | high[2] | high[3]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Q8_0": Kind(
            0, LAYOUTS["Q8_0"], frozenset({1}), 1, 32, _first_codes, _unpack_q8, _pack_q8,
            has_columns=True, splits=True,
        ),
        "Q5_0": Kind(1, LAYOUTS["Q5_0"], frozenset({1, 2}), 1, 32, _first_codes, _unpack_q5, _pack_q5),
        "Q4_K": Kind(2, LAYOUTS["Q4_K"], frozenset({5}), 8, 16, _codes_q4k, _unpack_q4k, _pack_q4k),
        "Q6_K": Kind(3, LAYOUTS["Q6_K"], frozenset({0, 1}), 16, 16, _codes_q6k, _unpack_q6k, _pack_q6k),
    }
)  # fmt: skip
"""The types by ggml's name."""

BY_MARK: Mapping[int, Kind] = MappingProxyType({kind.mark: kind for kind in KINDS.values()})
