"""The payload of codecs 7 and 8: the differences of an object from its base, number by number, as byte planes.

The third byte of the head is the type of the numbers. Codec 8 first orders the differences of each block by the base's
exponent: training changes numbers by similar absolute amounts, so the size of a difference in units of the last place
follows from the exponent, which a reader knows from the base.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs import differences, kernel, planes
from ptmtorrent.store.codecs.differences import Numbers
from ptmtorrent.store.codecs.scratch import Bytes

BLOCK_LOG = 22

BY_DTYPE: Mapping[str, Numbers] = MappingProxyType(
    {"BF16": differences.BF16, "F16": differences.FP16, "F32": differences.FP32}
)
_BY_MARK = {numbers.mark: numbers for numbers in BY_DTYPE.values()}


def encode(data: memoryview, base: memoryview, numbers: Numbers, *, grouped: bool) -> tuple[bytes, ...]:
    """Return the payload for `data` against a `base` of the same length, in chunks; it may be longer than `data`."""
    new, old = np.frombuffer(data, np.uint8), np.frombuffer(base, np.uint8)
    loops = kernel.chosen()

    def split_block(block: slice, into: list[Bytes]) -> None:
        loops.subtract(numbers, new[block], old[block], into, grouped)

    return planes.split(data, _shape(numbers), split_block)


def decode(payload: memoryview, raw_size: int, base: memoryview, *, grouped: bool) -> bytes:
    """Return the `raw_size` bytes that were encoded against `base`.

    Raises:
        IntegrityError: the payload is malformed, or the base has the wrong length.
    """
    if len(base) != raw_size:
        raise IntegrityError(f"an object of {raw_size} bytes is stored as a delta against a base of {len(base)} bytes")
    numbers = numbers_of(payload)
    if numbers is None:
        raise IntegrityError("a delta has an unknown type of numbers")
    old = np.frombuffer(base, np.uint8)
    loops = kernel.chosen()

    def join_block(changes: list[Bytes], block: slice, into: Bytes) -> None:
        loops.add(numbers, changes, old[block], into, grouped)

    return planes.join(payload, raw_size, _shape(numbers), join_block)


def numbers_of(payload: memoryview) -> Numbers | None:
    """Return the type of numbers that the third byte of a payload's head names; None if it names none."""
    return _BY_MARK.get(payload[2]) if len(payload) > 2 else None


def dtype_of(payload: memoryview) -> str | None:
    """Return the dtype of the numbers that a payload encodes; None if it names none."""
    found = numbers_of(payload)
    return next((dtype for dtype, numbers in BY_DTYPE.items() if numbers == found), None)


def _shape(numbers: Numbers) -> planes.Shape:
    return planes.Shape(width=numbers.width, block_log=BLOCK_LOG, mark=numbers.mark)
