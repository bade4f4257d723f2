"""Decides from a sample of a block whether its bytes are words of 2, 4 or 8 bytes, and which; in integers.

For bytes whose file says nothing of them. The sample is 64 runs of 128 bytes, evenly spread over the block. Its bytes
are counted by their position modulo 8, which gives what each width costs when each byte of a word has a table of its
own; where a word begins makes no difference to that. Words of 2 and 4 bytes may also be bf16 or fp32 numbers, which
cost less with the sign rotated away from the exponent. That needs the byte of the exponent beside that of the mantissa:
before it in a little-endian word, behind it in a big-endian one, which is a little-endian word that begins elsewhere.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs import streams
from ptmtorrent.store.codecs.scratch import Bytes

MIN_BYTES = 1 << 14
"""Shorter blocks (the last of an object) are bytes."""

RUNS = 64
RUN_BYTES = 128
_POSITIONS = 8
_WIDTHS = (2, 4, 8)
_AT = np.arange(RUN_BYTES, dtype=np.int64) % _POSITIONS << 8


class Kind(NamedTuple):
    """What a block is taken for: little-endian words of `width` bytes from byte `phase` on; a `width` of 1 is bytes.

    Words are `rotated` as bf16 and fp32 numbers are.
    """

    width: int
    rotated: bool = False
    phase: int = 0


_ROTATED = {width: [Kind(width, True, phase) for phase in range(width)] for width in (2, 4)}
KINDS = (Kind(1), *map(Kind, _WIDTHS), *_ROTATED[2], *_ROTATED[4])
"""The kinds of blocks; the number of a kind is part of the format."""


def kind_of(block: Bytes) -> Kind:
    """Return what to take a block for: words only if these cost at least 2 % less than bytes."""
    if block.size < MIN_BYTES:
        return KINDS[0]
    runs = _sample(block).view(np.uint8)
    counts = np.bincount((_AT | runs).reshape(-1), minlength=_POSITIONS << 8).reshape(_POSITIONS, 256)
    rows = [counts.reshape(-1, width, 256).sum(axis=0) for width in (1, *_WIDTHS)]
    costs = streams.costs(np.concatenate(rows).astype(np.int64, copy=False))
    width, least = 1, int(costs[0]) * 49 // 50
    for wider in _WIDTHS:
        cost = int(costs[wider - 1 : 2 * wider - 1].sum())
        if cost < least:
            width, least = wider, cost * 127 // 128
    return _with_rotation(runs, width, costs[width - 1 : 2 * width - 1]) if width in _ROTATED else Kind(width)


def repeats(block: Bytes) -> bool:
    """Return whether at least one in 64 groups of 8 bytes of the sample is there more than once."""
    if block.size < MIN_BYTES:
        return True
    groups = np.sort(_sample(block), axis=None)
    return 64 * int(np.count_nonzero(groups[1:] == groups[:-1])) >= groups.size


def _with_rotation(runs: Bytes, width: int, costs: npt.NDArray[np.int64]) -> Kind:
    """Return the rotated words that cost least, if that is at least 1/256 less than words as they are."""
    half_bit = runs.size // width << 7
    exponent = min(((int(cost), at) for at, cost in enumerate(costs) if cost > half_bit), default=(0, 0))[1]
    best, most = Kind(width), 0
    for top in (exponent, (exponent + 1) % width):
        phase = (top + 1) % width
        words = runs[:, phase : RUN_BYTES - width + phase].reshape(-1, width)
        upper, lower = words[:, -1], words[:, -2]
        planes = np.stack((upper, lower, upper << 1 | lower >> 7, lower << 1 | upper >> 7))
        counts = np.bincount((_AT[:4, None] | planes).reshape(-1), minlength=4 << 8).reshape(4, 256)
        before, after = streams.costs(counts.astype(np.int64, copy=False)).reshape(2, 2).sum(axis=1).tolist()
        if before - after > max(most, before >> 8):
            best, most = Kind(width, True, phase), before - after
    return best


def _sample(block: Bytes) -> npt.NDArray[np.uint64]:
    """Return the runs of the sample as groups of 8 bytes, each run beginning at a multiple of 8 bytes of `block`."""
    groups = block[: block.size - block.size % _POSITIONS].view("<u8")
    many = RUN_BYTES // _POSITIONS
    starts = np.arange(RUNS, dtype=np.int64) * (groups.size - many) // (RUNS - 1)
    chosen: npt.NDArray[np.uint64] = groups[starts[:, None] + np.arange(many)]
    return chosen
