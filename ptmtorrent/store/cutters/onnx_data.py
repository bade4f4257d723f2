"""Cuts the external data file of an ONNX model at the positions that the model states.

::

    model.onnx           TensorProto { external_data: location "model.onnx_data", offset "0", length "4096" }
    model.onnx_data      the numbers

Source: "External Data" page of the ONNX project.
"""

import math
import re
from collections.abc import Iterator, Mapping
from posixpath import basename

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.onnx_fields import DTYPES, Stretch, Tensor, dtype_of, tensors
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, Nearby, NotThisFormat, Piece, cover, tensor_key

SUFFIX = re.compile(r"\.(?:onnx_data\w*|onnx\.data|pb_data)\Z", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_KEY = b"location"


class OnnxData:
    """Pieces: the tensors that the model beside the file describes, and the gaps between them."""

    name = "onnx-data/1"

    def __init__(self, path: str, nearby: Nearby | None) -> None:
        self._path = path
        self._nearby = nearby

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the tensors, and the joined gaps around them."""
        model = None if self._nearby is None else self._nearby(SUFFIX.sub(".onnx", self._path))
        if model is None or not SUFFIX.search(self._path):
            raise NotThisFormat
        found = {piece.offset: piece for piece in _pieces(model, basename(self._path), source.size)}
        if not found:
            raise NotThisFormat
        return tuple(cover((found[offset] for offset in sorted(found)), 0, source.size))


def _pieces(model: ByteSource, location: str, size: int) -> Iterator[Piece]:
    """Yield the tensors that the model has in the file `location` of its folder; two may share the same numbers."""

    def wanted(stretch: Stretch) -> bool:
        return stretch.length >= JOIN_BELOW_BYTES or _KEY in model.read(stretch.offset, stretch.length)

    for tensor in tensors(model, wanted):
        if tensor.external is not None and tensor.external.get("location", "").removeprefix("./") == location:
            yield _piece(tensor, tensor.external, size)


def _piece(tensor: Tensor, external: Mapping[str, str], size: int) -> Piece:
    offset = _number(external.get("offset", "0"))
    if "length" in external:
        length = _number(external["length"])
    else:
        length = math.prod(tensor.dims) * BITS.get(DTYPES.get(tensor.data_type, ""), 0) // 8
    if not length or offset + length > size:
        raise NotThisFormat
    dtype = dtype_of(tensor.data_type, length)
    return Piece(offset, length, dtype, tensor_key(tensor.name, dtype, tensor.dims) if tensor.name else None)


def _number(text: str) -> int:
    if not _NUMBER.match(text):
        raise NotThisFormat
    return int(text)
