"""Tells whether bytes are worth coding, from a sample and in integers, so that every machine says the same.

The sample is every ceil(length / 16384)-th byte. With counts `c` of the byte values, `n` their sum and
`L(x) = floor(256 * log2(x))`, it looks random when `n * L(n) - sum(c * L(c)) > 7.9 * 256 * n`.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

SAMPLE_BYTES = 16384
_FRACTION_BITS = 8
_LIMIT_TENTHS = 79
"""7.9 bits, in tenths of a bit."""

Bytes = npt.NDArray[np.uint8]


def looks_random(data: memoryview | Bytes) -> bool:
    """Tell whether a sample of `data` has more than 7.9 bits of order-0 entropy a byte."""
    every = np.asarray(data, dtype=np.uint8)
    if not every.size:
        return False
    sample = every[:: -(-every.size // SAMPLE_BYTES)]
    counts = np.bincount(sample, minlength=256)
    logs = _logarithms()
    size = int(sample.size)
    surprise = size * int(logs[size]) - int(counts @ logs[counts])
    return 10 * surprise > _LIMIT_TENTHS * (size << _FRACTION_BITS)


@cache
def _logarithms() -> npt.NDArray[np.int64]:
    """Return floor(256 * log2(x)) for x from 0 (taken as 0) to the sample size, by repeated squaring of integers."""
    numbers = np.maximum(np.arange(SAMPLE_BYTES + 1, dtype=np.uint64), 1)
    whole = np.zeros(numbers.size, dtype=np.int64)
    for bit in range(1, SAMPLE_BYTES.bit_length()):
        whole += numbers >= np.uint64(1 << bit)
    mantissa = numbers << (31 - whole).astype(np.uint64)
    result = whole
    for _ in range(_FRACTION_BITS):
        mantissa = (mantissa * mantissa) >> np.uint64(31)
        carry = mantissa >> np.uint64(32)
        mantissa >>= carry
        result = 2 * result + carry.astype(np.int64)
    return result
