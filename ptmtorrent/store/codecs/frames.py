"""Zstandard frames, written with fixed settings and read without trusting what they declare.

"Entropy-only" is an ordinary frame with settings by which the match finder finds nothing, so that each block becomes
Huffman literals. On exponent planes it beats zstd-1 in ratio and speed. Negative levels do not work for this: with
`target_length` above zero, zstd does not code literals.
"""

import threading

import zstandard

from ptmtorrent.errors import IntegrityError

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
