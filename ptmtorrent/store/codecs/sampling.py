"""Decides from a sample whether a delta is worthwhile, and which; in integers, so that every machine decides alike.

The sample is 64 KiB in runs of 128 words, evenly spread: the i-th of `r` runs starts at word
`i * (words - 128) // (r - 1)` of the object; shorter objects are their own sample. `streams.cost` estimates the planes
of the plain codec, of the differences (7), and of the differences with one table per exponent of the base (8).
"""

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs import kernel, streams
from ptmtorrent.store.codecs.differences import Numbers, exponents
from ptmtorrent.store.codecs.scratch import Bytes
from ptmtorrent.store.codecs.words import words_of

SAMPLE_BYTES = 1 << 16
RUN_WORDS = 128


def is_grouping_better(data: memoryview, base: memoryview, numbers: Numbers, *, rotated: bool) -> bool | None:
    """Return whether to group the differences of `data` from `base`; None if a delta is not worthwhile.

    Both have the same length. Grouping costs time, so it must make the differences more than 2 % smaller. The better of
    both must be at least 1.2 times smaller than `data` coded by itself, split `rotated` or plain.
    """
    new, old = sample(data, numbers.width), sample(base, numbers.width)
    planes = _new_planes(new.size, numbers.width)
    kernel.chosen().split(new, planes, rotated)
    plain = _cost(planes)
    kernel.chosen().subtract(numbers, new, old, planes, False)
    own_order = _cost(planes)
    by_exponent = _cost(planes, exponents(numbers, words_of(old, numbers.width)))
    is_better = 50 * by_exponent < 49 * own_order
    if 5 * plain < 6 * (by_exponent if is_better else own_order):
        return None
    return is_better


def sample(data: memoryview, width: int) -> Bytes:
    """Return the sample of `data`, as words of `width` bytes."""
    words = np.frombuffer(data, np.uint8, len(data) - len(data) % width).view(f"<u{width}")
    runs = SAMPLE_BYTES // width // RUN_WORDS
    if words.size > runs * RUN_WORDS:
        starts = np.arange(runs, dtype=np.int64) * (words.size - RUN_WORDS) // (runs - 1)
        words = words[starts[:, None] + np.arange(RUN_WORDS)].reshape(-1)
    return words.view(np.uint8)


def _new_planes(size: int, width: int) -> list[Bytes]:
    return list(np.empty((width, size // width), np.uint8))


def _cost(planes: list[Bytes], rows: Bytes | None = None) -> int:
    return sum(streams.cost(_counts(plane, rows)) for plane in planes)


def _counts(plane: Bytes, rows: Bytes | None) -> npt.NDArray[np.int64]:
    """Return the counts of byte values, in one row, or in one row per value of `rows`."""
    if rows is None:
        return np.bincount(plane, minlength=256).reshape(1, 256).astype(np.int64, copy=False)
    joint = np.bincount(rows.astype(np.int64) << 8 | plane, minlength=1 << 16).reshape(256, 256)
    return joint[joint.any(axis=1)].astype(np.int64, copy=False)
