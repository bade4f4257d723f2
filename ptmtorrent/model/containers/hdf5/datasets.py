"""From the messages of a dataset to its dtype, shape and position."""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.hdf5.blocks import UNDEFINED, Blocks, number
from ptmtorrent.model.containers.hdf5.chunks import Layout, read_chunks
from ptmtorrent.model.containers.hdf5.headers import Message
from ptmtorrent.model.containers.source import MAX_DIMENSIONS, NotThisFormat, Tensor

_DATASPACE, _DATATYPE, _LAYOUT, _FILTERS = 0x01, 0x03, 0x08, 0x0B
_CONTIGUOUS, _CHUNKED = 1, 2
_FIXED, _FLOAT, _ENUM = 0, 1, 8

_FLOATS: Mapping[tuple[int, int, int], str] = MappingProxyType(
    {(2, 5, 10): "F16", (2, 8, 7): "BF16", (4, 8, 23): "F32", (8, 11, 52): "F64"}
)
"""Floats by bytes, bits of the exponent and of the mantissa."""


class _Type(msgspec.Struct, frozen=True):
    dtype: str | None
    size: int
    big_endian: bool


def tensors_of(blocks: Blocks, name: str, messages: Sequence[Message]) -> Iterator[Tensor]:
    """Yield the numbers of a dataset; none for other objects, and for those whose numbers are not stored as they are.

    Raises:
        NotThisFormat: a malformed message.
    """
    by_kind = {message.kind: message.data for message in messages}
    if not all(by_kind.get(kind) for kind in (_DATASPACE, _DATATYPE, _LAYOUT)) or _FILTERS in by_kind:
        return
    shape = _shape(by_kind[_DATASPACE])
    kind = _type(by_kind[_DATATYPE])
    layout = _layout(by_kind[_LAYOUT], math.prod(shape) * kind.size)
    if layout is None or layout.address == UNDEFINED:
        return
    if not layout.chunk:
        if layout.length == math.prod(shape) * kind.size:
            yield Tensor(name, kind.dtype, shape, layout.address, layout.length, kind.big_endian)
        return
    if len(layout.chunk) != len(shape) or not all(layout.chunk):
        raise NotThisFormat
    length = math.prod(layout.chunk) * kind.size
    for address in read_chunks(blocks, layout, shape, length):
        yield Tensor(name, kind.dtype, layout.chunk, address, length, kind.big_endian)


def _shape(data: bytes) -> tuple[int, ...]:
    version, rank = number(data, 0, 1), number(data, 1, 1)
    if rank > MAX_DIMENSIONS or version not in {1, 2}:
        raise NotThisFormat
    at = 8 if version == 1 else 4
    return tuple(number(data, at + 8 * dimension) for dimension in range(rank))


def _type(data: bytes) -> _Type:
    kind, bits, size = number(data, 0, 1) & 0x0F, number(data, 1, 3), number(data, 4, 4)
    dtype: str | None = None
    if kind == _FIXED and size in {1, 2, 4, 8}:
        dtype = f"{'I' if bits & 8 else 'U'}{8 * size}"
    elif kind == _FLOAT and not bits & 0x40:
        dtype = _FLOATS.get((size, number(data, 13, 1), number(data, 15, 1)))
    elif kind == _ENUM and size == 1:
        dtype = "BOOL" if b"FALSE" in data and b"TRUE" in data else "U8"
    big_endian = kind in {_FIXED, _FLOAT} and bool(bits & 1) and BITS.get(dtype or "", 0) > 8
    return _Type(dtype, size, big_endian)


def _layout(data: bytes, length: int) -> Layout | None:
    version = number(data, 0, 1)
    if version in {1, 2}:
        return _old_layout(data, length)
    kind = number(data, 1, 1)
    if version not in {3, 4, 5} or kind not in {_CONTIGUOUS, _CHUNKED}:
        return None
    if kind == _CONTIGUOUS:
        return Layout((), number(data, 2), number(data, 10))
    if version == 3:
        rank = number(data, 2, 1)
        dimensions = [number(data, 11 + 4 * one, 4) for one in range(rank)]
        return Layout(tuple(dimensions[:-1]), number(data, 3))
    rank, width = number(data, 3, 1), number(data, 4, 1)
    at = 5 + rank * width
    dimensions = [number(data, 5 + width * one, width) for one in range(rank)]
    index = number(data, at, 1)
    return Layout(tuple(dimensions[:-1]), _address(data, at, index), index=index)


def _address(data: bytes, at: int, index: int) -> int:
    """Return the address behind the parameters of an index."""
    return number(data, at + 1 + {1: 0, 2: 0, 3: 1, 4: 5, 5: 6}.get(index, 0))


def _old_layout(data: bytes, length: int) -> Layout | None:
    """Return a layout of version 1 or 2, which libraries before 1.6.3 wrote."""
    rank, kind = number(data, 1, 1), number(data, 2, 1)
    if kind == _CONTIGUOUS:
        return Layout((), number(data, 8), length)
    if kind != _CHUNKED:
        return None
    dimensions = [number(data, 16 + 4 * one, 4) for one in range(rank)]
    return Layout(tuple(dimensions[:-1]), number(data, 8))
