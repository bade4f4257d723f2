"""Sketches: small keys by which a fine-tune that names no base finds it all the same.

Training moves numbers a little and hardly ever across zero, so the signs of a few numbers, the same few in every object
of that length, stay what they were. They are taken in bands: one flipped sign spoils the key of its band alone.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from blake3 import blake3

MIN_BYTES = 64 << 10
"""Shorter objects (below 64 KiB) have no sketch: what a delta saves on them is not worth the rows."""

BANDS = 4
BAND_SIGNS = 32
MIN_MINORITY = 8
"""A band with fewer signs of either sort says nothing: norms, biases, padding and masks all look alike."""

_SIGNS = BANDS * BAND_SIGNS
_WIDTHS: Mapping[str, int] = MappingProxyType({"BF16": 2, "F16": 2, "F32": 4})
_SPREAD = np.arange(_SIGNS, dtype=np.int64)
_JITTER = _SPREAD * 0x9E3779B1
"""Steps of the golden ratio: with equal steps all numbers could come from one column of a matrix."""


def sketch(data: bytes | memoryview, dtype: str | None) -> tuple[int, ...]:
    """Return up to four signed 64-bit keys of an object; two objects that share one are worth comparing.

    A key stands for dtype, length and the signs of 32 numbers. With noise of 2 % of the numbers' spread, more than 99
    in 100 objects share a key with what they were; unrelated ones do once in 2^30 pairs. There are none for an object
    below 64 KiB, for a dtype no delta is taken of, or where the numbers have one sign. The same on every machine.
    """
    width = _WIDTHS.get(dtype or "")
    if width is None or memoryview(data).nbytes < MIN_BYTES:
        return ()
    view = np.frombuffer(data, dtype=np.uint8)
    step = view.size // width // _SIGNS
    numbers = _SPREAD * step + _JITTER % step
    signs = np.packbits(view[numbers * width + (width - 1)] >> 7).tobytes()
    head = f"{dtype} {view.size} ".encode()
    bands = (signs[at : at + BAND_SIGNS // 8] for at in range(0, len(signs), BAND_SIGNS // 8))
    return tuple(_key(head, number, band) for number, band in enumerate(bands) if _tells(band))


def _tells(band: bytes) -> bool:
    minus = int.from_bytes(band).bit_count()
    return MIN_MINORITY <= minus <= BAND_SIGNS - MIN_MINORITY


def _key(head: bytes, number: int, band: bytes) -> int:
    return int.from_bytes(blake3(head + bytes([number]) + band).digest(8), "little", signed=True)
