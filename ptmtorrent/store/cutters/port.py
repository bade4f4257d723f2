"""The port of cutters: read a bounded part of a file, return the positions of its pieces.

`cover` turns the stretches that a format names into pieces: it fills gaps, joins small neighbours and slices long
stretches. A stretch of 64 KiB or more is never joined, so that equal tensors are equal objects whatever surrounds them.
Any two neighbouring pieces have at least 64 KiB together, so no header can cause more than one piece per 32 KiB.

Keys identify pieces with the same numbers in two versions of a package: 32 hex characters, by which the base of a delta
is looked up. They are compared but never stored, so they are part of no format. A tensor's key follows from its name,
dtype and shape, whatever the file format.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, read_at
from ptmtorrent.model.containers.dtypes import BITS, BLOCK_BYTES
from ptmtorrent.model.containers.source import MAX_NAMED, ByteSource, MemorySource, NotThisFormat, Tensor
from ptmtorrent.model.manifest import MAX_OBJECT_BYTES

__all__ = [
    "JOINED_BYTES",
    "JOIN_BELOW_BYTES",
    "MAX_NAMED",
    "ByteSource",
    "Cut",
    "Cutter",
    "FileSource",
    "MemorySource",
    "Nearby",
    "NotThisFormat",
    "Piece",
    "Tensor",
    "cover",
    "piece_of",
    "run_key",
    "slice_key",
    "slices",
    "tensor_key",
]


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


Nearby = Callable[[str], ByteSource | None]
"""Returns another file of the same package by path; None if it is not available (yet)."""


class Cutter(Protocol):
    """A cutter for one format. It reads a bounded part of a file, and never fails on one."""

    name: str

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return pieces that cover `source` exactly once, in order.

        Raises:
            NotThisFormat: the file has anything that the format does not allow.
        """
        ...


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


JOIN_BELOW_BYTES = 64 << 10
JOINED_BYTES = 1 << 20


def piece_of(tensor: Tensor) -> Piece:
    """Return the stretch of a tensor. No codec knows big-endian numbers, so these have no dtype."""
    dtype = tensor.dtype
    if tensor.big_endian and BITS.get(dtype or "", 16) > 8:
        dtype = None
    return Piece(tensor.offset, tensor.length, dtype, tensor_key(tensor.name, tensor.dtype, tensor.shape))


def cover(stretches: Iterable[Piece], start: int, end: int) -> list[Piece]:
    """Return the pieces of bytes `start` to `end`: the `stretches`, in ascending order, and the gaps around them.

    Raises:
        NotThisFormat: stretches overlap, or are outside the range.
    """
    return list(_sliced(_joined(_filled(stretches, start, end))))


def _filled(stretches: Iterable[Piece], start: int, end: int) -> Iterator[Piece]:
    at = start
    for stretch in stretches:
        if not stretch.length:
            continue
        if stretch.offset < at or stretch.offset + stretch.length > end:
            raise NotThisFormat
        if stretch.offset > at:
            yield Piece(at, stretch.offset - at)
        yield stretch
        at = stretch.offset + stretch.length
    if at < end:
        yield Piece(at, end - at)


def _joined(stretches: Iterable[Piece]) -> Iterator[Piece]:
    """Join neighbours that are each under 64 KiB, up to 1 MiB."""
    run: list[Piece] = []
    size = 0
    for stretch in stretches:
        small = stretch.length < JOIN_BELOW_BYTES
        if run and not (small and size + stretch.length <= JOINED_BYTES):
            yield _one(run, size)
            run, size = [], 0
        if small:
            run.append(stretch)
            size += stretch.length
        else:
            yield stretch
    if run:
        yield _one(run, size)


def _one(run: list[Piece], size: int) -> Piece:
    """Return a run as one piece, whose dtype is that of its members, or None if they differ."""
    if len(run) == 1:
        return run[0]
    dtypes = {piece.dtype for piece in run}
    return Piece(run[0].offset, size, dtypes.pop() if len(dtypes) == 1 else None, run_key(piece.key for piece in run))


def _sliced(stretches: Iterable[Piece]) -> Iterator[Piece]:
    """Cut long stretches at multiples of 16 MiB from their start, rounded down to whole blocks."""
    for stretch in stretches:
        if stretch.length <= MAX_OBJECT_BYTES:
            yield stretch
            continue
        step = MAX_OBJECT_BYTES - MAX_OBJECT_BYTES % BLOCK_BYTES.get(stretch.dtype or "", 1)
        for number, at in enumerate(range(0, stretch.length, step)):
            length = min(step, stretch.length - at)
            key = None if stretch.key is None else slice_key(stretch.key, number)
            yield Piece(stretch.offset + at, length, stretch.dtype, key)


def tensor_key(name: str, dtype: str | None, shape: Iterable[int]) -> str:
    """Return the key of a tensor."""
    return _digest((name, dtype or "", *map(str, shape)))


def slice_key(key: str, number: int) -> str:
    """Return the key of slice `number` of a tensor that is longer than an object may be."""
    return _digest((key, str(number)))


def run_key(members: Iterable[str | None]) -> str | None:
    """Return the key of neighbours that were joined to one piece; None if any of them has no key."""
    named = tuple(members)
    return _digest(key for key in named if key is not None) if None not in named else None


def _digest(parts: Iterable[str]) -> str:
    whole = blake3()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        whole.update(len(data).to_bytes(4, "little") + data)
    return whole.hexdigest(length=16)
