"""safetensors: 8-byte little-endian header length, JSON header padded with spaces, then the tensors.

Source: safetensors format, section "Format".
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

from ptmtorrent.demo.tensors import DTYPE_BYTES, Tensor


def encode_safetensors(tensors: Sequence[Tensor]) -> bytes:
    """Return the file of `tensors`, widest dtype first and then by name, as the library orders them."""
    ordered = sorted(tensors, key=lambda tensor: (-DTYPE_BYTES[tensor.dtype], tensor.name))
    return encode_header(
        [(tensor.name, tensor.dtype, tensor.shape, len(tensor.data)) for tensor in ordered]
    ) + b"".join(tensor.data for tensor in ordered)


def encode_header(rows: Sequence[tuple[str, str, tuple[int, ...], int]]) -> bytes:
    """Return length and header for consecutive `(name, dtype, shape, bytes)` rows."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape, size in rows:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
