"""Decides from a sample whether bytes are worth coding, in integers, so that every machine decides alike.

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
"""Largest number in the table of logarithms."""

_FRACTION_BITS = 8
_LIMIT_TENTHS = 79
"""7.9 bits, in tenths of a bit."""

_BYTE_COST = 8 << _FRACTION_BITS
_SYMBOL_COST = 185
"""Correction per additional value in use, log2(e) / 2 bits: a sample underestimates entropy by it (Miller 1955)."""


def looks_random(data: memoryview | Bytes) -> bool:
    """Return whether a sample of `data` has more than 7.9 bits of order-0 entropy per byte."""
    every = np.asarray(data, dtype=np.uint8)
    if not every.size:
        return False
    counts = kernel.chosen().count(every, -(-every.size // SAMPLE_BYTES))
    logs = _logarithms()
    size = -(-every.size // -(-every.size // SAMPLE_BYTES))
    surprise = size * int(logs[size]) - int(counts @ logs[counts])
    return 10 * surprise > _LIMIT_TENTHS * (size << _FRACTION_BITS)


def cost(counts: npt.NDArray[np.int64]) -> int:
    """Return the cost of coding bytes with these counts, in 1/256 bits; each row of 256 counts has its own table.

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
