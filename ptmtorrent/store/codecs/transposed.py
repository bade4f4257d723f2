"""The payload of codec 12: numbers of a matrix whose transpose the store has, or of another version of that.

::

    inner u8 | 0 u8 | type of numbers u8 | 0 u8 | rows u32 | payload of codec `inner`

The base is a matrix of `rows` rows. Its transpose is the object (`inner` 0), or what the payload of a delta (`inner` 7
or 8) was taken from. Frameworks disagree about which dimension of a kernel comes first: torch stores the transpose of
what TensorFlow and Flax do.
"""

import struct
from typing import NamedTuple

import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs import deltas
from ptmtorrent.store.codecs.differences import Numbers
from ptmtorrent.store.codecs.scratch import Words
from ptmtorrent.store.codecs.words import words_of

_HEAD = struct.Struct("<BBBBI")
HEAD_BYTES = _HEAD.size
ITSELF, DELTA, GROUPED_DELTA = 0, 7, 8
"""Codecs of what follows the head: nothing, if the object is the transpose itself, or a delta."""

_INNER = frozenset({ITSELF, DELTA, GROUPED_DELTA})

_PROBED = 64
"""Numbers of the first row that are compared before all are."""


class Head(NamedTuple):
    """The head of a payload: the codec of what follows, and the rows of the base."""

    inner: int
    rows: int


def encode(numbers: Numbers, head: Head) -> bytes:
    """Return the head of a payload; that of a delta follows it unless the object is the transpose itself."""
    return _HEAD.pack(head.inner, 0, numbers.mark, 0, head.rows)


def read_head(payload: memoryview) -> tuple[Head, Numbers]:
    """Return the head of a payload, and the type of its numbers.

    Raises:
        IntegrityError: it is malformed.
    """
    if len(payload) < HEAD_BYTES:
        raise IntegrityError("a payload of a transpose ends inside its head")
    inner, zero, _, other, rows = _HEAD.unpack_from(payload)
    numbers = deltas.numbers_of(payload)
    if zero or other or numbers is None or inner not in _INNER or (inner == ITSELF and len(payload) != HEAD_BYTES):
        raise IntegrityError("the head of a payload of a transpose is malformed")
    return Head(inner, rows), numbers


def decode(payload: memoryview, raw_size: int, base: memoryview) -> bytes:
    """Return the `raw_size` bytes that were encoded against `base`.

    Raises:
        IntegrityError: the payload is malformed, or the base is no such matrix.
    """
    head, numbers = read_head(payload)
    if len(base) != raw_size:
        raise IntegrityError(f"an object of {raw_size} bytes is stored as a transpose of one of {len(base)} bytes")
    turned = transpose(base, head.rows, numbers)
    if head.inner == ITSELF:
        return turned
    return deltas.decode(payload[HEAD_BYTES:], raw_size, memoryview(turned), grouped=head.inner == GROUPED_DELTA)


def transpose(base: memoryview, rows: int, numbers: Numbers) -> bytes:
    """Return the transpose of a matrix of `rows` rows.

    Raises:
        IntegrityError: the bytes are not such a matrix.
    """
    if not rows or len(base) % (rows * numbers.width):
        raise IntegrityError(f"an object is the transpose of a matrix of {rows} rows, which its base is not")
    return words_of(np.frombuffer(base, np.uint8), numbers.width).reshape(rows, -1).T.tobytes()


def rows_of(data: memoryview, base: memoryview, numbers: Numbers) -> int | None:
    """Return the rows of the matrix `base` whose transpose is `data`; None if it is not one."""
    if len(data) != len(base) or len(data) % numbers.width:
        return None
    new, old = (words_of(np.frombuffer(one, np.uint8), numbers.width) for one in (data, base))
    for columns in _divisors(new.size):
        rows = new.size // columns
        probe = min(_PROBED, rows)
        if np.array_equal(new[:probe], old[: probe * columns : columns]) and _is_transpose(new, old, rows):
            return rows
    return None


def _is_transpose(new: Words, old: Words, rows: int) -> bool:
    return np.array_equal(new.reshape(-1, rows), old.reshape(rows, -1).T)


def _divisors(size: int) -> list[int]:
    """Return the numbers of columns that a matrix of `size` numbers with at least two rows and columns can have."""
    low = [number for number in range(2, int(size**0.5) + 1) if size % number == 0]
    return sorted({*low, *(size // number for number in low)})
