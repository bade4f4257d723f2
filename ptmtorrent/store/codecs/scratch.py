"""Working memory that each thread keeps and reuses: new memory costs a page fault for every 4 KiB touched."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.unsignedinteger[Any]]
"""Little-endian unsigned integers of 2, 4 or 8 bytes."""


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
