"""Cuts an ONNX model at the numbers of its tensors, wherever they are in the graph.

Protobuf allows fields in any order, and ONNX allows tensors in nodes and subgraphs. Numbers of 64 KiB or more become
pieces; everything between them becomes gaps.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ptmtorrent.store.cutters.dtypes import BITS
from ptmtorrent.store.cutters.onnx_fields import Stretch, Tensor, tensors
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, NotThisFormat, Piece, cover, tensor_key

DTYPES: Mapping[int, str] = MappingProxyType(
    {
        1: "F32",
        2: "U8",
        3: "I8",
        4: "U16",
        5: "I16",
        6: "I32",
        7: "I64",
        9: "BOOL",
        10: "F16",
        11: "F64",
        12: "U32",
        13: "U64",
        14: "C64",
        16: "BF16",
        17: "F8_E4M3",
        18: "F8_E4M3FNUZ",
        19: "F8_E5M2",
        20: "F8_E5M2FNUZ",
        21: "U8",  # two 4-bit numbers per byte
        22: "U8",
        23: "F4",
        24: "F8_E8M0",
    }
)
"""`TensorProto.DataType`."""

_FLOATS, _DOUBLES = 4, 10


class Onnx:
    """Pieces: numbers of 64 KiB or more, and the gaps between them."""

    name = "onnx/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the numbers, and the joined gaps around them."""
        numbers = [piece for tensor in tensors(source, _is_large) for piece in _numbers(tensor)]
        if not numbers:
            raise NotThisFormat
        return tuple(cover(numbers, 0, source.size))


def dtype_of(data_type: int, length: int) -> str | None:
    """Return safetensors' name for numbers of `data_type`; None if unknown or `length` bytes are not whole numbers."""
    dtype = DTYPES.get(data_type)
    return dtype if dtype is not None and 8 * length % BITS[dtype] == 0 else None


def _is_large(stretch: Stretch) -> bool:
    return stretch.length >= JOIN_BELOW_BYTES


def _numbers(tensor: Tensor) -> Iterator[Piece]:
    for stretch in filter(_is_large, tensor.data):
        data_type = {_FLOATS: 1, _DOUBLES: 11}.get(stretch.field, tensor.data_type)
        dtype = dtype_of(data_type, stretch.length)
        key = tensor_key(tensor.name, dtype, tensor.dims) if tensor.name else None
        yield Piece(stretch.offset, stretch.length, dtype, key)
