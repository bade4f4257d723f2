"""Codecs: how an object's bytes are stored. A codec is one byte, whose meaning never changes (docs/formats/codecs.md).

In come an object's raw bytes and the dtype from its file's header; out go a codec and a payload in chunks. The choice
depends on dtype and bytes only, never on the machine. `encode_delta` encodes against a base, another version of the
same numbers. `decode` trusts nothing it reads: every length is checked before it is used.

Order of reading: `streams` (is it worth coding? zstd frames, and tables of coded streams), `planes` (codecs 3 to 8),
`blocks` and `fields` (codec 9), `quantised`, `scaled` and `choice` (codec 10), `widths` and `sampled` (codec 11),
`deltas`, `sampling` (codecs 7 and 8), `transposed` (codec 12).
The inner loops exist twice: `words`, `differences`, `quantised` and `grouping` in numpy, `kernel.c` in C; `kernel`
chooses. Invariant: both write the same bytes.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.store.codecs import (
    blocks,
    choice,
    deltas,
    fields,
    kernel,
    planes,
    quantised,
    sampled,
    sampling,
    scaled,
    streams,
    transposed,
)
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
SCALED = 10
SAMPLED = 11
TRANSPOSED = 12
DELTA_CODECS = frozenset({DELTA, GROUPED_DELTA, TRANSPOSED})
"""Codecs that need the object's base for decoding."""

PLAIN_CODECS = frozenset({RAW, ENTROPY, ZSTD, BF16, FP16, FP32, FP64, FIELDS, SCALED, SAMPLED})
"""Codecs that need only the payload for decoding."""

DELTA_DTYPES = frozenset(deltas.BY_DTYPE)
"""Dtypes that can be encoded as deltas."""

MAX_RAW_BYTES = 64 << 20
"""Limit of an object, manifests included (64 MiB)."""

SMALL_BYTES = 64
"""Shorter objects are stored raw without trying: a frame's overhead exceeds what it saves."""

_PLAIN_BLOCKS = ("Q8_1", "Q8_K", "IQ1_M", "IQ1_S", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_S", "IQ3_XXS", "NVFP4")
"""Block types that are coded as a whole: they are indices into tables, or were not measured."""

_BY_DTYPE: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4"), ENTROPY),
        "BF16": BF16,
        "F16": FP16,
        "F32": FP32,
        "C64": FP32,
        "F64": FP64,
        **dict.fromkeys(_PLAIN_BLOCKS, ENTROPY),
        **dict.fromkeys(blocks.BY_DTYPE, FIELDS),
    }
)
"""Codec by dtype (safetensors' names, ggml's for blocks); any other dtype, or none, with zstd-3 or as sampled."""

_SHAPES: Mapping[int, planes.Shape] = MappingProxyType(
    {
        BF16: planes.Shape(width=2, block_log=20),
        FP16: planes.Shape(width=2, block_log=20),
        FP32: planes.Shape(width=4, block_log=18),
        FP64: planes.Shape(width=8, block_log=18),
    }
)
_ROTATED = frozenset({BF16, FP32})
_DECODERS: Mapping[int, Callable[[memoryview, int], bytes]] = MappingProxyType(
    {
        ENTROPY: streams.expand,
        ZSTD: streams.expand,
        FIELDS: fields.decode,
        SCALED: scaled.decode,
        SAMPLED: sampled.decode,
    }
)


class Encoded(NamedTuple):
    """A payload in `chunks`, which never share memory with the input; `size` is their total length in bytes."""

    codec: int
    chunks: tuple[bytes | memoryview, ...]
    size: int


def encode(data: bytes | memoryview, dtype: str | None) -> Encoded:
    """Return the codec for `data` and its payload, which is never longer than `data`.

    `dtype` is safetensors' name of the numbers in `data` (`BF16`, `F32`, ...), ggml's of its blocks (`Q4_K`), or None.
    """
    view = memoryview(data).cast("B")
    codec, chunks = _encode(view, dtype)
    size = sum(len(chunk) for chunk in chunks)
    if codec == RAW or size >= len(view):
        return Encoded(RAW, (bytes(view),), len(view))
    return Encoded(codec, chunks, size)


