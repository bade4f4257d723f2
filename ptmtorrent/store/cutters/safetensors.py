"""Cuts a safetensors file at its tensors.

::

    header length u64 | header JSON | tensors, one after another, without gaps
    {"__metadata__": {...}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}

Source: safetensors format, "Format" section. A file with anything that the format forbids, or that its readers disagree
about (duplicate keys, tensors that overlap, leave a gap or do not reach the end, sizes that do not follow from dtype
and shape), is not cut here.
"""

import math
import sys

from ptmtorrent.store.cutters.covering import MAX_NAMED, cover
from ptmtorrent.store.cutters.dtypes import BITS
from ptmtorrent.store.cutters.keys import tensor_key
from ptmtorrent.store.cutters.port import ByteSource, NotThisFormat, Piece, slices
from ptmtorrent.store.cutters.safetensors_header import members

MAX_HEADER_BYTES = 16 << 20
"""Limit of a header. The library allows 100 MB; a tensor needs about 130 bytes, so this fits a hundred thousand."""

MAX_DIMENSIONS = 64
_MAX_NUMBER = 1 << 62
_LENGTH_BYTES = 8


class Safetensors:
    """Pieces: `[8 + header]`, then the tensors in file order; small neighbours are joined."""

    name = "safetensors/1"

    def recognises(self, source: ByteSource, name: str) -> bool:
        """Return whether the suffix matches and the header begins with `{`."""
        if not name.lower().endswith(".safetensors"):
            return False
        head = source.read(0, _LENGTH_BYTES + 1)
        return len(head) == _LENGTH_BYTES + 1 and head.endswith(b"{")

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the header, then the tensors."""
        length = int.from_bytes(source.read(0, _LENGTH_BYTES), "little")
        start = _LENGTH_BYTES + length
        if length > MAX_HEADER_BYTES or start > source.size:
            raise NotThisFormat
        tensors = _tensors(source.read(_LENGTH_BYTES, length), start)
        if sum(tensor.length for tensor in tensors) != source.size - start:  # `cover` refuses overlaps
            raise NotThisFormat
        return (*slices(0, start), *cover(tensors, start, source.size))


def _tensors(header: bytes, start: int) -> list[Piece]:
    """Return the non-empty tensors in file order; their data begins at `start`."""
    tensors = []
    for count, (name, value) in enumerate(members(header)):
        if count >= MAX_NAMED:
            raise NotThisFormat
        tensor = _tensor(name, value, start)
        if tensor.length:
            tensors.append(tensor)
    return sorted(tensors, key=lambda tensor: tensor.offset)


def _tensor(name: str, value: object, start: int) -> Piece:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **rest} if not rest:
            numbers = [begin, end, *shape]
        case _:
            raise NotThisFormat
    if not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers):
        raise NotThisFormat
    bits = BITS.get(dtype, 0)
    if len(shape) > MAX_DIMENSIONS or begin > end or math.prod(shape) * bits != 8 * (end - begin):
        raise NotThisFormat
    if begin < end and begin % max(1, bits // 8):
        raise NotThisFormat
    return Piece(start + begin, end - begin, sys.intern(dtype), tensor_key(name, dtype, shape))
