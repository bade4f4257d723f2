"""The port of cutters: read a bounded part of a file, return the positions of its pieces."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ptmtorrent.disk.durable import disk_errors, read_at
from ptmtorrent.model.manifest import MAX_OBJECT_BYTES


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Bytes `offset` to `offset + length` of a file.

    `dtype` is safetensors' name of the numbers in them, ggml's of the blocks, or None. `key` identifies the same
    numbers in another version of the package (see `keys`); None if the format has no names.
    """

    offset: int
    length: int
    dtype: str | None = None
    key: str | None = None


class Cut(msgspec.Struct, frozen=True):
    """The name of the cutter (`safetensors/1`), and the pieces in file order."""

    cutter: str
    pieces: tuple[Piece, ...]


class ByteSource(Protocol):
    """A source of known size with random access."""

    @property
    def size(self) -> int:
        """Size in bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer at the end."""
        ...


Nearby = Callable[[str], ByteSource | None]
"""Returns another file of the same package by path; None if it is not available (yet)."""


class NotThisFormat(Exception):
    """Raised by a cutter for a file that its format does not allow. `cut` catches it and tries the next cutter."""


class Cutter(Protocol):
    """A cutter for one format. It reads a bounded part of a file, and never fails on one."""

    name: str

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return pieces that cover `source` exactly once, in order.

        Raises:
            NotThisFormat: the file has anything that the format does not allow.
        """
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


class FileSource:
    """A `ByteSource` over an open file. The caller owns the descriptor and closes it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        with disk_errors(path):
            self._size = os.fstat(descriptor).st_size

    @property
    def size(self) -> int:
        """Size in bytes when the file was opened."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer at the end of the file.

        Raises:
            StoreError: the file cannot be read.
        """
        with disk_errors(self._path):
            return read_at(self._descriptor, offset, length)


def slices(offset: int, length: int) -> list[Piece]:
    """Return a stretch without numbers, cut at multiples of 16 MiB from its start."""
    end = offset + length
    return [Piece(start, min(MAX_OBJECT_BYTES, end - start)) for start in range(offset, end, MAX_OBJECT_BYTES)]
