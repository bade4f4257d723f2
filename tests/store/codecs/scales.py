"""Blocks whose numbers follow from the size of their scale: for golden files from integers alone, or drawn."""

import itertools

import numpy as np

from ptmtorrent.store.codecs import quantised
from tests.store.vectors import _draws

GOLDEN_GROUPS = 760
ROW = 20


def golden_scaled() -> bytes:
    """`GOLDEN_GROUPS` blocks of Q5_0 and the beginning of one more; integers alone make them, the same everywhere."""
    draws = _draws()
    found = bytearray()
    for _ in range(GOLDEN_GROUPS):
        size = next(draws) & 3
        numbers = [16 + (one & (1 << 2 * size) - 1).bit_count() - size for one in itertools.islice(draws, 32)]
        top = sum((number >> 4) << at for at, number in enumerate(numbers))
        low = bytes(numbers[at] & 15 | (numbers[at + 16] & 15) << 4 for at in range(16))
        found += bytes([0, 0x2C - size]) + top.to_bytes(4, "little") + low
    return bytes(found) + b"tail!"


def scaled_blocks(dtype: str, count: int, seed: int = 1) -> bytes:
    """`count` blocks of any bytes, whose numbers are larger where the scale is smaller, and `ROW` blocks in a row."""
    kind, draws = quantised.KINDS[dtype], np.random.default_rng(seed)
    blocks = draws.integers(0, 256, (count, kind.layout.block), dtype=np.uint8)
    for at in {"Q4_K": (0, 2), "Q6_K": (208,)}.get(dtype, (0,)):
        blocks[:, at + 1] = draws.integers(0x24, 0x2C, count)
    if dtype == "Q4_K":
        blocks[:, 4:16] = 33
    if dtype == "Q6_K":
        blocks[:, 192:208] = draws.integers(40, 90, (count, 16))
    codes = kind.codes(blocks).reshape(count, kind.groups, 1) / 1024
    columns = np.resize(draws.normal(0, 1, ROW * kind.width), (count, kind.groups, kind.width))
    spread = np.exp2(np.median(codes) - codes + (columns if kind.has_columns else 0))
    numbers = draws.standard_normal((count, kind.groups, kind.width)) * spread
    if dtype == "Q4_K":
        low, high = (np.clip(8 + 1.5 * numbers, 0, 15).astype(np.uint8) for _ in range(2))
        symbols = low | high << 4
    elif dtype == "Q8_0":
        symbols = np.clip(16 * numbers, -127, 127).astype(np.int8).view(np.uint8)
    else:
        top = 31 if dtype == "Q5_0" else 63
        symbols = np.clip((top + 1) / 2 + top / 10 * numbers, 0, top).astype(np.uint8)
    if kind.has_columns:
        blocks[:, 1] = np.clip(0x28 + np.resize(draws.integers(-3, 4, ROW), count) + draws.integers(0, 2, count), 1, 99)
    quantised.pack(kind, np.ascontiguousarray(symbols).reshape(-1), blocks.reshape(-1))
    return blocks.tobytes()
