"""Tensors of every dtype, and what a parser must find of them."""

from collections.abc import Iterable, Mapping

from ptmtorrent.model.containers.source import MemorySource, Tensor
from tests.store.samples import bf16, numbers, random_bytes

Described = tuple[str | None, tuple[int, ...], bytes]

TENSORS: Mapping[str, tuple[str, list[int], bytes]] = {
    "F32": ("F32", [3, 5], numbers(15).tobytes()),
    "F16": ("F16", [7, 1], random_bytes(14)),
    "F64": ("F64", [2, 2, 2], random_bytes(64)),
    "BF16": ("BF16", [9], bf16(9)),
    "I8": ("I8", [4, 4], random_bytes(16)),
    "I64": ("I64", [1], random_bytes(8)),
    "scalar": ("F32", [], numbers(1).tobytes()),
}


def described(data: bytes, tensors: Iterable[Tensor]) -> dict[str, Described]:
    """Return dtype, shape and bytes of each tensor, by name; a chunk each under its position."""
    found: dict[str, Described] = {}
    for tensor in tensors:
        name = tensor.name if tensor.name not in found else f"{tensor.name} {tensor.offset}"
        found[name] = (tensor.dtype, tensor.shape, data[tensor.offset : tensor.offset + tensor.length])
    return found


def expected(tensors: Mapping[str, tuple[str, list[int], bytes]]) -> dict[str, Described]:
    return {name: (dtype, tuple(shape), data) for name, (dtype, shape, data) in tensors.items()}


def source(data: bytes) -> MemorySource:
    return MemorySource(data)
