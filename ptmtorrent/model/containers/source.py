"""What every parser of containers takes and gives: a source of bytes, tensors, and one error."""

from typing import Protocol

import msgspec

MAX_NAMED = 100_000
"""Limit of tensors or members per file: real models have fewer, and more would exceed the memory of a reader."""

MAX_DIMENSIONS = 64
MAX_NUMBER = 1 << 62
"""Limit of offsets and sizes, so that sums of two of them are still 64-bit integers."""


class NotThisFormat(Exception):
    """Raised by a parser for a file that its format does not allow, or that exceeds the parser's bounds."""


class ByteSource(Protocol):
    """A source of known size with random access."""

    @property
    def size(self) -> int:
        """Size in bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer at the end."""
        ...


class MemorySource:
    """A `ByteSource` over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer at the end of the data."""
        return self._data[offset : offset + length]


class Section:
    """Bytes `start` to `start + size` of another source: a file inside a file."""

    def __init__(self, source: ByteSource, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self._size = max(0, min(size, source.size - start))

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer at the end of the section."""
        return self._source.read(self._start + offset, max(0, min(length, self._size - offset)))


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """Numbers at bytes `offset` to `offset + length` of a file, row by row.

    `dtype` is safetensors' name of the numbers, ggml's of the blocks, or None if it has neither. A tensor that a file
    holds in parts is several of these with the same name, and the shape of the part.
    """

    name: str
    dtype: str | None
    shape: tuple[int, ...]
    offset: int
    length: int
    big_endian: bool = False

    def moved(self, by: int) -> "Tensor":
        """Return the tensor of a file that lies at `by` in another one."""
        return Tensor(self.name, self.dtype, self.shape, self.offset + by, self.length, self.big_endian)
