"""Finds the arrays in the msgpack files of Flax.

::

    { "params": { "dense": { "kernel": ext 1 [[768, 768], "float32", bytes], ... } } }

An array above 1 GiB is a map of chunks, each an array of one dimension.

Source: msgpack specification; `flax.serialization`, functions `_ndarray_to_bytes` and `_chunk`. Only positions are
read: values are skipped, whatever they are.
"""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ptmtorrent.model.containers.dtypes import BITS, NUMPY_NAMES
from ptmtorrent.model.containers.reading import Reader
from ptmtorrent.model.containers.source import MAX_DIMENSIONS, MAX_NAMED, ByteSource, NotThisFormat, Tensor

MAX_VALUES = 500_000
"""Limit of values that are read, about a second."""

MAX_DEPTH = 64
MAX_NAME_BYTES = 4096
_ARRAY_KIND = 1
_WINDOW_BYTES = 4 << 10
"""Arrays are far apart: a larger window would read numbers."""

_FIXED: Mapping[int, int] = MappingProxyType(
    {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
    | {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
)
"""Bytes behind the tags of nil, booleans and numbers."""

_STRINGS: Mapping[int, int] = MappingProxyType({0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4})
"""Texts and bytes."""

_EXTENSIONS: Mapping[int, int] = MappingProxyType({0xC7: 1, 0xC8: 2, 0xC9: 4})
_SHORT_EXTENSIONS: Mapping[int, int] = MappingProxyType({0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16})
_ARRAYS: Mapping[int, int] = MappingProxyType({0xDC: 2, 0xDD: 4})
_MAPS: Mapping[int, int] = MappingProxyType({0xDE: 2, 0xDF: 4})


def read_msgpack(source: ByteSource) -> Iterator[Tensor]:
    """Yield the arrays in file order, named by the keys on their way, separated by `/`.

    Raises:
        NotThisFormat: the file is not one map of msgpack, or exceeds a bound.
    """
    walk = _Walk(source)
    tag = walk.tag()
    count = walk.size(tag, _MAPS, 0x80, 0x0F)
    if count is None:
        raise NotThisFormat
    yield from walk.entries("", count, 1)
    if walk.reader.at != source.size:
        raise NotThisFormat


class _Walk:
    def __init__(self, source: ByteSource) -> None:
        self.reader = Reader(source, 0, source.size, _WINDOW_BYTES)
        self.reader.order = "big"
        self._values = 0
        self._arrays = 0

    def tag(self) -> int:
        """Return the next tag."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise NotThisFormat
        return self.reader.take(1)[0]

    def size(self, tag: int, wide: Mapping[int, int], short: int, mask: int) -> int | None:
        """Return the length that `tag` announces: itself if it is `short`, or in the bytes behind it; else None."""
        if tag & ~mask == short:
            return tag & mask
        return self.reader.unsigned(wide[tag]) if tag in wide else None

    def entries(self, path: str, count: int, depth: int) -> Iterator[Tensor]:
        """Yield the arrays of a map with `count` entries."""
        for _ in range(count):
            name = self._text(self.tag())
            yield from self._value(f"{path}/{name}" if path else name, depth)

    def _value(self, path: str, depth: int) -> Iterator[Tensor]:
        if depth > MAX_DEPTH or len(path) > MAX_NAME_BYTES:
            raise NotThisFormat
        tag = self.tag()
        if (count := self.size(tag, _MAPS, 0x80, 0x0F)) is not None:
            yield from self.entries(path, count, depth + 1)
        elif (count := self.size(tag, _ARRAYS, 0x90, 0x0F)) is not None:
            for number in range(count):
                yield from self._value(f"{path}/{number}", depth + 1)
        elif tag in _EXTENSIONS or tag in _SHORT_EXTENSIONS:
            length = _SHORT_EXTENSIONS.get(tag) or self.reader.unsigned(_EXTENSIONS[tag])
            kind = self.reader.take(1)[0]
            end = self.reader.at + length
            if kind == _ARRAY_KIND and end <= self.reader.end:
                yield self._array(path, end)
            self.reader.skip(end - self.reader.at)
        else:
            self._skip(tag)

    def _skip(self, tag: int) -> None:
        if tag < 0x80 or tag >= 0xE0:
            return
        if tag in _FIXED:
            self.reader.skip(_FIXED[tag])
        else:
            length = self.size(tag, _STRINGS, 0xA0, 0x1F)
            if length is None:
                raise NotThisFormat
            self.reader.skip(length)

    def _array(self, path: str, end: int) -> Tensor:
        """Return the array whose three parts end at `end`."""
        self._arrays += 1
        if self._arrays > MAX_NAMED or self.tag() != 0x93:
            raise NotThisFormat
        dimensions = self.size(self.tag(), _ARRAYS, 0x90, 0x0F)
        if dimensions is None or dimensions > MAX_DIMENSIONS:
            raise NotThisFormat
        shape = tuple(self._number() for _ in range(dimensions))
        dtype = NUMPY_NAMES.get(self._text(self.tag()))
        tag = self.tag()
        length = self.size(tag, _STRINGS, 0xA0, 0x1F)
        if length is None or self.reader.at + length != end:
            raise NotThisFormat
        if dtype is not None and math.prod(shape) * BITS[dtype] != 8 * length:
            raise NotThisFormat
        return Tensor(path, dtype, shape, self.reader.at, length)

    def _number(self) -> int:
        tag = self.tag()
        if tag < 0x80:
            return tag
        if not 0xCC <= tag <= 0xCF:
            raise NotThisFormat
        return self.reader.unsigned(_FIXED[tag])

    def _text(self, tag: int) -> str:
        length = self.size(tag, _STRINGS, 0xA0, 0x1F)
        if length is None or length > MAX_NAME_BYTES:
            raise NotThisFormat
        return self.reader.take(length).decode("utf-8", "surrogateescape")
