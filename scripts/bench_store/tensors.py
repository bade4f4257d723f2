"""The numbers of the sets: twelve transformer blocks and an embedding, drawn as trained weights are distributed.

Draws are float64 rounded to float32, so that the last bit of a mathematical library does not show in the bytes.
Seven is the seed of the base and of what continues it; a fine-tune's seed is its noise in millionths.
"""

from collections.abc import Iterator

import numpy as np

from bench_store.scales import Scale

BLOCKS = 12
SEED = 7

Array = np.ndarray
Named = dict[str, Array]
Shapes = dict[str, tuple[int, ...]]


def shapes_of(scale: Scale) -> Shapes:
    """Return the tensors in the order in which they are drawn."""
    hidden = scale.hidden
    square = (hidden, hidden)
    block = {
        "q": square,
        "k": square,
        "v": square,
        "o": square,
        "up": (2 * hidden, hidden),
        "down": (hidden, 2 * hidden),
    }
    shapes: Shapes = {"embed.weight": (scale.vocabulary, hidden)}
    for number in range(BLOCKS):
        shapes |= {f"layers.{number:02d}.{name}.weight": shape for name, shape in block.items()}
        shapes[f"layers.{number:02d}.norm.weight"] = (hidden,)
    return shapes


class Weights:
    """The base model in float32, and what is made of it."""

    def __init__(self, scale: Scale) -> None:
        self._random = np.random.Generator(np.random.PCG64(SEED))
        self._scales: dict[str, float] = {}
        self.base: Named = {name: self._draw(name, shape) for name, shape in shapes_of(scale).items()}

    def fine_tuned(self, noise: float) -> Iterator[tuple[str, Array]]:
        """Yield all tensors with `noise` (a share of each tensor's scale) added."""
        random = np.random.Generator(np.random.PCG64(round(noise * 1e6)))
        for name, values in self.base.items():
            yield name, values + normal(random, values.shape) * np.float32(noise * self._scale(name))

    def last_layers_tuned(self) -> Iterator[tuple[str, Array]]:
        """Yield all tensors; those of the last two blocks with noise of 2 % of their scale. Call it once."""
        for name, values in self.base.items():
            if name.startswith(("layers.10", "layers.11")):
                yield name, values + normal(self._random, values.shape) * np.float32(0.02 * self._scale(name))
            else:
                yield name, values

    def redrawn(self, name: str) -> Array:
        """Return the values of the tensor `name` as another training would have left them."""
        random = np.random.Generator(np.random.PCG64(SEED + 1))
        return normal(random, self.base[name].shape) * np.float32(self._scale(name))

    def _scale(self, name: str) -> float:
        return self._scales.get(name, 0.1)

    def _draw(self, name: str, shape: tuple[int, ...]) -> Array:
        if "norm" in name:
            return np.float32(1) + np.float32(0.1) * normal(self._random, shape)
        self._scales[name] = 0.02 * float(np.exp(self._random.normal(0, 0.35)))
        rows = np.exp(self._random.normal(0, 0.15, size=(shape[0], 1))).astype(np.float32)
        return normal(self._random, shape) * (np.float32(self._scales[name]) * rows)


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return float32 numbers of N(0, 1)."""
    return random.standard_normal(shape).astype(np.float32)


def to_bf16(values: Array) -> Array:
    """Return float32 `values` as bf16 words, rounded to nearest even."""
    words = np.ascontiguousarray(values).view(np.uint32)
    rounded = words + np.uint32(0x7FFF) + ((words >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def from_bf16(words: Array) -> Array:
    """Return bf16 words as float32."""
    return (words.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_int8(values: Array) -> Array:
    """Return a matrix with each row's largest magnitude at 127."""
    largest = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    return np.clip(np.rint(values / largest), -127, 127).astype(np.int8)
