"""Chooses the kernel: the native library if it was built, else numpy. Both write the same bytes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptmtorrent.config import requested_kernel
from ptmtorrent.store.codecs import differences, native, words
from ptmtorrent.store.codecs.differences import Numbers
from ptmtorrent.store.codecs.scratch import Bytes, hold_freed_memory


@dataclass(frozen=True)
class Kernel:
    """The five inner loops. All arrays are contiguous bytes; a plane has one byte per word of its block."""

    name: str
    split: Callable[[Bytes, Sequence[Bytes], bool], None]
    join: Callable[[Sequence[Bytes], Bytes, bool], None]
    subtract: Callable[[Numbers, Bytes, Bytes, Sequence[Bytes], bool], None]
    add: Callable[[Numbers, Sequence[Bytes], Bytes, Bytes, bool], None]
    count: Callable[[Bytes, int], npt.NDArray[np.int64]]


NUMPY = Kernel(
    name="numpy",
    split=words.split,
    join=words.join,
    subtract=differences.subtract,
    add=differences.add,
    count=words.count,
)


_PROBE_WORDS = 257
"""Words of the self-test at start-up: enough for whole vectors and a remainder."""


@cache
def chosen() -> Kernel:
    """Return the kernel in use: native, unless `PTMTORRENT_KERNEL=numpy` is set or it fails the self-test."""
    hold_freed_memory()
    if requested_kernel() == NUMPY.name:
        return NUMPY
    return load_native() or NUMPY


def load_native(path: Path = native.LIBRARY) -> Kernel | None:
    """Return the kernel of the library at `path`; None if it cannot be loaded or its results differ from numpy's."""
    loops = native.load(path)
    if loops is None:
        return None
    found = Kernel(
        name="native",
        split=loops.split,
        join=loops.join,
        subtract=loops.subtract,
        add=loops.add,
        count=loops.count,
    )
    return found if _matches_numpy(found) else None


def _matches_numpy(other: Kernel) -> bool:
    return all(np.array_equal(expected, found) for expected, found in zip(_probe(NUMPY), _probe(other), strict=True))


def _probe(kernel: Kernel) -> Iterator[npt.NDArray[np.integer[Any]]]:
    """Yield the result of each loop for varied bytes."""
    for width, rotated in ((2, False), (2, True), (4, False), (4, True), (8, False)):
        data = (np.arange(_PROBE_WORDS * width) * 167 % 251).astype(np.uint8)
        planes = np.empty((width, _PROBE_WORDS), np.uint8)
        block = np.empty_like(data)
        kernel.split(data, list(planes), rotated)
        yield planes
        kernel.join(list(planes), block, rotated)
        yield block
        yield kernel.count(data, width)
    for numbers in (differences.BF16, differences.FP16, differences.FP32):
        yield from _probe_delta(kernel, numbers)


def _probe_delta(kernel: Kernel, numbers: Numbers) -> Iterator[Bytes]:
    data, base = ((np.arange(_PROBE_WORDS * numbers.width) * prime % 253).astype(np.uint8) for prime in (151, 157))
    for grouped in (False, True):
        planes = np.empty((numbers.width, _PROBE_WORDS), np.uint8)
        block = np.empty_like(data)
        kernel.subtract(numbers, data, base, list(planes), grouped)
        yield planes
        kernel.add(numbers, list(planes), base, block, grouped)
        yield block
