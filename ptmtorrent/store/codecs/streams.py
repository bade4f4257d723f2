"""Coded streams of bytes: Zstandard frames, and payloads of several streams behind a table of their stored lengths.

Frames are written with fixed settings and read without trusting what they declare. "Entropy-only" is an ordinary frame
with settings by which the match finder finds nothing, so that each block becomes Huffman literals. On exponent planes
it beats zstd-1 in ratio and speed. Negative levels do not work for this: with `target_length` above zero, zstd does not
code literals.

The table has one little-endian u32 per stream: bit 31 is set if it is raw, bits 0 to 30 are its stored length.

Bytes that look random are stored as they are. That is decided from a sample, in integers, so that every machine
decides alike: it is every ceil(length / 16384)-th byte. With counts `c` of the byte values, `n` their sum and
`L(x) = floor(256 * log2(x))`, it looks random when `n * L(n) - sum(c * L(c)) > 7.9 * 256 * n`.
"""

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import zstandard

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs import kernel
from ptmtorrent.store.codecs.scratch import Bytes
from ptmtorrent.store.codecs.words import FRACTION_BITS, logarithms

SAMPLE_BYTES = 16384
_LIMIT_TENTHS = 79
"""7.9 bits, in tenths of a bit."""

_BYTE_COST = 8 << FRACTION_BITS
_SYMBOL_COST = 185
"""Correction per additional value in use, log2(e) / 2 bits: a sample underestimates entropy by it (Miller 1955)."""


