"""Generates weights as integers: the same bytes on every machine, independent of libm and of the version of numpy.

Random words come from splitmix64 (Steele, Lea and Flood, OOPSLA 2014), which needs only 64-bit integers. The sum of the
four 16-bit quarters of a word is distributed like a bell curve. A weight is such a sum in units of 2^-27, so that every
conversion to a float format is one correctly rounded IEEE step.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Grid = NDArray[np.int32]
"""Weights in units of 2^-27, with a standard deviation of 0.018, about that of a trained layer."""

ONE: int = 1 << 27
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_QUARTER = np.uint64(0xFFFF)
_FOUR_MEANS = 4 * 0xFFFF // 2


def words(seed: str, count: int) -> Words:
    """Return `count` random 64-bit words that depend only on `seed`."""
    start = np.uint64(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little"))
    mixed = np.arange(1, count + 1, dtype=np.uint64) * _STEP + start
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX2
    return mixed ^ (mixed >> np.uint64(31))


def bells(seed: str, count: int) -> Grid:
    """Return `count` integers, bell-shaped around 0: absolute value at most 131,070, standard deviation 37,837."""
    raw = words(seed, count)
    total = sum((raw >> np.uint64(shift)) & _QUARTER for shift in (0, 16, 32, 48))
    return np.asarray(total, dtype=np.int64).astype(np.int32) - np.int32(_FOUR_MEANS)


def weights(seed: str, count: int) -> Grid:
    """Return `count` weights on the grid, with noise down to the last bit of a 32-bit float."""
    low = (words(f"{seed}/low", count) & np.uint64(63)).astype(np.int32)
    return (bells(seed, count) << 6) + low
