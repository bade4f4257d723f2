"""Blocks of quantised numbers: made of integers for golden files, quantised as ggml does, or of any bytes."""

import numpy as np

from tests.store.vectors import small_numbers, weights

GOLDEN_BLOCKS = 37


def golden_blocks() -> bytes:
    """`GOLDEN_BLOCKS` blocks of Q8_0 and the beginning of one more; integers alone make them, the same everywhere."""
    scales, codes = weights("F16"), small_numbers()
    whole = (scales[2 * row : 2 * row + 2] + codes[32 * row : 32 * row + 32] for row in range(GOLDEN_BLOCKS))
    return b"".join(whole) + b"tail!"


def quantised(dtype: str, count: int, seed: int = 1) -> bytes:
    """`count` blocks of normally distributed weights, by the reference rule of `Q4_0` or `Q8_0`."""
    draws = np.random.default_rng(seed)
    numbers = draws.standard_normal((count, 32)) * np.exp(draws.normal(-4, 0.3, (count, 1)))
    largest = np.take_along_axis(numbers, np.abs(numbers).argmax(1, keepdims=True), 1)
    if dtype == "Q8_0":
        scale = np.abs(largest) / 127
        codes = np.rint(numbers / scale).astype(np.int8).view(np.uint8)
    else:
        scale = largest / -8
        nibbles = np.minimum(numbers / scale + 8.5, 15).astype(np.uint8)
        codes = nibbles[:, :16] | nibbles[:, 16:] << 4
    return np.concatenate([scale.astype("<f2").view(np.uint8), codes], axis=1).tobytes()
