"""How an object's bytes are stored: one byte, frozen for ever (docs/formats/codecs.md).

`encode` chooses by the dtype a file's header gives and by the bytes themselves, never by the machine; so does
`encode_delta`, against another version of the same numbers. `decode` believes nothing it reads: every length is checked
before it is used.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.store.codecs import deltas, entropy, fields, frames, kernel, planes, sampling
from ptmtorrent.store.codecs.scratch import Bytes

RAW = 0
ENTROPY = 1
ZSTD = 2
BF16 = 3
FP16 = 4
FP32 = 5
FP64 = 6
DELTA = 7
GROUPED_DELTA = 8
FIELDS = 9
DELTA_CODECS = frozenset({DELTA, GROUPED_DELTA})
"""Codecs whose payload needs the object's base."""

PLAIN_CODECS = frozenset({RAW, ENTROPY, ZSTD, BF16, FP16, FP32, FP64, FIELDS})
"""Codecs whose payload needs nothing else."""

DELTA_DTYPES = frozenset(deltas.BY_DTYPE)
"""Dtypes of numbers that deltas are made of."""

MAX_RAW_BYTES = 64 << 20
"""No object is longer, manifests included (64 MiB)."""

SMALL_BYTES = 64
"""Shorter objects are stored raw at once: a frame's own bytes would eat what it saves."""

_PLAIN_BLOCKS = ("Q8_1", "Q8_K", "IQ1_M", "IQ1_S", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_S", "IQ3_XXS", "NVFP4")
"""Blocks whose fields are not set apart: indices into tables, or none of them measured."""

_BY_DTYPE: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4"), ENTROPY),
        "BF16": BF16,
        "F16": FP16,
        "F32": FP32,
        "C64": FP32,
        "F64": FP64,
        **dict.fromkeys(_PLAIN_BLOCKS, ENTROPY),
        **dict.fromkeys(fields.BY_DTYPE, FIELDS),
    }
)
"""Safetensors' names of dtypes, ggml's of those of blocks; any other, or none, gives zstd-3."""

_SHAPES: Mapping[int, planes.Shape] = MappingProxyType(
    {
        BF16: planes.Shape(width=2, block_log=20),
        FP16: planes.Shape(width=2, block_log=20),
        FP32: planes.Shape(width=4, block_log=18),
        FP64: planes.Shape(width=8, block_log=18),
    }
)
_ROTATED = frozenset({BF16, FP32})


class Encoded(NamedTuple):
    """A payload in `chunks`, none of them the encoded bytes themselves; `size` is their length together, in bytes."""

    codec: int
    chunks: tuple[bytes | memoryview, ...]
    size: int


def encode(data: bytes | memoryview, dtype: str | None) -> Encoded:
    """Return the codec for `data` and its payload, which is never longer than `data`.

    `dtype` is safetensors' name of the numbers in `data` (`BF16`, `F32`, ...) or ggml's of its blocks (`Q4_K`), None
    where there is none.
    """
    view = memoryview(data).cast("B")
    codec, chunks = _encode(view, dtype)
    size = sum(len(chunk) for chunk in chunks)
    if codec == RAW or size >= len(view):
        return Encoded(RAW, (bytes(view),), len(view))
    return Encoded(codec, chunks, size)


def encode_delta(data: bytes | memoryview, base: bytes | memoryview, dtype: str | None) -> Encoded | None:
    """Return `data` as its difference from `base`; None when that does not pay.

    It pays for the numbers of `DELTA_DTYPES`, where `base` is of equal length and a sample comes out at least 1.2 times
    smaller than by `encode`.
    """
    new, old = memoryview(data).cast("B"), memoryview(base).cast("B")
    numbers = deltas.BY_DTYPE.get(dtype or "")
    if numbers is None or len(new) != len(old) or len(new) < SMALL_BYTES:
        return None
    grouped = sampling.is_grouping_better(new, old, numbers, rotated=_BY_DTYPE[dtype or ""] in _ROTATED)
    if grouped is None:
        return None
    chunks = deltas.encode(new, old, numbers, grouped=grouped)
    size = sum(len(chunk) for chunk in chunks)
    return Encoded(GROUPED_DELTA if grouped else DELTA, chunks, size) if size < len(new) else None


def decode(codec: int, payload: bytes | memoryview, raw_size: int, base: bytes | memoryview | None = None) -> bytes:
    """Return the `raw_size` bytes that were encoded as `payload`. Their hash is the caller's to check.

    `base` is the raw object that a delta was made against; other codecs have none.

    Raises:
        IntegrityError: the payload is malformed, does not hold exactly `raw_size` bytes, or its base is missing.
        UnsupportedFormat: a codec this version does not read.
    """
    view = memoryview(payload).cast("B")
    if not 0 <= raw_size <= MAX_RAW_BYTES or len(view) > raw_size:
        raise IntegrityError(f"{len(view)} stored bytes cannot stand for an object of {raw_size} bytes")
    if codec == RAW:
        if len(view) != raw_size:
            raise IntegrityError(f"{len(view)} raw bytes are not an object of {raw_size} bytes")
        return bytes(view)
    if codec in {ENTROPY, ZSTD}:
        return frames.expand(view, raw_size)
    if codec in _SHAPES:
        return _join(view, raw_size, codec)
    if codec == FIELDS:
        return fields.decode(view, raw_size)
    if codec in DELTA_CODECS:
        if base is None:
            raise IntegrityError("an object is stored as a delta, and its base is not there")
        return deltas.decode(view, raw_size, memoryview(base).cast("B"), grouped=codec == GROUPED_DELTA)
    raise UnsupportedFormat(
        f"an object is stored with codec {codec}, which this program does not read",
        hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
    )


def kernel_in_use() -> str:
    """Return which kernel codes: `native` or `numpy`. Both write the same bytes."""
    return kernel.chosen().name


def versions() -> dict[str, str]:
    """Return the libraries whose versions decide the exact bytes of payloads."""
    return frames.versions()


def parameters() -> dict[str, str]:
    """Return the settings the codecs were used with, for a pack's footer."""
    return frames.parameters()


def _encode(view: memoryview, dtype: str | None) -> tuple[int, tuple[bytes, ...]]:
    codec = _BY_DTYPE.get(dtype or "", ZSTD)
    if len(view) < SMALL_BYTES or (codec == ENTROPY and entropy.looks_random(view)):
        return RAW, ()
    if codec == ZSTD:
        return ZSTD, (frames.shrink_general(view),)
    if codec == ENTROPY:
        return ENTROPY, (frames.shrink_entropy(view),)
    if codec == FIELDS:
        return FIELDS, fields.encode(view, fields.BY_DTYPE[dtype or ""])
    return codec, _split(view, codec)


def _split(view: memoryview, codec: int) -> tuple[bytes, ...]:
    data = np.frombuffer(view, np.uint8)
    split = kernel.chosen().split
    return planes.split(view, _SHAPES[codec], lambda block, into: split(data[block], into, codec in _ROTATED))


def _join(view: memoryview, raw_size: int, codec: int) -> bytes:
    join = kernel.chosen().join

    def join_block(stored: list[Bytes], _: slice, into: Bytes) -> None:
        join(stored, into, codec in _ROTATED)

    return planes.join(view, raw_size, _SHAPES[codec], join_block)
