"""Cuts an ONNX model at the numbers of its tensors, wherever in the graph they are.

Protobuf allows fields in any order and tensors in nodes and subgraphs; what is found are runs of 64 KiB or more, and
everything between them is left as it lies.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ptmtorrent.store.cutters.covering import JOIN_BELOW_BYTES, cover
from ptmtorrent.store.cutters.dtypes import BITS
from ptmtorrent.store.cutters.keys import tensor_key
from ptmtorrent.store.cutters.onnx_fields import Stretch, Tensor, tensors
from ptmtorrent.store.cutters.port import ByteSource, NotMine, Piece

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
        21: "U8",  # two numbers of 4 bits to the byte
        22: "U8",
        23: "F4",
        24: "F8_E8M0",
    }
)
"""`TensorProto.DataType`."""

_FLOATS, _DOUBLES = 4, 10
_FIRST_BYTES = frozenset(b"\x08\x12\x1a\x22\x28\x32\x3a\x42")
"""Tags of the fields 1 to 8 of a model."""


class Onnx:
    """Numbers of 64 KiB or more, and what lies between."""

    name = "onnx/1"

    def recognises(self, source: ByteSource, name: str) -> bool:
        """Go by the suffix, and by a first field that a model has."""
        return name.lower().endswith(".onnx") and not _FIRST_BYTES.isdisjoint(source.read(0, 1))

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the numbers, and what lies around them in runs."""
        numbers = [piece for tensor in tensors(source, _is_large) for piece in _numbers(tensor)]
        if not numbers:
            raise NotMine
        return tuple(cover(numbers, 0, source.size))


def dtype_of(data_type: int, length: int) -> str | None:
    """Return safetensors' name for numbers of `data_type` that take `length` bytes; None where that cannot be."""
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
