"""The codecs' inner loops: in C (kernel.c) if that library was built, else in numpy. Both write the same bytes.

The library is called through ctypes, which releases the GIL during the call. It does not check sizes: every array is
checked here before its address is passed.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ptmtorrent.config import requested_kernel
from ptmtorrent.store.codecs import differences, grouping, quantised, words
from ptmtorrent.store.codecs.differences import Numbers
from ptmtorrent.store.codecs.grouping import Classes, Counts
from ptmtorrent.store.codecs.quantised import Codes, Kind
from ptmtorrent.store.codecs.scratch import Bytes, take_bytes

ABI = 2
"""The ABI number of kernel.c; a library with another number is from another version."""

LIBRARY = Path(__file__).with_name("kernel.native")

_POINTER = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_NUMBER = ctypes.c_uint32
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "ptm_split": (_POINTER, _POINTER, _SIZE, _NUMBER, _NUMBER),
    "ptm_join": (_POINTER, _POINTER, _SIZE, _NUMBER, _NUMBER),
    "ptm_subtract": (_POINTER, _POINTER, _POINTER, _SIZE, _NUMBER, _NUMBER, _NUMBER, _NUMBER),
    "ptm_add": (_POINTER, _POINTER, _POINTER, _SIZE, _NUMBER, _NUMBER, _NUMBER, _NUMBER),
    "ptm_count": (_POINTER, _SIZE, _SIZE, _POINTER),
    "ptm_unpack": (_NUMBER, _POINTER, _POINTER, _SIZE),
    "ptm_pack": (_NUMBER, _POINTER, _POINTER, _SIZE),
    "ptm_tally": (_POINTER, _SIZE, _SIZE, _POINTER, _SIZE, _SIZE, _NUMBER, _NUMBER, _NUMBER, _POINTER, _POINTER),
    "ptm_sort": (
        *(_POINTER, _POINTER, _POINTER, _SIZE, _SIZE, _POINTER, _SIZE, _SIZE),
        *(_NUMBER, _NUMBER, _NUMBER, _POINTER, _POINTER, _NUMBER),
    ),
}


def load_loops(path: Path = LIBRARY) -> "Loops | None":
    """Return the inner loops of the library at `path`; None if it is missing or unusable."""
    if sys.byteorder != "little":
        return None
    try:
        library = ctypes.CDLL(str(path))
        library.ptm_kernel_abi.restype = _NUMBER
        if library.ptm_kernel_abi() != ABI:
            return None
        for name, arguments in _SIGNATURES.items():
            getattr(library, name).argtypes = arguments
    except (OSError, AttributeError):
        return None
    return Loops(library)


@dataclass(frozen=True)
class Loops:
    """The functions of a loaded library, with the signatures of `Kernel`."""

    library: ctypes.CDLL

    def split(self, block: Bytes, planes: Sequence[Bytes], rotated: bool) -> None:  # noqa: FBT001  # as in words.py
        """See `words.split`."""
        words = _check(planes, block)
        into = _addresses(planes, writable=True)
        _check_status(self.library.ptm_split(_address(block), into, words, len(planes), rotated))

    def join(self, planes: Sequence[Bytes], block: Bytes, rotated: bool) -> None:  # noqa: FBT001  # as in words.py
        """See `words.join`."""
        words = _check(planes, block)
        into = _address(block, writable=True)
        _check_status(self.library.ptm_join(_addresses(planes), into, words, len(planes), rotated))

    def subtract(
        self,
        numbers: Numbers,
        data: Bytes,
        base: Bytes,
        planes: Sequence[Bytes],
        grouped: bool,  # noqa: FBT001  # as in differences.py
    ) -> None:
        """See `differences.subtract`."""
        words = _check(planes, data, base)
        into = _addresses(planes, writable=True)
        field = (len(planes), numbers.shift, numbers.mask, grouped)
        _check_status(self.library.ptm_subtract(_address(data), _address(base), into, words, *field))

    def add(
        self,
        numbers: Numbers,
        planes: Sequence[Bytes],
        base: Bytes,
        data: Bytes,
        grouped: bool,  # noqa: FBT001  # as in differences.py
    ) -> None:
        """See `differences.add`."""
        words = _check(planes, data, base)
        into = _address(data, writable=True)
        field = (len(planes), numbers.shift, numbers.mask, grouped)
        _check_status(self.library.ptm_add(_addresses(planes), _address(base), into, words, *field))

    def count(self, data: Bytes, step: int) -> npt.NDArray[np.int64]:
        """See `words.count`."""
        counts = np.empty(256, np.int64)
        if data.ndim != 1 or step < 1:
            raise ValueError("the kernel function count needs a one-dimensional array and a positive step")
        _check_status(self.library.ptm_count(_address(data), data.size, step, counts.ctypes.data))
        return counts

    def unpack(self, kind: Kind, segment: Bytes, symbols: Bytes) -> None:
        """See `quantised.unpack`."""
        blocks = _check_blocks(kind, segment, symbols)
        into = _address(symbols, writable=True)
        _check_status(self.library.ptm_unpack(kind.mark, _address(segment), into, blocks))

    def pack(self, kind: Kind, symbols: Bytes, segment: Bytes) -> None:
        """See `quantised.pack`."""
        blocks = _check_blocks(kind, segment, symbols)
        into = _address(segment, writable=True)
        _check_status(self.library.ptm_pack(kind.mark, _address(symbols), into, blocks))

    def tally(self, codes: Codes, classes: Classes, width: int, first: int) -> Counts:
        """See `grouping.tally`."""
        counts = np.zeros(classes.slots, np.int64)
        plan = _plan(codes, classes, width * codes.size, first)
        _check_status(self.library.ptm_tally(*plan, counts.ctypes.data))
        return counts

    def sort(  # noqa: PLR0913, PLR0917  # as in grouping.py
        self, symbols: Bytes, codes: Codes, classes: Classes, first: int, counts: Counts, into: Bytes
    ) -> None:
        """See `grouping.sort`."""
        self._sort(symbols, into, _plan(codes, classes, symbols.size, first), counts, back=False)

    def unsort(  # noqa: PLR0913, PLR0917  # as in grouping.py
        self, grouped: Bytes, codes: Codes, classes: Classes, first: int, counts: Counts, into: Bytes
    ) -> None:
        """See `grouping.unsort`."""
        self._sort(grouped, into, _plan(codes, classes, into.size, first), counts, back=True)

    def _sort(self, symbols: Bytes, into: Bytes, plan: tuple[int, ...], counts: Counts, *, back: bool) -> None:
        if symbols.size != into.size or int(counts.sum()) != into.size or counts.size != plan[-2]:
            raise ValueError("the sizes of a kernel's symbols and codes do not match")
        starts = np.cumsum(counts) - counts
        addresses = (_address(symbols), _address(into, writable=True))
        _check_status(self.library.ptm_sort(*addresses, *plan, starts.ctypes.data, int(back)))


def _plan(codes: Codes, classes: Classes, size: int, first: int) -> tuple[int, ...]:
    """Return the arguments by which a kernel function finds the classes of `size` symbols, after checking them."""
    width = size // max(codes.size, 1)
    if codes.dtype != np.int32 or not codes.flags.c_contiguous or size != width * codes.size:
        raise ValueError("a kernel needs contiguous codes of 32 bits, and groups of equal width")
    if width and classes.columns.size % width:
        raise ValueError("a kernel needs columns of whole groups")
    period = classes.columns.size // max(width, 1)
    keys = take_bytes("keys", 4 * (period * grouping.LEVELS + codes.size)) if period else take_bytes("keys", 4)
    columns = (_address(classes.columns), period, first % max(period, 1))
    numbers = (classes.shift, classes.low, classes.slots, _address(keys, writable=True))
    return (codes.ctypes.data, codes.size, width, *columns, *numbers)


def _check_blocks(kind: Kind, segment: Bytes, symbols: Bytes) -> int:
    """Return the number of blocks, after checking the length of both arrays."""
    blocks = segment.size // kind.layout.block
    if segment.size != blocks * kind.layout.block or symbols.size != blocks * kind.symbols:
        raise ValueError("the sizes of a kernel's blocks and symbols do not match")
    return blocks


def _check(planes: Sequence[Bytes], *blocks: Bytes) -> int:
    """Return the number of words, after checking the length of every array."""
    words = planes[0].size
    if any(plane.size != words for plane in planes) or any(block.size != words * len(planes) for block in blocks):
        raise ValueError("the sizes of a kernel's planes and blocks do not match")
    return words


def _addresses(planes: Sequence[Bytes], *, writable: bool = False) -> ctypes.Array[ctypes.c_void_p]:
    return (_POINTER * len(planes))(*(_address(plane, writable=writable) for plane in planes))


def _address(array: Bytes, *, writable: bool = False) -> int:
    flags = array.flags
    if array.dtype != np.uint8 or not flags.c_contiguous or (writable and not flags.writeable):
        raise ValueError("a kernel needs contiguous bytes, writable where it writes")
    return array.ctypes.data


def _check_status(status: int) -> None:
    if status:
        raise ValueError("a kernel function does not support these arguments")


@dataclass(frozen=True)
class Kernel:
    """The inner loops. All arrays are contiguous bytes; a plane has one byte per word of its block."""

    name: str
    split: Callable[[Bytes, Sequence[Bytes], bool], None]
    join: Callable[[Sequence[Bytes], Bytes, bool], None]
    subtract: Callable[[Numbers, Bytes, Bytes, Sequence[Bytes], bool], None]
    add: Callable[[Numbers, Sequence[Bytes], Bytes, Bytes, bool], None]
    count: Callable[[Bytes, int], npt.NDArray[np.int64]]
    unpack: Callable[[Kind, Bytes, Bytes], None]
    pack: Callable[[Kind, Bytes, Bytes], None]
    tally: Callable[[Codes, Classes, int, int], Counts]
    sort: Callable[[Bytes, Codes, Classes, int, Counts, Bytes], None]
    unsort: Callable[[Bytes, Codes, Classes, int, Counts, Bytes], None]


NUMPY = Kernel(
    name="numpy",
    split=words.split,
    join=words.join,
    subtract=differences.subtract,
    add=differences.add,
    count=words.count,
    unpack=quantised.unpack,
    pack=quantised.pack,
    tally=grouping.tally,
    sort=grouping.sort,
    unsort=grouping.unsort,
)


_HELD_BYTES = 17 << 20
"""Slightly more than the largest object that a file is cut into (16 MiB)."""

_PROBE_WORDS = 257
"""Words of the self-test at start-up: enough for whole vectors and a remainder."""

PROBE_HASH = "117194831c41b593462ca31092a47b42b4c3bbb651c33ed632e40d6a24fdf51b"
"""The hash of the self-test's results with numpy."""

