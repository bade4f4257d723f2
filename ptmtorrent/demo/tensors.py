"""Tensors of small networks: shapes and names like those of transformer checkpoints, values from integers.

Weights stay on the integer grid during training (simulated by `nudge`) and are rendered to a dtype last, like the
checkpoints of one network in several precisions.
"""

from collections.abc import Callable, Mapping
from math import prod

import msgspec
import numpy as np

from ptmtorrent.demo.noise import ONE, Grid, bells, weights

DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I8": 1}
_UNIT = np.float32(2.0**-27)

Weights = Mapping[str, Grid]
"""Arrays on the grid by tensor name, in the order of the network."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The size of an encoder: width, depth and vocabulary."""

    hidden: int
    layers: int
    tokens: int


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor, rendered: little-endian bytes in C order, dtype spelled as safetensors does."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def encoder(seed: str, shape: Shape, *, labels: int = 0) -> Weights:
    """Return a BERT-like encoder named `quill.*`, and a head `score.*` if it has labels."""
    shapes: dict[str, tuple[int, ...]] = {
        "quill.embeddings.word_embeddings.weight": (shape.tokens, shape.hidden),
        "quill.embeddings.position_embeddings.weight": (64, shape.hidden),
        **_norm("quill.embeddings.LayerNorm", shape.hidden),
    }
    for layer in range(shape.layers):
        shapes |= _encoder_layer(f"quill.encoder.layer.{layer}", shape.hidden)
    shapes |= _dense("quill.pooler.dense", shape.hidden, shape.hidden)
    if labels:
        shapes |= _dense("score", shape.hidden, labels)
    return {name: _start(f"{seed}/{name}", name, lengths) for name, lengths in shapes.items()}


def nudge(network: Weights, seed: str, *, only: str = "") -> Weights:
    """Return the network after a light fine-tune: weights below the prefix `only` move by about 0.4 percent."""
    return {
        name: array + (bells(f"{seed}/{name}", array.size).reshape(array.shape) >> 2)
        if name.startswith(only)
        else array
        for name, array in network.items()
    }


def redraw(network: Weights, seed: str, *, only: str) -> Weights:
    """Return the network with the tensors below the prefix `only` trained from scratch."""
    return {
        name: _start(f"{seed}/{name}", name, array.shape) if name.startswith(only) else array
        for name, array in network.items()
    }


def render(network: Weights, dtype: str) -> tuple[Tensor, ...]:
    """Round the network to `dtype`: `F64`, `F32`, `F16` or `BF16`."""
    return tuple(
        Tensor(name=name, dtype=dtype, shape=array.shape, data=_RENDERERS[dtype](array))
        for name, array in network.items()
    )


def integers(name: str, seed: str, shape: tuple[int, ...]) -> Tensor:
    """Return an I8 tensor, as in quantised checkpoints."""
    values = bells(seed, prod(shape)) >> 10
    return Tensor(name=name, dtype="I8", shape=shape, data=np.clip(values, -127, 127).astype("i1").tobytes())


def _encoder_layer(prefix: str, hidden: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        shapes |= _dense(f"{prefix}.{part}", hidden, hidden)
    shapes |= _norm(f"{prefix}.attention.output.LayerNorm", hidden)
    shapes |= _dense(f"{prefix}.intermediate.dense", hidden, 4 * hidden)
    shapes |= _dense(f"{prefix}.output.dense", 4 * hidden, hidden)
    return shapes | _norm(f"{prefix}.output.LayerNorm", hidden)


def _dense(prefix: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.weight": (outputs, inputs), f"{prefix}.bias": (outputs,)}


def _norm(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def _start(seed: str, name: str, shape: tuple[int, ...]) -> Grid:
    array = weights(seed, prod(shape)).reshape(shape)
    return array + np.int32(ONE) if name.endswith("LayerNorm.weight") else array


def _float32(array: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return array.astype(np.float32) * _UNIT


def _bfloat16(array: Grid) -> bytes:
    bits = _float32(array).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype("<u2").tobytes()


_RENDERERS: dict[str, Callable[[Grid], bytes]] = {
    "F64": lambda array: (array.astype("<f8") * 2.0**-27).astype("<f8").tobytes(),
    "F32": lambda array: _float32(array).astype("<f4").tobytes(),
    "F16": lambda array: _float32(array).astype("<f2").tobytes(),
    "BF16": _bfloat16,
}
