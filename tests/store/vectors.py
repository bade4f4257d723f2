"""Numbers for golden files: made of integers alone, so that every machine and every library version has the same."""

import struct
from collections.abc import Iterator

COUNT = 600


def _draws() -> Iterator[int]:
    state = 1
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield state >> 16


def _weights(exponent_bits: int, mantissa_bits: int) -> list[int]:
    """Numbers whose exponents gather around the middle, as those of weights do."""
    middle = (1 << (exponent_bits - 1)) - 6
    words: list[int] = []
    for _, draw in zip(range(COUNT), _draws(), strict=False):
        exponent = middle + (draw & 0x1F).bit_count()
        mantissa = (draw >> 8) % (1 << min(mantissa_bits, 32)) << max(0, mantissa_bits - 32)
        words.append((draw >> 47 & 1) << (exponent_bits + mantissa_bits) | exponent << mantissa_bits | mantissa)
    return words


def weights(dtype: str) -> bytes:
    """`COUNT` little-endian numbers, and one byte that is no number."""
    spelling, exponent, mantissa = {
        "BF16": ("H", 8, 7),
        "F16": ("H", 5, 10),
        "F32": ("I", 8, 23),
        "F64": ("Q", 11, 52),
    }[dtype]
    return struct.pack(f"<{COUNT}{spelling}", *_weights(exponent, mantissa)) + b"\x7f"


def tuned(dtype: str, *, by_exponent: bool) -> bytes:
    """`weights(dtype)`, each number moved by a few steps, of one absolute size where `by_exponent`."""
    spelling, exponent_at, top = {"BF16": ("H", 7, 127), "F32": ("I", 23, 127)}[dtype]
    words = struct.unpack(f"<{COUNT}{spelling}", weights(dtype)[:-1])
    moved: list[int] = []
    for word, draw in zip(words, _draws(), strict=False):
        finer = top - (word >> exponent_at & 0xFF) if by_exponent else 0
        moved.append(word + ((draw >> 41 & 3) - 1) * (1 << max(0, finer)))
    return struct.pack(f"<{COUNT}{spelling}", *moved) + b"\x80"


def text() -> bytes:
    return b'{"hidden_size":768,"layers":[' + b",".join(b"%d" % (number % 7) for number in range(COUNT)) + b"]}"


def small_numbers() -> bytes:
    return bytes((draw & 0xFF).bit_count() for _, draw in zip(range(2 * COUNT), _draws(), strict=False))


def matrix() -> bytes:
    """The bf16 numbers as a matrix of 24 rows."""
    return weights("BF16")[:-1]


def turned(data: bytes) -> bytes:
    """The transpose of a matrix of 24 rows of 2-byte numbers."""
    words = struct.unpack(f"<{COUNT}H", data)
    columns = COUNT // 24
    return struct.pack(f"<{COUNT}H", *(word for column in range(columns) for word in words[column::columns]))


def unnamed() -> bytes:
    """Three bytes, then fp32 numbers with the mantissas of bf16: enough for a sample."""
    words: list[int] = []
    for _, draw in zip(range(1 << 14), _draws(), strict=False):
        words.append((draw >> 47 & 1) << 31 | (121 + (draw & 0x1F).bit_count()) << 23 | (draw >> 8 & 0x7F) << 16)
    return b"odd" + struct.pack(f"<{len(words)}I", *words)


RAW = {
    0: ("none", lambda: b"stored as it is"),
    1: ("I8", small_numbers),
    2: ("none", text),
    3: ("BF16", lambda: weights("BF16")),
    4: ("F16", lambda: weights("F16")),
    5: ("F32", lambda: weights("F32")),
    6: ("F64", lambda: weights("F64")),
}
"""By codec: the dtype hint that leads to it, and the raw bytes."""

DELTAS = {
    7: ("F32", lambda: tuned("F32", by_exponent=False), lambda: weights("F32")),
    8: ("BF16", lambda: tuned("BF16", by_exponent=True), lambda: weights("BF16")),
}
"""By codec: the dtype, the raw bytes that lead to it, and those of their base."""