SCALED_PROBE_HASH = "d61d6e6b786c1949a00ca482761d93c7d3041cbc8569a217b495516dc0bd98da"
"""The hash of the results of the self-test of the loops for scaled numbers."""


@cache
def chosen() -> Kernel:
    """Return the kernel in use: native, unless `PTMTORRENT_KERNEL=numpy` is set or it fails the self-test."""
    _hold_freed_memory()
    if requested_kernel() == NUMPY.name:
        return NUMPY
    return load_native() or NUMPY


def _hold_freed_memory() -> None:
    """Make the allocator keep freed memory up to an object's size, instead of returning it to the system.

    glibc maps every allocation above a threshold separately; the threshold is 128 KiB at first and rises to the size of
    the largest such block that is freed (mallopt(3), M_MMAP_THRESHOLD). Freeing one large block that is never touched
    saves the page faults, a third of the coding time. Other allocators are not affected.
    """
    np.empty(_HELD_BYTES, np.uint8)


def load_native(path: Path = LIBRARY) -> Kernel | None:
    """Return the kernel of the library at `path`; None if it cannot be loaded or fails the self-test."""
    loops = load_loops(path)
    if loops is None:
        return None
    found = Kernel(
        name="native",
        split=loops.split,
        join=loops.join,
        subtract=loops.subtract,
        add=loops.add,
        count=loops.count,
        unpack=loops.unpack,
        pack=loops.pack,
        tally=loops.tally,
        sort=loops.sort,
        unsort=loops.unsort,
    )
    return found if hash_probe(found) == PROBE_HASH else None


