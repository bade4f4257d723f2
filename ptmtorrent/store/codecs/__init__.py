"""How an object's bytes are stored: one byte, frozen for ever (docs/formats/codecs.md).

`encode` chooses by the dtype a file's header gives and by the bytes themselves, never by the machine. `decode` believes
nothing it reads: every length is checked before it is used.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.store.codecs import entropy, frames, planes, words

RAW = 0
ENTROPY = 1
ZSTD = 2
BF16 = 3
FP16 = 4
FP32 = 5
FP64 = 6
RESERVED = frozenset({7, 8})
"""Deltas against a base object: known by name, not read by this version."""

DELTA_CODECS = RESERVED
DELTA_DTYPES = frozenset({"BF16", "F16", "F32"})

MAX_RAW_BYTES = 64 << 20
"""No object is longer, manifests included (64 MiB)."""

SMALL_BYTES = 64
"""Shorter objects are stored raw at once: a frame's own bytes would eat what it saves."""

_BY_DTYPE: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4"), ENTROPY),
        "BF16": BF16,
        "F16": FP16,
        "F32": FP32,
        "C64": FP32,
        "F64": FP64,
    }
)
"""Safetensors' names of dtypes; any other, or none, gives zstd-3."""

BF16_PLANES = planes.Planes(width=2, block_log=20, split=words.split_rotated, join=words.join_rotated)

_PLANES: Mapping[int, planes.Planes] = MappingProxyType(
    {
        BF16: BF16_PLANES,
        FP16: planes.Planes(width=2, block_log=20, split=words.split_plain, join=words.join_plain),
        FP32: planes.Planes(width=4, block_log=18, split=words.split_rotated, join=words.join_rotated),
        FP64: planes.Planes(width=8, block_log=18, split=words.split_plain, join=words.join_plain),
    }
)


class Encoded(NamedTuple):
    """A codec and its payload, in `chunks` of `size` bytes together; none of them is memory of the input."""

    codec: int
    chunks: tuple[bytes | memoryview, ...]
    size: int


def encode_delta(data: bytes | memoryview, base: bytes | memoryview, dtype: str | None) -> Encoded | None:
    """Return `data` as a delta against `base`, an object of the same length; None where that does not pay."""
    return None


def encode(data: bytes | memoryview, dtype: str | None) -> Encoded:
    """Return the codec for `data` and its payload, which is never longer than `data`.

    `dtype` is safetensors' name of the numbers in `data` (`BF16`, `F32`, ...), None where there is none.
    """
    view = memoryview(data).cast("B")
    codec, payload = _encode(view, dtype)
    if payload is None or len(payload) >= len(view):
        return Encoded(RAW, (bytes(view),), len(view))
    return Encoded(codec, (payload,), len(payload))


def decode(codec: int, payload: bytes | memoryview, raw_size: int, base: bytes | None = None) -> bytes:  # noqa: ARG001
    """Return the `raw_size` bytes that were encoded as `payload`. Their hash is the caller's to check.

    Raises:
        IntegrityError: the payload is malformed, or does not hold exactly `raw_size` bytes.
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
    if codec in _PLANES:
        return planes.join(view, raw_size, _PLANES[codec])
    raise UnsupportedFormat(
        f"an object is stored with codec {codec}, which this program does not read",
        hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
    )


def versions() -> dict[str, str]:
    """Return the libraries whose versions decide the exact bytes of payloads."""
    return frames.versions()


def parameters() -> dict[str, str]:
    """Return the settings the codecs were used with, for a pack's footer."""
    return frames.parameters()


def _encode(view: memoryview, dtype: str | None) -> tuple[int, bytes | None]:
    codec = _BY_DTYPE.get(dtype or "", ZSTD)
    if len(view) < SMALL_BYTES:
        return RAW, None
    if codec == ZSTD:
        return ZSTD, frames.shrink_general(view)
    if codec == ENTROPY:
        return ENTROPY, None if entropy.looks_random(view) else frames.shrink_entropy(view)
    return codec, planes.split(view, _PLANES[codec])
