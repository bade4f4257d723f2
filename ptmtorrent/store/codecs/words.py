"""Splitting numbers into byte planes and joining them again, most significant plane first.

Little-endian words. "Rotated" moves the sign of the upper 16 bits to their low end, so that the first plane is the
exponent of a bf16 or fp32 number alone, and the second its sign and upper mantissa.
"""

import numpy as np

from ptmtorrent.store.codecs.entropy import Bytes


def split_plain(block: Bytes, width: int) -> list[Bytes]:
    """Return `width` planes of a block that is a multiple of `width` bytes."""
    columns = block.reshape(-1, width)
    return [np.ascontiguousarray(columns[:, width - 1 - plane]) for plane in range(width)]


def join_plain(planes: list[Bytes], block: Bytes) -> None:
    """Write to `block` what `split_plain` took apart."""
    width = len(planes)
    columns = block.reshape(-1, width)
    for index, plane in enumerate(planes):
        columns[:, width - 1 - index] = plane


def split_rotated(block: Bytes, width: int) -> list[Bytes]:
    """Return `width` planes, the upper 16 bits of each word rotated left by one first."""
    upper = block.view("<u2")[width // 2 - 1 :: width // 2]
    rotated = np.left_shift(upper, 1)
    rotated |= np.right_shift(upper, 15)
    columns = block.reshape(-1, width)
    rest = [np.ascontiguousarray(columns[:, plane]) for plane in range(width - 3, -1, -1)]
    return [np.right_shift(rotated, 8).astype(np.uint8), rotated.astype(np.uint8), *rest]


def join_rotated(planes: list[Bytes], block: Bytes) -> None:
    """Write to `block` what `split_rotated` took apart."""
    exponent, low, *rest = planes
    width = len(planes)
    rotated = exponent.astype(np.uint16)
    rotated <<= 8
    rotated |= low
    upper = block.view("<u2")[width // 2 - 1 :: width // 2]
    np.right_shift(rotated, 1, out=upper)
    rotated <<= 15
    upper |= rotated
    columns = block.reshape(-1, width)
    for index, plane in enumerate(rest):
        columns[:, len(rest) - 1 - index] = plane