@cache
def chosen_for_scaled() -> Kernel:
    """Return the kernel in use for scaled numbers: `chosen`, unless its loops for these fail their self-test."""
    found = chosen()
    return found if found is NUMPY or hash_scaled_probe(found) == SCALED_PROBE_HASH else NUMPY


def hash_scaled_probe(kernel: Kernel) -> str:
    """Return the BLAKE3 of the results of each loop for scaled numbers."""
    digest = blake3()
    for kind in quantised.BY_MARK.values():
        for found in _probe_quantised(kernel, kind):
            digest.update(found.tobytes())
    return digest.hexdigest()


def hash_probe(kernel: Kernel) -> str:
    """Return the BLAKE3 of the results of each loop for varied bytes."""
    digest = blake3()
    for found in _probe(kernel):
        digest.update(found.tobytes())
    return digest.hexdigest()


def _probe(kernel: Kernel) -> Iterator[npt.NDArray[np.integer[Any]]]:
    """Yield the result of each loop for varied bytes."""
    for width, rotated in ((2, False), (2, True), (4, False), (4, True), (8, False)):
        data = (np.arange(_PROBE_WORDS * width) * 167 % 251).astype(np.uint8)
        planes = np.zeros((width, _PROBE_WORDS), np.uint8)
        block = np.zeros_like(data)
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
        planes = np.zeros((numbers.width, _PROBE_WORDS), np.uint8)
        block = np.zeros_like(data)
        kernel.subtract(numbers, data, base, list(planes), grouped)
        yield planes
        kernel.add(numbers, list(planes), base, block, grouped)
        yield block


def _probe_quantised(kernel: Kernel, kind: Kind) -> Iterator[npt.NDArray[np.integer[Any]]]:
    data = (np.arange(67 * kind.layout.block) * 149 % 247).astype(np.uint8)
    symbols, grouped, own = (np.zeros(67 * kind.symbols, np.uint8) for _ in range(3))
    block = np.zeros_like(data)
    kernel.unpack(kind, data, symbols)
    yield symbols
    kernel.pack(kind, symbols, block)
    yield block
    codes = kind.codes(data.reshape(-1, kind.layout.block))
    columns = (np.arange(3 * kind.width) * 13 % 47).astype(np.uint8)
    for classes in (Classes(9, grouping.BIAS >> 9, 32), Classes(10, 60, 9, columns)):
        counts = kernel.tally(codes, classes, kind.width, 2)
        yield counts
        kernel.sort(symbols, codes, classes, 2, counts, grouped)
        yield grouped
        kernel.unsort(grouped, codes, classes, 2, counts, own)
        yield own