def encode_delta(data: bytes | memoryview, base: bytes | memoryview, dtype: str | None) -> Encoded | None:
    """Return `data` encoded as its difference from `base`; None if that is not worthwhile.

    It is worthwhile for a dtype of `DELTA_DTYPES` if `base` has the same length and a sample becomes at least 1.2 times
    smaller than with `encode`.
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


def encode_transpose(data: memoryview, base: memoryview, dtype: str) -> Encoded | None:
    """Return `data`, numbers of a `dtype` of `DELTA_DTYPES`, as the transpose of the matrix `base`; None if it is not.

    Both are raw bytes of objects; which matrix they are follows from their numbers.
    """
    numbers = deltas.BY_DTYPE[dtype]
    rows = transposed.rows_of(data, base, numbers)
    if rows is None:
        return None
    head = transposed.encode(numbers, transposed.Head(transposed.ITSELF, rows))
    return Encoded(TRANSPOSED, (head,), len(head))


def encode_turned_delta(data: memoryview, base: memoryview, turned: memoryview, dtype: str) -> Encoded | None:
    """Return `data` encoded as its difference from `turned`, the transpose of `base`; None if not worthwhile."""
    numbers = deltas.BY_DTYPE[dtype]
    rows = transposed.rows_of(turned, base, numbers)
    encoded = encode_delta(data, turned, dtype) if rows is not None else None
    if rows is None or encoded is None:
        return None
    head = transposed.encode(numbers, transposed.Head(encoded.codec, rows))
    size = len(head) + encoded.size
    return Encoded(TRANSPOSED, (head, *encoded.chunks), size) if size < len(data) else None


def decode(codec: int, payload: bytes | memoryview, raw_size: int, base: bytes | memoryview | None = None) -> bytes:
    """Return the `raw_size` bytes that `payload` encodes. The caller must check their hash.

    `base` is the raw base object of a delta; other codecs ignore it.

    Raises:
        IntegrityError: the payload is malformed, does not encode exactly `raw_size` bytes, or the base is missing.
        UnsupportedFormat: an unknown codec.
    """
    view = memoryview(payload).cast("B")
    if not 0 <= raw_size <= MAX_RAW_BYTES or len(view) > raw_size:
        raise IntegrityError(f"{len(view)} stored bytes cannot encode an object of {raw_size} bytes")
    if codec == RAW:
        if len(view) != raw_size:
            raise IntegrityError(f"{len(view)} raw bytes are not an object of {raw_size} bytes")
        return bytes(view)
    if codec in _SHAPES:
        return _join(view, raw_size, codec)
    if (decode_alone := _DECODERS.get(codec)) is not None:
        return decode_alone(view, raw_size)
    if codec in DELTA_CODECS:
        if base is None:
            raise IntegrityError("an object is stored as a delta, but its base is missing")
        old = memoryview(base).cast("B")
        if codec == TRANSPOSED:
            return transposed.decode(view, raw_size, old)
        return deltas.decode(view, raw_size, old, grouped=codec == GROUPED_DELTA)
    raise UnsupportedFormat(
        f"an object is stored with codec {codec}, which this program does not know",
        hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
    )


def dtype_of_delta(payload: bytes | memoryview) -> str | None:
    """Return the dtype of the numbers that the payload of a delta encodes; None if it names none."""
    return deltas.dtype_of(memoryview(payload).cast("B"))


def kernel_in_use() -> str:
    """Return the name of the kernel in use: `native` or `numpy`. Both write the same bytes."""
    return kernel.chosen().name


def versions() -> dict[str, str]:
    """Return the versions of the libraries that affect the exact bytes of payloads."""
    return streams.versions()


def parameters() -> dict[str, str]:
    """Return the codecs' settings, for the footer of a pack."""
    return streams.parameters()


def _encode(view: memoryview, dtype: str | None) -> tuple[int, tuple[bytes, ...]]:
    codec = _BY_DTYPE.get(dtype or "", ZSTD)
    if len(view) < SMALL_BYTES or (codec == ENTROPY and streams.looks_random(view)):
        return RAW, ()
    if codec == ZSTD:
        return _encode_unknown(view)
    if codec == ENTROPY:
        return ENTROPY, (streams.shrink_entropy(view),)
    if codec == FIELDS:
        kind = quantised.KINDS.get(dtype or "")
        plan = choice.plan_for(view, kind) if kind else None
        return (
            (SCALED, scaled.encode(view, plan)) if plan else (FIELDS, fields.encode(view, blocks.BY_DTYPE[dtype or ""]))
        )
    return codec, _split(view, codec)


def _encode_unknown(view: memoryview) -> tuple[int, tuple[bytes, ...]]:
    """Return a payload for bytes of which nothing is known; where they repeat, the shorter of both forms."""
    kinds = sampled.kinds_of(view) if len(view) >= sampled.MIN_BYTES else None
    if kinds is None:
        return ZSTD, (streams.shrink_general(view),)
    chunks = sampled.encode(view, kinds)
    if sampled.repeats(view, kinds):
        whole = streams.shrink_general(view)
        if len(whole) <= sum(map(len, chunks)):
            return ZSTD, (whole,)
    return SAMPLED, chunks


def _split(view: memoryview, codec: int) -> tuple[bytes, ...]:
    data = np.frombuffer(view, np.uint8)
    split = kernel.chosen().split
    return planes.split(view, _SHAPES[codec], lambda block, into: split(data[block], into, codec in _ROTATED))


def _join(view: memoryview, raw_size: int, codec: int) -> bytes:
    join = kernel.chosen().join

    def join_block(stored: list[Bytes], _: slice, into: Bytes) -> None:
        join(stored, into, codec in _ROTATED)

    return planes.join(view, raw_size, _SHAPES[codec], join_block)
