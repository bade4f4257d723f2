"""Subtracts one version of numbers from another and adds it back: the numpy kernel.

Floating-point numbers are first mapped to integers in the same order, so that a small step across zero or an exponent
boundary stays small. The wrapped difference is zigzag-encoded: small steps in either direction become small unsigned
integers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs.scratch import Bytes, Words, take_bytes, take_words
from ptmtorrent.store.codecs.words import join_words, split_words, stretches, words_of


@dataclass(frozen=True)
class Numbers:
    """A floating-point type: its byte in payloads, bytes per word, and the shift and mask of its exponent."""

    mark: int
    width: int
    shift: int
    mask: int


BF16 = Numbers(mark=0, width=2, shift=7, mask=0xFF)
FP16 = Numbers(mark=1, width=2, shift=10, mask=0x1F)
FP32 = Numbers(mark=2, width=4, shift=23, mask=0xFF)


def subtract(
    numbers: Numbers,
    data: Bytes,
    base: Bytes,
    planes: Sequence[Bytes],
    grouped: bool,  # noqa: FBT001  # one signature per kernel
) -> None:
    """Write the planes of `data` minus `base` to `planes`, `grouped` by the exponents of `base` or in order."""
    minuend, subtrahend = words_of(data, numbers.width), words_of(base, numbers.width)
    steps = take_words("steps", minuend.size, numbers.width)
    for stretch in stretches(steps.size):
        _subtract(minuend[stretch], subtrahend[stretch], steps[stretch])
    split_words(_group(numbers, subtrahend, steps) if grouped else steps, planes)


def add(
    numbers: Numbers,
    planes: Sequence[Bytes],
    base: Bytes,
    data: Bytes,
    grouped: bool,  # noqa: FBT001  # one signature per kernel
) -> None:
    """Write the original numbers to `data`: the inverse of `subtract`."""
    origin = words_of(base, numbers.width)
    steps = take_words("steps", origin.size, numbers.width)
    join_words(planes, steps)
    if grouped:
        steps = _ungroup(numbers, origin, steps)
    target = words_of(data, numbers.width)
    for stretch in stretches(steps.size):
        _add(steps[stretch], origin[stretch], target[stretch])


def exponents(numbers: Numbers, words: Words) -> Bytes:
    """Return the exponent field of each word; valid until the next call in this thread."""
    found = take_bytes("exponents", words.size)
    for stretch in stretches(words.size):
        part = words[stretch]
        shifted = take_words("shifted", part.size, numbers.width)
        np.right_shift(part, numbers.shift, out=shifted)
        np.bitwise_and(shifted, numbers.mask, out=shifted)
        np.copyto(found[stretch], shifted, casting="unsafe")
    return found


def _group(numbers: Numbers, base: Words, steps: Words) -> Words:
    """Return `steps` stably sorted by the exponents of `base`."""
    grouped = take_words("grouped", steps.size, numbers.width)
    for stretch, order, runs in _runs(exponents(numbers, base)):
        # mode="clip" lets numpy write without a buffer of its own; the indices are a permutation.
        own = take_words("own", order.size, numbers.width)
        np.take(steps[stretch], order, out=own, mode="clip")
        for here, there in runs:
            grouped[there] = own[here]
    return grouped


def _ungroup(numbers: Numbers, base: Words, grouped: Words) -> Words:
    """Return `grouped` in the original order: the inverse of `_group`."""
    steps = take_words("ungrouped", grouped.size, numbers.width)
    for stretch, order, runs in _runs(exponents(numbers, base)):
        own = take_words("own", order.size, numbers.width)
        for here, there in runs:
            own[here] = grouped[there]
        steps[stretch][order] = own
    return steps


def _runs(found: Bytes) -> Iterator[tuple[slice, npt.NDArray[np.intp], list[tuple[slice, slice]]]]:
    """Yield, for each stretch of a block, its stable order by `found`, and the positions of its runs in the block's.

    Sorting one stretch at a time stays within the cache of a core and takes a third of the time.
    """
    parts = list(stretches(found.size))
    counts = np.array([np.bincount(found[part], minlength=256) for part in parts]).reshape(-1, 256)
    starts = (np.cumsum(counts.T) - counts.T.ravel()).reshape(256, -1).T
    for part, sizes, places in zip(parts, counts.tolist(), starts.tolist(), strict=True):
        runs: list[tuple[slice, slice]] = []
        at = 0
        for size, place in zip(sizes, places, strict=True):
            if size:
                runs.append((slice(at, at + size), slice(place, place + size)))
                at += size
        yield part, np.argsort(found[part], kind="stable"), runs


def _subtract(data: Words, base: Words, steps: Words) -> None:
    sign = _sign_of(data)
    np.bitwise_xor(data, _flips(sign), out=steps)
    sign = _sign_of(base)
    np.bitwise_xor(base, _flips(sign), out=sign)
    np.subtract(steps, sign, out=steps)
    sign = _sign_of(steps)
    np.left_shift(steps, 1, out=steps)
    np.bitwise_xor(steps, sign, out=steps)


def _add(steps: Words, base: Words, data: Words) -> None:
    flips = _flips(_sign_of(base))
    np.bitwise_xor(base, flips, out=flips)
    # inverse zigzag: half of the step, negated if its lowest bit is set
    np.bitwise_and(steps, 1, out=data)
    np.negative(data, out=data)
    np.right_shift(steps, 1, out=steps)
    np.bitwise_xor(steps, data, out=steps)
    np.add(steps, flips, out=steps)
    np.invert(steps, out=data)
    np.bitwise_xor(steps, _flips(_sign_of(data)), out=data)


def _sign_of(words: Words) -> Words:
    """Return all ones for each word with its top bit set, else zero; valid until the next call in this thread."""
    sign = take_words("sign", words.size, words.itemsize)
    np.right_shift(_signed(words), 8 * words.itemsize - 1, out=_signed(sign))
    return sign


def _flips(sign: Words) -> Words:
    """Return the bits to flip for integers in order: all of a negative number, the sign bit of a positive one."""
    return np.bitwise_or(sign, 1 << (8 * sign.itemsize - 1), out=sign)


def _signed(words: Words) -> npt.NDArray[np.signedinteger[Any]]:
    return words.view(f"<i{words.itemsize}")
