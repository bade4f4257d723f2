"""Logarithms of integers in integers, so that every machine finds the same."""

from functools import cache

import numpy as np
import numpy.typing as npt

MAX_COUNT = 32768
"""Largest number in the table of logarithms."""

FRACTION_BITS = 8


@cache
def logarithms() -> npt.NDArray[np.int64]:
    """Return floor(256 * log2(x)) for x from 0 (taken as 0) to `MAX_COUNT`, by repeated squaring of integers."""
    numbers = np.maximum(np.arange(MAX_COUNT + 1, dtype=np.uint64), 1)
    whole = np.zeros(numbers.size, dtype=np.int64)
    for bit in range(1, MAX_COUNT.bit_length()):
        whole += numbers >= np.uint64(1 << bit)
    mantissa = numbers << (31 - whole).astype(np.uint64)
    result = whole
    for _ in range(FRACTION_BITS):
        mantissa = (mantissa * mantissa) >> np.uint64(31)
        carry = mantissa >> np.uint64(32)
        mantissa >>= carry
        result = 2 * result + carry.astype(np.int64)
    return result
