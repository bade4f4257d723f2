"""Walks the protobuf fields of an ONNX model down to its tensors, skipping everything large without reading it.

::

    ModelProto.graph 7 > GraphProto.initializer 5 > TensorProto { dims 1, data_type 2, float_data 4, name 8, raw_data 9,
                                                                  double_data 10, external_data 13, data_location 14 }
    GraphProto.node 1 > NodeProto.attribute 5 > AttributeProto { t 5, g 6, tensors 10, graphs 11 }

Source: onnx.proto3 of the ONNX project; protobuf's "Encoding" page for the wire format.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.reading import Reader
from ptmtorrent.model.containers.source import MAX_NAMED, ByteSource, NotThisFormat

MAX_FIELDS = 500_000
"""Limit of fields that are read, about a second; the largest graphs have 200,000 nodes."""

MAX_DEPTH = 32
_MAX_DIMENSIONS = 64
_MAX_TEXT_BYTES = 4096

_MAX_REPEATS = 16
_WINDOW_BYTES = 4 << 10
"""Fields are far apart: a larger window would read numbers."""

_VARINT, _BYTES = 0, 2
_FIXED_BYTES: Mapping[int, int] = MappingProxyType({1: 8, 5: 4})

_INNER: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "function": {7: "node"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
    }
)
"""For each message type, the fields whose messages may hold tensors."""


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


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """A length-delimited field: its number, and the position of its value."""

    field: int
    offset: int
    length: int


class _Number(msgspec.Struct, frozen=True, gc=False):
    field: int
    value: int


class Tensor(msgspec.Struct, frozen=True):
    """A tensor's description. `data` are its fields of numbers; `external` locates numbers in another file."""

    name: str
    data_type: int
    dims: tuple[int, ...]
    data: tuple[Stretch, ...]
    external: Mapping[str, str] | None


Wanted = Callable[[Stretch], bool]
"""Returns whether a message may hold wanted tensors; others are skipped without being read."""


def tensors(source: ByteSource, wanted: Wanted) -> Iterator[Tensor]:
    """Yield the wanted tensors of a model in file order.

    Raises:
        NotThisFormat: malformed messages, or too many of them.
    """
    return _Walk(source, wanted).message("model", Stretch(0, 0, source.size), 0)


def dtype_of(data_type: int, length: int) -> str | None:
    """Return safetensors' name for numbers of `data_type`; None if unknown or `length` bytes are not whole numbers."""
    dtype = DTYPES.get(data_type)
    return dtype if dtype is not None and 8 * length % BITS[dtype] == 0 else None


class _Walk:
    def __init__(self, source: ByteSource, wanted: Wanted) -> None:
        self._source = source
        self._wanted = wanted
        self._fields = 0
        self._tensors = 0

    def message(self, kind: str, whole: Stretch, depth: int) -> Iterator[Tensor]:
        """Yield the tensors in a message and its nested messages."""
        if depth > MAX_DEPTH:
            raise NotThisFormat
        for field in self._each(whole):
            inner = _INNER[kind].get(field.field) if isinstance(field, Stretch) else None
            if inner is None or not isinstance(field, Stretch) or not self._wanted(field):
                continue
            if inner == "tensor":
                yield self._tensor(field)
            else:
                yield from self.message(inner, field, depth + 1)

    def _each(self, whole: Stretch) -> Iterator[Stretch | _Number]:
        reader = self._reader(whole)
        while reader.at < reader.end:
            self._fields += 1
            tag = reader.varint()
            number, wire = tag >> 3, tag & 7
            if not number or self._fields > MAX_FIELDS:
                raise NotThisFormat
            if wire == _VARINT:
                yield _Number(number, reader.varint())
            elif wire == _BYTES:
                length = reader.varint()
                at = reader.at
                reader.skip(length)
                yield Stretch(number, at, length)
            elif wire in _FIXED_BYTES:
                reader.skip(_FIXED_BYTES[wire])
            else:
                raise NotThisFormat

    def _tensor(self, whole: Stretch) -> Tensor:
        self._tensors += 1
        if self._tensors > MAX_NAMED:
            raise NotThisFormat
        name, data_type, is_external = "", 0, False
        dims: list[int] = []
        data: list[Stretch] = []
        external: dict[str, str] = {}
        for field in self._each(whole):
            match field:
                case Stretch(field=8):
                    name = self._text(field)
                case Stretch(field=4 | 9 | 10) if len(data) < _MAX_REPEATS:
                    data.append(field)
                case Stretch(field=13) if len(external) < _MAX_REPEATS:
                    external |= self._entry(field)
                case Stretch(field=1) if field.length <= 10 * _MAX_DIMENSIONS and len(dims) < _MAX_DIMENSIONS:
                    dims += self._packed(field)
                case _Number(field=1) if len(dims) < _MAX_DIMENSIONS:
                    dims.append(field.value)
                case _Number(field=2):
                    data_type = field.value
                case _Number(field=14):
                    is_external = field.value == 1
                case _:
                    pass
        return Tensor(name, data_type, tuple(dims), tuple(data), external if is_external else None)

    def _entry(self, whole: Stretch) -> dict[str, str]:
        texts: dict[int, str] = {}
        for field in self._each(whole):
            if isinstance(field, Stretch) and field.field in {1, 2}:
                texts[field.field] = self._text(field)
        return {texts[1]: texts[2]} if len(texts) == 2 else {}

    def _packed(self, whole: Stretch) -> list[int]:
        reader = self._reader(whole)
        numbers = []
        while reader.at < reader.end:
            numbers.append(reader.varint())
        return numbers

    def _text(self, whole: Stretch) -> str:
        if whole.length > _MAX_TEXT_BYTES:
            raise NotThisFormat
        return self._reader(whole).take(whole.length).decode("utf-8", "surrogateescape")

    def _reader(self, whole: Stretch) -> Reader:
        return Reader(self._source, whole.offset, whole.offset + whole.length, _WINDOW_BYTES)
