"""ONNX: a `ModelProto` whose graph multiplies its input by one weight after another.

Written as protobuf fields by hand; weights are `raw_data`, as exporters write them.

Source: onnx, `onnx/onnx.proto3` (field numbers).
"""

from collections.abc import Sequence

from ptmtorrent.demo.tensors import Tensor

_TENSOR_TYPES = {"F32": 1, "I8": 3, "I64": 7, "F16": 10, "F64": 11, "BF16": 16}


def encode_onnx(tensors: Sequence[Tensor], *, name: str) -> bytes:
    """Return a model of IR version 8, opset 17, that multiplies `input` by every tensor to `output`."""
    names = ["input", *(f"hidden_{number}" for number in range(1, len(tensors))), "output"]
    nodes = b"".join(
        _field(1, _node("MatMul", (names[number], tensor.name), names[number + 1]))
        for number, tensor in enumerate(tensors)
    )
    initializers = b"".join(_field(5, _tensor(tensor)) for tensor in tensors)
    first, last = tensors[0], tensors[-1]
    ends = _field(11, _value("input", first.dtype, (1, first.shape[0])))
    ends += _field(12, _value("output", last.dtype, (1, last.shape[-1])))
    graph = nodes + _text(2, name) + initializers + ends
    opset = _number(2, 17)
    return _number(1, 8) + _text(2, "ptmtorrent-sample") + _field(7, graph) + _field(8, opset)


def _node(operator: str, inputs: Sequence[str], output: str) -> bytes:
    return b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, operator)


def _tensor(tensor: Tensor) -> bytes:
    dimensions = b"".join(_number(1, length) for length in tensor.shape)
    return dimensions + _number(2, _TENSOR_TYPES[tensor.dtype]) + _text(8, tensor.name) + _field(9, tensor.data)


def _value(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    dimensions = b"".join(_field(1, _number(1, length)) for length in shape)
    tensor_type = _number(1, _TENSOR_TYPES[dtype]) + _field(2, dimensions)
    return _text(1, name) + _field(2, _field(1, tensor_type))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
