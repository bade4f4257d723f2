"""The port of cutters: read a little of a file, say where its pieces begin and end."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ptmtorrent.disk.durable import disk_errors, read_at
from ptmtorrent.model.manifest import MAX_OBJECT_BYTES


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Bytes `offset` to `offset + length` of a file.

    `dtype` is safetensors' name of the numbers in them, or ggml's of its blocks, if any. `key` names the same numbers
    in another version of the package (see `keys`); None where the format has no names.
    """

    offset: int
    length: int
    dtype: str | None = None
    key: str | None = None


class Cut(msgspec.Struct, frozen=True):
    """Which cutter cut (`safetensors/1`), and the pieces in file order."""

    cutter: str
    pieces: tuple[Piece, ...]


class ByteSource(Protocol):
    """Something with a size in bytes that can be read anywhere."""

    @property
    def size(self) -> int:
        """Bytes there are."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer where the source ends."""
        ...


Nearby = Callable[[str], ByteSource | None]
"""Gives another file of the same package, by its path; None when it is not there (yet)."""


class NotMine(Exception):
    """What a cutter says of a file its format does not allow. It never leaves `cut`."""


class Cutter(Protocol):
    """Knows one format. Reads a bounded part of a file, and never fails on one."""

    name: str

    def recognises(self, source: ByteSource, name: str) -> bool:
        """Tell, from its name and its first bytes, whether `source` looks like this format."""
        ...

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return pieces that cover `source` exactly once, in order.

        Raises:
            NotMine: for anything the format does not allow.
        """
        ...


class MemorySource:
    """A `ByteSource` over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Bytes there are."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer where the data end."""
        return self._data[offset : offset + length]


class FileSource:
    """A `ByteSource` over an open file; the opener of the descriptor closes it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        with disk_errors(path):
            self._size = os.fstat(descriptor).st_size

    @property
    def size(self) -> int:
        """Bytes there were when the file was opened."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer where the file ends.

        Raises:
            StoreError: the file cannot be read.
        """
        with disk_errors(self._path):
            return read_at(self._descriptor, offset, length)


def slices(offset: int, length: int) -> list[Piece]:
    """Cut a stretch without numbers at multiples of 16 MiB from its start."""
    end = offset + length
    return [Piece(start, min(MAX_OBJECT_BYTES, end - start)) for start in range(offset, end, MAX_OBJECT_BYTES)]