def looks_random(data: memoryview | Bytes) -> bool:
    """Return whether a sample of `data` has more than 7.9 bits of order-0 entropy per byte."""
    every = np.asarray(data, dtype=np.uint8)
    if not every.size:
        return False
    counts = kernel.chosen().count(every, -(-every.size // SAMPLE_BYTES))
    logs = logarithms()
    size = -(-every.size // -(-every.size // SAMPLE_BYTES))
    surprise = size * int(logs[size]) - int(counts @ logs[counts])
    return 10 * surprise > _LIMIT_TENTHS * (size << FRACTION_BITS)


def cost(counts: npt.NDArray[np.int64]) -> int:
    """Return the cost of coding bytes with these counts, in 1/256 bits; each row of 256 counts has its own table."""
    return int(costs(counts).sum())


def costs(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the cost of each row of 256 counts of bytes, in 1/256 bits.

    For a row with counts `c` of `k` values and `n` their sum, at most 32768, it is
    `min(n * L(n) - sum(c * L(c)) + 185 * (k - 1), 8 * 256 * n)`.
    """
    logs = logarithms()
    sizes = counts.sum(axis=1)
    used = np.count_nonzero(counts, axis=1)
    coded = sizes * logs[sizes] - (counts * logs[counts]).sum(axis=1) + _SYMBOL_COST * np.maximum(used - 1, 0)
    shorter: npt.NDArray[np.int64] = np.minimum(coded, _BYTE_COST * sizes)
    return shorter


_RAW_FLAG = 1 << 31
_ENTRY_BYTES = 4
GENERAL_LEVEL = 3
MAX_WINDOW_BYTES = 1 << 27
"""Limit of the memory that a frame may require of a reader (128 MiB)."""

_ENTROPY = {
    "strategy": zstandard.STRATEGY_FAST,
    "min_match": 7,
    "target_length": 0,
    "hash_log": 6,
    "chain_log": 6,
    "search_log": 1,
    "window_log": 20,
}


class _Contexts(threading.local):
    """zstd contexts, one of each per thread: they are expensive to create and not thread-safe."""

    def __init__(self) -> None:
        fixed = zstandard.ZstdCompressionParameters(**_ENTROPY, write_content_size=1)
        self.entropy = zstandard.ZstdCompressor(compression_params=fixed)
        self.general = zstandard.ZstdCompressor(level=GENERAL_LEVEL, write_content_size=True)
        self.reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)


_contexts = _Contexts()


def shrink_entropy(data: memoryview) -> bytes:
    """Return one frame of Huffman literals."""
    return _contexts.entropy.compress(data)


def shrink_general(data: memoryview) -> bytes:
    """Return one frame at level 3."""
    return _contexts.general.compress(data)


def expand(payload: memoryview, raw_size: int) -> bytes:
    """Return the bytes of the one frame in `payload`.

    The declared size is checked before the library decodes the payload: its one-shot call allocates what a frame
    declares, even if that exceeds the limit it is given.

    Raises:
        IntegrityError: not a single frame, damaged, or not exactly `raw_size` bytes.
    """
    try:
        head = zstandard.get_frame_parameters(payload)
        if head.content_size != raw_size or head.window_size > MAX_WINDOW_BYTES:
            raise IntegrityError(f"a zstd frame declares other than the expected {raw_size} bytes")
        data = _contexts.reader.decompress(payload, max_output_size=raw_size, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise IntegrityError(f"a zstd frame is damaged: {error}") from error
    if len(data) != raw_size:
        raise IntegrityError(f"a zstd frame holds {len(data)} bytes instead of {raw_size}")
    return data


def versions() -> dict[str, str]:
    """Return the versions of libzstd and its binding."""
    libzstd = ".".join(str(part) for part in zstandard.ZSTD_VERSION)
    return {"libzstd": libzstd, "zstandard": zstandard.__version__}


def parameters() -> dict[str, str]:
    """Return the settings of both types of frames."""
    entropy = ",".join(f"{name}={value}" for name, value in sorted(_ENTROPY.items()))
    return {"entropy-only": entropy, "zstd": f"level={GENERAL_LEVEL}"}


class Streams:
    """Collects the stored form of streams, and their table."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self._table: list[int] = []

    def add(self, stream: Bytes) -> None:
        """Store `stream` in its shorter form; the caller may reuse its memory."""
        self._append(*_shorter(stream))

    def add_general(self, stream: Bytes) -> None:
        """Store `stream`, of which nothing is known, in its shorter form, with repetitions found."""
        shrunk = shrink_general(stream.data)
        self._append(*((shrunk, 0) if len(shrunk) < stream.size else (stream.tobytes(), _RAW_FLAG)))

    def _append(self, chunk: bytes, flag: int) -> None:
        self.chunks.append(chunk)
        self._table.append(flag | len(chunk))

    def table(self) -> bytes:
        """Return the table of all added streams."""
        return np.array(self._table, "<u4").tobytes()


def read_table(payload: memoryview, offset: int, count: int, tail: int) -> Iterator[tuple[memoryview, bool]]:
    """Return an iterator over the `count` streams whose table is at `offset`: stored bytes, and whether they are raw.

    Raises:
        IntegrityError: table, streams and `tail` bytes do not add up to the payload.
    """
    start = offset + _ENTRY_BYTES * count
    if len(payload) < start:
        raise IntegrityError("a payload ends inside its table")
    table: list[int] = np.frombuffer(payload[offset:start], "<u4").tolist()
    if start + sum(entry & ~_RAW_FLAG for entry in table) + tail != len(payload):
        raise IntegrityError("the streams of a payload do not add up to its length")
    return _stored(payload, start, table)


def read(stored: memoryview, is_raw: bool, size: int) -> Bytes:  # noqa: FBT001  # half of an unpacked pair
    """Return the `size` bytes of a stream.

    Raises:
        IntegrityError: the stream is damaged or has the wrong length.
    """
    if not is_raw:
        return np.frombuffer(expand(stored, size), np.uint8)
    if len(stored) != size:
        raise IntegrityError(f"a raw stream has {len(stored)} bytes instead of {size}")
    return np.frombuffer(stored, np.uint8)


def _shorter(stream: Bytes) -> tuple[bytes, int]:
    if not looks_random(stream):
        shrunk = shrink_entropy(stream.data)
        if len(shrunk) < stream.size:
            return shrunk, 0
    return stream.tobytes(), _RAW_FLAG


def _stored(payload: memoryview, offset: int, table: list[int]) -> Iterator[tuple[memoryview, bool]]:
    for entry in table:
        length = entry & ~_RAW_FLAG
        yield payload[offset : offset + length], length != entry
        offset += length
