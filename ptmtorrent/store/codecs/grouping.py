"""Orders symbols by a class that follows from the size of their group's scale, and back: the numpy kernel.

A group with code `e` and a column `c` of its numbers with weight `w[c]` have class
`clamp(((e + 65536 - 128 * w[c]) >> shift) - low, 0, slots - 1)`: a number is small beside its scale if the scale is
large, and if numbers of its column are small throughout. Without columns, groups of a class keep their order; with
columns, symbols of a class are ordered by the group's place among the columns, its code in eighths of an octave, and
the column, so that whole columns of equal groups move together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs.quantised import Codes
from ptmtorrent.store.codecs.scratch import Bytes

BIAS = 1 << 16
"""Keeps every number above zero before it is shifted."""

MAX_SLOTS = 32
MAX_SHIFT = 16
LEVEL_SHIFT = 7
"""A column's weight is in eighths of an octave: 128 times the unit of codes."""

LEVELS = 256
"""Levels of codes of half-precision numbers, in eighths of an octave."""

Counts = npt.NDArray[np.int64]


def _no_columns() -> Bytes:
    return np.zeros(0, np.uint8)


@dataclass(frozen=True)
class Classes:
    """How codes become classes; `columns` are the weights of a whole number of groups, or empty."""

    shift: int
    low: int
    slots: int
    columns: Bytes = field(default_factory=_no_columns)


def classes_of(levels: npt.NDArray[np.integer[Any]], classes: Classes) -> Bytes:
    """Return the classes of codes that were made positive by `BIAS`, less the weights of their columns."""
    found: Bytes = np.clip((levels >> classes.shift) - classes.low, 0, classes.slots - 1).astype(np.uint8)
    return found


def tally(codes: Codes, classes: Classes, width: int, first: int) -> Counts:
    """Return the number of symbols of each class; `first` is the first group's position in the object."""
    counts = np.zeros(classes.slots, np.int64)
    if not classes.columns.size:
        return counts + width * np.bincount(classes_of(codes + BIAS, classes), minlength=classes.slots)
    for groups, found in _runs(codes, classes, width, first):
        counts += groups.size * np.bincount(found, minlength=classes.slots)
    return counts


def sort(  # noqa: PLR0913, PLR0917  # one signature per kernel
    symbols: Bytes, codes: Codes, classes: Classes, first: int, counts: Counts, into: Bytes
) -> None:
    """Write `symbols` to `into`, ordered by class, of which there are `counts`."""
    for groups, columns, place in _places(symbols.size, codes, classes, first, counts):
        rows = symbols.reshape(len(codes), -1)
        into[place] = rows[groups, columns].reshape(-1)


def unsort(  # noqa: PLR0913, PLR0917  # one signature per kernel
    grouped: Bytes, codes: Codes, classes: Classes, first: int, counts: Counts, into: Bytes
) -> None:
    """Write the symbols in their own order to `into`: the inverse of `sort`."""
    for groups, columns, place in _places(into.size, codes, classes, first, counts):
        rows = into.reshape(len(codes), -1)
        rows[groups, columns] = grouped[place].reshape(groups.size, columns.stop - columns.start)


def _places(
    size: int, codes: Codes, classes: Classes, first: int, counts: Counts
) -> Iterator[tuple[npt.NDArray[np.intp], slice, slice]]:
    """Yield groups, the columns of them that have one class, and their place in the order."""
    width = size // max(len(codes), 1)
    ends = (np.cumsum(counts) - counts).tolist()
    if not classes.columns.size:
        found = classes_of(codes + BIAS, classes)
        for slot, end in enumerate(ends):
            groups = np.flatnonzero(found == slot)
            yield groups, slice(0, width), slice(end, end + groups.size * width)
        return
    for groups, slots in _runs(codes, classes, width, first):
        for column, slot in enumerate(slots.tolist()):
            yield groups, slice(column, column + 1), slice(ends[slot], ends[slot] + groups.size)
            ends[slot] += groups.size


def _runs(codes: Codes, classes: Classes, width: int, first: int) -> Iterator[tuple[npt.NDArray[np.intp], Bytes]]:
    """Yield the groups of each place among the columns and level, and the classes of their columns."""
    weights = classes.columns.reshape(-1, width).astype(np.intp)
    places = (np.arange(len(codes)) + first) % len(weights)
    keys = places * LEVELS + ((codes.astype(np.intp) + BIAS) >> LEVEL_SHIFT & LEVELS - 1)
    order = np.argsort(keys, kind="stable")
    used, starts = np.unique(keys[order], return_index=True)
    for key, groups in zip(used.tolist(), np.split(order, starts[1:]), strict=True):
        level = key % LEVELS + (BIAS >> LEVEL_SHIFT) - weights[key // LEVELS]
        yield groups, classes_of(level << LEVEL_SHIFT, classes)
