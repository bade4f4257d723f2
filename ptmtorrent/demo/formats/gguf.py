"""GGUF version 3: magic, counts, typed key-values, tensor table, then tensors aligned to 32 bytes.

Source: ggml, `docs/gguf.md`.
"""

import struct
from collections.abc import Mapping, Sequence

from ptmtorrent.demo.tensors import Tensor

_ALIGNMENT = 32
_TENSOR_TYPES = {"F32": 0, "F16": 1, "I8": 24, "I64": 27, "F64": 28, "BF16": 30}
_UINT32, _STRING, _ARRAY = 4, 8, 9

Value = int | str | tuple[str, ...]


def encode_gguf(tensors: Sequence[Tensor], values: Mapping[str, Value]) -> bytes:
    """Return the file. Integers are written as uint32, tuples as arrays of strings."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    head += b"".join(_text(key) + _value(value) for key, value in values.items())
    offset = 0
    for tensor in tensors:
        head += _row(tensor, offset)
        offset += len(tensor.data) + _padding(len(tensor.data))
    head += bytes(_padding(len(head)))
    return head + b"".join(tensor.data + bytes(_padding(len(tensor.data))) for tensor in tensors)


def _row(tensor: Tensor, offset: int) -> bytes:
    shape = tensor.shape[::-1]  # ggml lists the fastest dimension first
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return _text(tensor.name) + dimensions + struct.pack("<IQ", _TENSOR_TYPES[tensor.dtype], offset)


def _value(value: Value) -> bytes:
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_text, value))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padding(size: int) -> int:
    return -size % _ALIGNMENT
