"""Cuts a safetensors file at its tensors.

::

    header length u64 | header JSON | tensors, one after another, without gaps
    {"__metadata__": {...}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}

Source: safetensors format, "Format" section. What it forbids, and what its readers disagree about (a key twice,
tensors that overlap, leave a gap or do not reach the end, sizes that do not follow from dtype and shape), is not cut
here: such a file is opaque.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from ptmtorrent.store.cutters.port import ByteSource, NotMine, Piece, slices

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library itself."""

JOIN_BELOW_BYTES = 64 << 10
JOINED_BYTES = 1 << 20
MAX_DIMENSIONS = 64
_MAX_NUMBER = 1 << 62
_LENGTH_BYTES = 8

_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


class Safetensors:
    """`[8 + header]`, then tensors in file order; runs of small ones join."""

    name = "safetensors/1"

    def recognises(self, source: ByteSource, name: str) -> bool:
        """Go by the suffix, and by a header that could be one."""
        if not name.lower().endswith(".safetensors"):
            return False
        head = source.read(0, _LENGTH_BYTES + 1)
        return len(head) == _LENGTH_BYTES + 1 and head.endswith(b"{")

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the header, then the tensors."""
        length = int.from_bytes(source.read(0, _LENGTH_BYTES), "little")
        start = _LENGTH_BYTES + length
        if length > MAX_HEADER_BYTES or start > source.size:
            raise NotMine
        tensors = _tensors(_parse(source.read(_LENGTH_BYTES, length)))
        _check_cover(tensors, source.size - start)
        pieces = slices(0, start)
        for run in _runs(Piece(start + tensor.offset, tensor.length, tensor.dtype) for tensor in tensors):
            pieces += slices(run.offset, run.length, run.dtype)
        return tuple(pieces)


def _parse(header: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(
            header.decode(),
            object_pairs_hook=_refuse_duplicates,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotMine from error
    if not isinstance(tree, dict):
        raise NotMine
    return tree


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise NotMine
    return tree


def _refuse(_: str) -> NoReturn:
    raise NotMine


def _tensors(tree: dict[str, Any]) -> list[Piece]:
    """Return the tensors in file order, offsets counted from the end of the header; empty ones left out."""
    tensors = [_tensor(value) for name, value in tree.items() if name != "__metadata__"]
    return sorted((tensor for tensor in tensors if tensor.length), key=lambda tensor: tensor.offset)


def _tensor(value: object) -> Piece:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **rest} if not rest:
            numbers = [begin, end, *shape]
        case _:
            raise NotMine
    if not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers):
        raise NotMine
    bits = _BITS.get(dtype, 0)
    if len(shape) > MAX_DIMENSIONS or begin > end or math.prod(shape) * bits != 8 * (end - begin):
        raise NotMine
    if begin < end and begin % max(1, bits // 8):
        raise NotMine
    return Piece(begin, end - begin, dtype)


def _check_cover(tensors: list[Piece], size: int) -> None:
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            raise NotMine
        expected += tensor.length
    if expected != size:
        raise NotMine


def _runs(tensors: Iterable[Piece]) -> list[Piece]:
    """Join neighbours that are each under 64 KiB, up to 1 MiB; a run of more than one dtype has none."""
    runs: list[Piece] = []
    open_run = False
    for tensor in tensors:
        small = tensor.length < JOIN_BELOW_BYTES
        if small and open_run and runs[-1].length + tensor.length <= JOINED_BYTES:
            last = runs.pop()
            dtype = last.dtype if last.dtype == tensor.dtype else None
            runs.append(Piece(last.offset, last.length + tensor.length, dtype))
        else:
            runs.append(tensor)
        open_run = small
    return runs
