"""Two versions of the same numbers, as fine-tuning makes them, and numbers that arithmetic treats unlike others."""

import numpy as np
import numpy.typing as npt

SCALE = np.float32(0.02)

SPECIAL = {
    # zeros, denormals, ones, the largest, infinities, quiet and signalling NaNs with payloads; each with either sign
    "BF16": [0x0000, 0x0001, 0x007F, 0x0080, 0x3F80, 0x7F7F, 0x7F80, 0x7F81, 0x7FC0, 0x7FC1, 0x7FFF],
    "F16": [0x0000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0x7C00, 0x7C01, 0x7E00, 0x7E01, 0x7FFF],
    "F32": [0x0, 0x1, 0x007FFFFF, 0x00800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF],
}
WIDTHS = {"BF16": 2, "F16": 2, "F32": 4}


def two_versions(dtype: str, count: int, noise: float) -> tuple[bytes, bytes]:
    """Return `count` weights in rows of unlike size, and the same after a step of `noise` times their scale."""
    random = np.random.default_rng(5)
    rows = np.exp(random.normal(0, 0.15, size=-(-count // 1024))).astype(np.float32).repeat(1024)[:count]
    old = random.standard_normal(count, dtype=np.float32) * SCALE * rows
    new = old + random.standard_normal(count, dtype=np.float32) * np.float32(noise) * SCALE
    return as_bytes(old, dtype), as_bytes(new, dtype)


def as_bytes(numbers: npt.NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":
        bits = numbers.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return numbers.astype("<f2" if dtype == "F16" else "<f4").tobytes()


def special(dtype: str, count: int, seed: int) -> bytes:
    """Return `count` of the special numbers, drawn with either sign."""
    width = WIDTHS[dtype]
    random = np.random.default_rng(seed)
    drawn = random.choice(np.array(SPECIAL[dtype], f"<u{width}"), count)
    return (drawn | (random.integers(0, 2, count).astype(drawn.dtype) << (8 * width - 1))).astype(drawn.dtype).tobytes()
