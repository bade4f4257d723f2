"""Tells whether bytes are worth coding, from a sample and in integers, so that every machine says the same.

The sample is every ceil(length / 16384)-th byte. With counts `c` of the byte values, `n` their sum and
`L(x) = floor(256 * log2(x))`, it looks random when `n * L(n) - sum(c * L(c)) > 7.9 * 256 * n`.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs import kernel
from ptmtorrent.store.codecs.scratch import Bytes

SAMPLE_BYTES = 16384
MAX_COUNT = 32768
"""The largest number whose logarithm is in the table."""

_FRACTION_BITS = 8
_LIMIT_TENTHS = 79
"""7.9 bits, in tenths of a bit."""

_BYTE_COST = 8 << _FRACTION_BITS
_SYMBOL_COST = 185
"""What each further value in use adds: log2(e) / 2 bits, by which a sample makes entropy look smaller (Miller 1955)."""


def looks_random(data: memoryview | Bytes) -> bool:
    """Tell whether a sample of `data` has more than 7.9 bits of order-0 entropy a byte."""
    every = np.asarray(data, dtype=np.uint8)
    if not every.size:
        return False
    counts = kernel.chosen().count(every, -(-every.size // SAMPLE_BYTES))
    logs = _logarithms()
    size = -(-every.size // -(-every.size // SAMPLE_BYTES))
    surprise = size * int(logs[size]) - int(counts @ logs[counts])
    return 10 * surprise > _LIMIT_TENTHS * (size << _FRACTION_BITS)


def cost(counts: npt.NDArray[np.int64]) -> int:
    """Return what coding the counted bytes takes, in 1/256 bits: one row of 256 counts for each table of its own.

    For a row with counts `c` of `k` values and `n` their sum, at most 32768, it is
    `min(n * L(n) - sum(c * L(c)) + 185 * (k - 1), 8 * 256 * n)`.
    """
    logs = _logarithms()
    sizes = counts.sum(axis=1)
    used = np.count_nonzero(counts, axis=1)
    costs = sizes * logs[sizes] - (counts * logs[counts]).sum(axis=1) + _SYMBOL_COST * np.maximum(used - 1, 0)
    return int(np.minimum(costs, _BYTE_COST * sizes).sum())


@cache
def _logarithms() -> npt.NDArray[np.int64]:
    """Return floor(256 * log2(x)) for x from 0 (taken as 0) to `MAX_COUNT`, by repeated squaring of integers."""
    numbers = np.maximum(np.arange(MAX_COUNT + 1, dtype=np.uint64), 1)
    whole = np.zeros(numbers.size, dtype=np.int64)
    for bit in range(1, MAX_COUNT.bit_length()):
        whole += numbers >= np.uint64(1 << bit)
    mantissa = numbers << (31 - whole).astype(np.uint64)
    result = whole
    for _ in range(_FRACTION_BITS):
        mantissa = (mantissa * mantissa) >> np.uint64(31)
        carry = mantissa >> np.uint64(32)
        mantissa >>= carry
        result = 2 * result + carry.astype(np.int64)
    return result
