"""Splits numbers into byte planes and joins them again, most significant plane first: the numpy kernel.

Words are little-endian. "Rotated" moves the sign of the upper 16 bits to their low end, so that the first plane is just
the exponent of a bf16 or fp32 number, and the second its sign and upper mantissa.

Narrowing casts and shifts run at memory speed in numpy, strided copies do not: words are halved until bytes are left.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs.scratch import Bytes, Words, take_bytes, take_words

STRETCH_WORDS = 1 << 17
"""Words processed at a time, so that intermediate results stay in the cache of a core."""

MAX_COUNT = 32768
"""Largest number in the table of logarithms."""

FRACTION_BITS = 8


def split(block: Bytes, planes: Sequence[Bytes], rotated: bool) -> None:  # noqa: FBT001  # one signature per kernel
    """Write the planes of `block` to `planes`; each plane has one byte per word."""
    split_words(words_of(block, len(planes)), planes, rotated=rotated)


def join(planes: Sequence[Bytes], block: Bytes, rotated: bool) -> None:  # noqa: FBT001  # one signature per kernel
    """Write the words to `block`: the inverse of `split`."""
    join_words(planes, words_of(block, len(planes)), rotated=rotated)


def count(data: Bytes, step: int) -> npt.NDArray[np.int64]:
    """Return the counts of byte values among every `step`-th byte."""
    return np.bincount(data[::step], minlength=256).astype(np.int64, copy=False)


def words_of(block: Bytes, width: int) -> Words:
    """Return a view of `block` as words of `width` bytes."""
    return block.view(f"<u{width}")


def split_words(words: Words, planes: Sequence[Bytes], *, rotated: bool = False) -> None:
    """Write the planes of `words` to `planes`."""
    for stretch in stretches(words.size):
        _split(words[stretch], [plane[stretch] for plane in planes], rotated=rotated)


def join_words(planes: Sequence[Bytes], words: Words, *, rotated: bool = False) -> None:
    """Write the words to `words`: the inverse of `split_words`."""
    for stretch in stretches(words.size):
        _join([plane[stretch] for plane in planes], words[stretch], rotated=rotated)


def stretches(size: int) -> Iterator[slice]:
    """Yield slices that cover `size` words in order."""
    for start in range(0, size, STRETCH_WORDS):
        yield slice(start, min(start + STRETCH_WORDS, size))


def _split(words: Words, planes: Sequence[Bytes], *, rotated: bool) -> None:
    width = len(planes)
    if width == 2 and rotated:
        _split_rotated(words, *planes)
        return
    upper = take_words(f"split {width}", words.size, width)
    np.right_shift(words, 4 * width, out=upper)
    if width == 2:
        np.copyto(planes[0], upper, casting="unsafe")
        np.copyto(planes[1], words, casting="unsafe")
        return
    half = take_words(f"half {width}", words.size, width // 2)
    np.copyto(half, upper, casting="unsafe")
    _split(half, planes[: width // 2], rotated=rotated)
    np.copyto(half, words, casting="unsafe")
    _split(half, planes[width // 2 :], rotated=False)


def _join(planes: Sequence[Bytes], words: Words, *, rotated: bool) -> None:
    width = len(planes)
    lower = take_words(f"lower {width}", words.size, width)
    if width == 2:
        np.copyto(words, planes[0])
        np.copyto(lower, planes[1])
    else:
        half = take_words(f"half {width}", words.size, width // 2)
        _join(planes[: width // 2], half, rotated=rotated)
        np.copyto(words, half)
        _join(planes[width // 2 :], half, rotated=False)
        np.copyto(lower, half)
    np.left_shift(words, 4 * width, out=words)
    np.bitwise_or(words, lower, out=words)
    if width == 2 and rotated:
        np.left_shift(words, 15, out=lower)
        np.right_shift(words, 1, out=words)
        np.bitwise_or(words, lower, out=words)


def _split_rotated(words: Words, exponent: Bytes, rest: Bytes) -> None:
    shifted = take_words("shifted", words.size, 2)
    np.right_shift(words, 7, out=shifted)
    np.copyto(exponent, shifted, casting="unsafe")
    np.copyto(rest, words, casting="unsafe")
    np.add(rest, rest, out=rest)
    sign = take_bytes("sign", words.size)
    np.greater(words, 0x7FFF, out=sign.view(np.bool_))
    np.bitwise_or(rest, sign, out=rest)


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
