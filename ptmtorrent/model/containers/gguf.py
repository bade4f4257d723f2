"""Parses the header of a GGUF file.

::

    "GGUF" | version u32 | tensors u64 | keys u64 | key, type, value ... | name, dimensions, type, offset ... |
    padding | tensors, each padded

All integers have the byte order of the version. In version 1, counts, lengths and dimensions have 4 bytes.

Source: GGUF specification of the ggml project, versions 1 to 3.
"""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from ptmtorrent.model.containers.dtypes import BLOCK_BYTES
from ptmtorrent.model.containers.reading import Reader
from ptmtorrent.model.containers.source import MAX_NAMED, MAX_NUMBER, ByteSource, NotThisFormat, Tensor

MAGIC = b"GGUF"
MAX_HEADER_BYTES = 64 << 20
MAX_STRINGS = 4 << 20
"""Limit of strings in all arrays of a header: ten times the largest vocabularies and their merges."""

LARGE_BYTES = 64 << 10
"""Size from which a value of the header is listed."""

_TEMPLATE = "tokenizer.chat_template"
_VERSIONS = {1, 2, 3}
_SWAPPED = 1 << 16
"""Versions are small: one in the other byte order is at least this."""

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
    """The header of a GGUF file: its `version`, `alignment`, and the `start` of the tensors.

    `values` are offset and length of each value of the header that has 64 KiB or more, `templates` are name, offset and
    length of the texts of chat templates.

    Raises:
        NotThisFormat: anything else than a header of at most 64 MiB.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._reader = reader = Reader(source, 0, min(source.size, MAX_HEADER_BYTES))
        self._strings = 0
        self.alignment = _DEFAULT_ALIGNMENT
        self.values: list[tuple[int, int]] = []
        self.templates: list[tuple[str, int, int]] = []
        if reader.take(len(MAGIC)) != MAGIC:
            raise NotThisFormat
        self.version = self._version()
        self._width = 4 if self.version == 1 else 8
        self._count, keys = self._length(), self._length()
        if self._count > MAX_NAMED or keys > MAX_NAMED:
            raise NotThisFormat
        for _ in range(keys):
            self._key()
        if not 0 < self.alignment <= _MAX_ALIGNMENT or self.alignment % 8:
            raise NotThisFormat
        self._table = reader.at
        self.start = 0
        for _ in self.tensors():  # to find the end of the table
            pass
        self.start = aligned(self._reader.at, self.alignment)

    @property
    def big_endian(self) -> bool:
        """Whether the file, numbers included, is big-endian."""
        return self._reader.order == "big"

    def tensors(self) -> Iterator[Tensor]:
        """Yield the tensors in the order of the header.

        Raises:
            NotThisFormat: a tensor of an unknown type, or that is not aligned.
        """
        order = self._reader.order
        self._reader = Reader(self._source, self._table, min(self._source.size, MAX_HEADER_BYTES))
        self._reader.order = order
        for _ in range(self._count):
            yield self._tensor()

    def _version(self) -> int:
        version = self._reader.u32()
        if version >= _SWAPPED:
            self._reader.order = "big"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in _VERSIONS:
            raise NotThisFormat
        return version

    def _length(self) -> int:
        return self._reader.unsigned(self._width)

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
        if kind == _STRING and name.startswith(_TEMPLATE):
            self.templates.append((name, start + self._width, length - self._width))
        if length >= LARGE_BYTES:
            self.values.append((start, length))

    def _value(self, kind: int, depth: int) -> None:
        if kind == _STRING:
            self._reader.skip(self._length())
        elif kind in _VALUE_BYTES:
            self._reader.skip(_VALUE_BYTES[kind])
        elif kind == _ARRAY_TYPE and depth < _MAX_DEPTH:
            self._array(depth + 1)
        else:
            raise NotThisFormat

    def _array(self, depth: int) -> None:
        kind, count = self._reader.u32(), self._length()
        if kind in _VALUE_BYTES:
            self._reader.skip(count * _VALUE_BYTES[kind])
            return
        self._strings += count
        if self._strings > MAX_STRINGS:
            raise NotThisFormat
        if kind == _STRING:
            self._reader.skip_texts(count, self._width)
            return
        for _ in range(count):
            self._value(kind, depth)

    def _tensor(self) -> Tensor:
        name = self._name()
        dimensions = self._reader.u32()
        if dimensions > _MAX_DIMENSIONS:
            raise NotThisFormat
        shape = tuple(self._length() for _ in range(dimensions))
        layout = _LAYOUTS.get(self._reader.u32())
        offset = self._reader.u64()
        if layout is None or offset % self.alignment or (shape[0] if shape else 1) % layout.numbers:
            raise NotThisFormat
        length = math.prod(shape) // layout.numbers * layout.length
        if length > MAX_NUMBER or offset > MAX_NUMBER:
            raise NotThisFormat
        return Tensor(name, layout.dtype, shape[::-1], self.start + offset, length, self.big_endian)

    def _name(self) -> str:
        length = self._length()
        if length > _MAX_NAME_BYTES:
            raise NotThisFormat
        return self._reader.take(length).decode("utf-8", "surrogateescape")


def aligned(offset: int, alignment: int) -> int:
    """Return the first multiple of `alignment` from `offset` on."""
    return -(-offset // alignment) * alignment
