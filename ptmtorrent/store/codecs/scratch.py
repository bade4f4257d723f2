"""Working memory that every thread keeps and uses again: fresh memory costs a page fault for every 4 KiB touched."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.unsignedinteger[Any]]
"""Little-endian unsigned integers of 2, 4 or 8 bytes."""

_HELD_BYTES = 17 << 20
"""Somewhat more than the largest object a file is cut into (16 MiB)."""


class _Kept(threading.local):
    def __init__(self) -> None:
        self.bytes: dict[str, Bytes] = {}


_kept = _Kept()


def take_bytes(name: str, count: int) -> Bytes:
    """Return `count` bytes of unknown content, valid until this thread takes `name` again."""
    kept = _kept.bytes.get(name)
    if kept is None or kept.size < count:
        kept = _kept.bytes[name] = np.empty(count, np.uint8)
    return kept[:count]


def take_words(name: str, count: int, width: int) -> Words:
    """Return `count` words of `width` bytes of unknown content, valid until this thread takes `name` again."""
    return take_bytes(name, count * width).view(f"<u{width}")


def hold_freed_memory() -> None:
    """Let the allocator keep what is freed, up to an object's size, instead of handing it back for every plane.

    glibc asks the system for each piece above a threshold, 128 KiB at first, and raises it to the largest piece so
    freed (mallopt(3), M_MMAP_THRESHOLD). One large piece, never touched, spares a third of the time of coding: the
    page faults. Other allocators do not mind.
    """
    np.empty(_HELD_BYTES, np.uint8)
