"""Working memory that each thread keeps and reuses: new memory costs a page fault for every 4 KiB touched."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.unsignedinteger[Any]]
"""Little-endian unsigned integers of 2, 4 or 8 bytes."""

_HELD_BYTES = 17 << 20
"""Slightly more than the largest object that a file is cut into (16 MiB)."""


class _Kept(threading.local):
    def __init__(self) -> None:
        self.bytes: dict[str, Bytes] = {}


_kept = _Kept()


def take_bytes(name: str, count: int) -> Bytes:
    """Return `count` uninitialised bytes, valid until this thread takes `name` again."""
    kept = _kept.bytes.get(name)
    if kept is None or kept.size < count:
        kept = _kept.bytes[name] = np.empty(count, np.uint8)
    return kept[:count]


def take_words(name: str, count: int, width: int) -> Words:
    """Return `count` uninitialised words of `width` bytes, valid until this thread takes `name` again."""
    return take_bytes(name, count * width).view(f"<u{width}")


def hold_freed_memory() -> None:
    """Make the allocator keep freed memory up to an object's size, instead of returning it to the system.

    glibc maps every allocation above a threshold separately; the threshold is 128 KiB at first and rises to the size of
    the largest such block that is freed (mallopt(3), M_MMAP_THRESHOLD). Freeing one large block that is never touched
    saves the page faults, a third of the coding time. Other allocators are not affected.
    """
    np.empty(_HELD_BYTES, np.uint8)
