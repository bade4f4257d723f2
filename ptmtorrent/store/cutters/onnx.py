"""Cuts an ONNX model at the numbers of its tensors, wherever they are in the graph.

Protobuf allows fields in any order, and ONNX allows tensors in nodes and subgraphs. Numbers of 64 KiB or more become
pieces; everything between them becomes gaps.
"""

from collections.abc import Iterator

from ptmtorrent.model.containers.onnx_fields import Stretch, Tensor, dtype_of, tensors
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, NotThisFormat, Piece, cover, tensor_key

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


def _is_large(stretch: Stretch) -> bool:
    return stretch.length >= JOIN_BELOW_BYTES


def _numbers(tensor: Tensor) -> Iterator[Piece]:
    for stretch in filter(_is_large, tensor.data):
        data_type = {_FLOATS: 1, _DOUBLES: 11}.get(stretch.field, tensor.data_type)
        dtype = dtype_of(data_type, stretch.length)
        key = tensor_key(tensor.name, dtype, tensor.dims) if tensor.name else None
        yield Piece(stretch.offset, stretch.length, dtype, key)
