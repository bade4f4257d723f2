"""Cuts a GGUF file at its tensors.

::

    "GGUF" | version u32 | tensors u64 | keys u64 | key, type, value ... | name, dimensions, type, offset ... |
    padding | tensors, each padded

Large values in the header (a tokenizer's words and merges) are pieces too: all quantisations of a model share them.

Source: GGUF specification of the ggml project, versions 2 and 3.
"""

import math
import struct
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from ptmtorrent.store.cutters.dtypes import BLOCK_BYTES
from ptmtorrent.store.cutters.port import (
    JOIN_BELOW_BYTES,
    MAX_NAMED,
    ByteSource,
    NotThisFormat,
    Piece,
    cover,
    tensor_key,
)
from ptmtorrent.store.cutters.reading import Reader

MAGIC = b"GGUF"
MAX_HEADER_BYTES = 64 << 20
MAX_STRINGS = 4 << 20
"""Limit of strings in all arrays of a header: ten times the largest vocabularies and their merges."""

_VERSIONS = {2, 3}
_HEAD = struct.Struct("<4sIQQ")
_ARRAY = struct.Struct("<IQ")
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1 << 16
_MAX_DIMENSIONS = 8
_MAX_NAME_BYTES = 4096
_MAX_DEPTH = 4

_U32, _STRING, _ARRAY_TYPE = 4, 8, 9
_VALUE_BYTES: Mapping[int, int] = MappingProxyType(
    {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
)


class _Layout(msgspec.Struct, frozen=True):
    """Numbers per block, bytes per block, and the dtype: safetensors' name, or ggml's if a block packs several."""

    numbers: int
    length: int
    dtype: str


def _blocks(numbers: int, dtype: str) -> _Layout:
    return _Layout(numbers, BLOCK_BYTES[dtype], dtype)


_LAYOUTS: Mapping[int, _Layout] = MappingProxyType(
    {
        0: _Layout(1, 4, "F32"),
        1: _Layout(1, 2, "F16"),
        2: _blocks(32, "Q4_0"),
        3: _blocks(32, "Q4_1"),
        6: _blocks(32, "Q5_0"),
        7: _blocks(32, "Q5_1"),
        8: _blocks(32, "Q8_0"),
        9: _blocks(32, "Q8_1"),
        10: _blocks(256, "Q2_K"),
        11: _blocks(256, "Q3_K"),
        12: _blocks(256, "Q4_K"),
        13: _blocks(256, "Q5_K"),
        14: _blocks(256, "Q6_K"),
        15: _blocks(256, "Q8_K"),
        16: _blocks(256, "IQ2_XXS"),
        17: _blocks(256, "IQ2_XS"),
        18: _blocks(256, "IQ3_XXS"),
        19: _blocks(256, "IQ1_S"),
        20: _blocks(32, "IQ4_NL"),
        21: _blocks(256, "IQ3_S"),
        22: _blocks(256, "IQ2_S"),
        23: _blocks(256, "IQ4_XS"),
        24: _Layout(1, 1, "I8"),
        25: _Layout(1, 2, "I16"),
        26: _Layout(1, 4, "I32"),
        27: _Layout(1, 8, "I64"),
        28: _Layout(1, 8, "F64"),
        29: _blocks(256, "IQ1_M"),
        30: _Layout(1, 2, "BF16"),
        34: _blocks(256, "TQ1_0"),
        35: _blocks(256, "TQ2_0"),
        39: _blocks(32, "MXFP4"),
        40: _blocks(64, "NVFP4"),
    }
)


class Gguf:
    """Pieces: the header with its large values, then the tensors in file order; small neighbours are joined."""

    name = "gguf/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the header, then the tensors."""
        header = _Header(Reader(source, 0, min(source.size, MAX_HEADER_BYTES)))
        start = header.end
        tensors = [msgspec.structs.replace(one, offset=start + one.offset) for one in header.tensors]
        _check_cover(tensors, start, source.size, header.alignment)
        return (*cover(header.values, 0, start), *cover(tensors, start, source.size))


class _Header:
    """A parsed header: the positions of large `values`, `tensors` sorted by offset, and the `end` after padding."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._strings = 0
        self.alignment = _DEFAULT_ALIGNMENT
        self.values: list[Piece] = []
        magic, version, tensors, keys = reader.fields(_HEAD)
        if magic != MAGIC or version not in _VERSIONS or tensors > MAX_NAMED or keys > MAX_NAMED:
            raise NotThisFormat
        for _ in range(keys):
            self._key()
        if not 0 < self.alignment <= _MAX_ALIGNMENT or self.alignment % 8:
            raise NotThisFormat
        named = (self._tensor() for _ in range(tensors))
        self.tensors: list[Piece] = sorted((one for one in named if one.length), key=lambda one: one.offset)
        self.end: int = _aligned(reader.at, self.alignment)

    def _key(self) -> None:
        name = self._name()
        kind = self._reader.u32()
        start = self._reader.at
        if name == "general.alignment":
            if kind != _U32:
                raise NotThisFormat
            self.alignment = self._reader.u32()
            return
        self._value(kind, 0)
        length = self._reader.at - start
        if length >= JOIN_BELOW_BYTES:
            self.values.append(Piece(start, length))

    def _value(self, kind: int, depth: int) -> None:
        if kind == _STRING:
            self._reader.skip(self._reader.u64())
        elif kind in _VALUE_BYTES:
            self._reader.skip(_VALUE_BYTES[kind])
        elif kind == _ARRAY_TYPE and depth < _MAX_DEPTH:
            self._array(depth + 1)
        else:
            raise NotThisFormat

    def _array(self, depth: int) -> None:
        kind, count = self._reader.fields(_ARRAY)
        if kind in _VALUE_BYTES:
            self._reader.skip(count * _VALUE_BYTES[kind])
            return
        self._strings += count
        if self._strings > MAX_STRINGS:
            raise NotThisFormat
        if kind == _STRING:
            self._reader.skip_texts(count)
            return
        for _ in range(count):
            self._value(kind, depth)

    def _tensor(self) -> Piece:
        name = self._name()
        dimensions = self._reader.u32()
        if dimensions > _MAX_DIMENSIONS:
            raise NotThisFormat
        shape = [self._reader.u64() for _ in range(dimensions)]
        kind = self._reader.u32()
        layout = _LAYOUTS.get(kind)
        offset = self._reader.u64()
        if layout is None or offset % self.alignment or (shape[0] if shape else 1) % layout.numbers:
            raise NotThisFormat
        length = math.prod(shape) // layout.numbers * layout.length
        if length > 1 << 62:
            raise NotThisFormat
        return Piece(
            offset,
            length,
            layout.dtype,
            tensor_key(name, layout.dtype if layout.numbers == 1 else f"ggml {kind}", shape[::-1]),
        )

    def _name(self) -> str:
        length = self._reader.u64()
        if length > _MAX_NAME_BYTES:
            raise NotThisFormat
        return self._reader.take(length).decode("utf-8", "surrogateescape")


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _check_cover(tensors: list[Piece], start: int, end: int, alignment: int) -> None:
    """Check that only padding separates the tensors; the padding of the last one may be missing."""
    at = last = start
    for tensor in tensors:
        if tensor.offset != at:
            raise NotThisFormat
        last = tensor.offset + tensor.length
        at = start + _aligned(last - start, alignment)
    if not last <= end <= at:
        raise NotThisFormat
