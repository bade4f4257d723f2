"""The contract of codecs: what is encoded comes back, bounded and never longer; damage is an `IntegrityError`."""

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import streams, words
from tests.store.samples import bf16, numbers, random_bytes

DTYPES = [
    None,
    "BF16",
    "F16",
    "F32",
    "F64",
    "C64",
    "I8",
    "U8",
    "F8_E4M3",
    "I64",
    "BOOL",
    "Q4_0",
    "Q4_K",
    "Q5_0",
    "Q6_K",
    "Q8_0",
    "IQ2_S",
    "NO_SUCH_DTYPE",
]

SAMPLES = {
    "BF16": (codecs.BF16, bf16(700_001)),
    "F16": (codecs.FP16, numbers(700_001).astype("<f2").tobytes()),
    "F32": (codecs.FP32, numbers(300_001).tobytes()),
    "F64": (codecs.FP64, numbers(150_001).astype("<f8").tobytes()),
    "I8": (codecs.ENTROPY, (numbers(200_000) * 1000).astype(np.int8).tobytes()),
    None: (codecs.ZSTD, b'{"hidden_size": 768}\n' * 1000),
}


def encode(data: bytes | memoryview, dtype: str | None) -> tuple[int, bytes]:
    encoded = codecs.encode(data, dtype)
    payload = b"".join(encoded.chunks)
    assert len(payload) == encoded.size
    return encoded.codec, payload


@pytest.mark.parametrize("dtype", SAMPLES)
def test_each_dtype_gets_its_codec_and_comes_back(dtype: str | None) -> None:
    expected, data = SAMPLES[dtype]
    codec, payload = encode(data, dtype)
    assert codec == expected
    assert len(payload) < len(data)
    assert codecs.decode(codec, payload, len(data)) == data


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
@pytest.mark.parametrize("odd", [1, 2, 3, 5, 7])
def test_bytes_after_the_last_whole_number_come_back(dtype: str, odd: int) -> None:
    data = SAMPLES[dtype][1][: 40_000 + odd]
    codec, payload = encode(data, dtype)
    assert codecs.decode(codec, payload, len(data)) == data


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_bytes_are_stored_raw(dtype: str | None) -> None:
    data = random_bytes(100_000)
    assert encode(data, dtype) == (codecs.RAW, data)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=4000), repeat=st.integers(1, 4), dtype=st.sampled_from(DTYPES))
def test_whatever_is_encoded_comes_back_and_is_never_longer(data: bytes, repeat: int, dtype: str | None) -> None:
    whole = data * repeat
    codec, payload = encode(memoryview(whole), dtype)
    assert len(payload) <= len(whole)
    assert codecs.decode(codec, payload, len(whole)) == whole


@settings(max_examples=150, deadline=None)
@given(choice=st.data())
def test_a_changed_payload_gives_other_bytes_or_an_integrity_error(choice: st.DataObject) -> None:
    codec, data = SAMPLES[choice.draw(st.sampled_from(list(SAMPLES)))]
    small = data[:3000]
    codec, payload = encode(small, {v[0]: k for k, v in SAMPLES.items()}[codec])
    changed = bytearray(payload)
    for at in choice.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=4)):
        changed[at] ^= choice.draw(st.integers(1, 255))
    cut = changed[: choice.draw(st.integers(0, len(changed)))] if choice.draw(st.booleans()) else changed
    try:
        decoded = codecs.decode(codec, bytes(cut), len(small))
    except IntegrityError:
        return
    assert len(decoded) == len(small)


@settings(max_examples=150, deadline=None)
@given(
    codec=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 9, 10, 11]),
    payload=st.binary(max_size=200),
    raw_size=st.integers(0, 300),
)
def test_any_bytes_decode_to_the_promised_size_or_not_at_all(codec: int, payload: bytes, raw_size: int) -> None:
    try:
        decoded = codecs.decode(codec, payload, raw_size)
    except IntegrityError:
        return
    assert len(decoded) == raw_size


@pytest.mark.parametrize("codec", [1, 2])
def test_a_frame_that_declares_another_size_is_refused_before_it_is_decoded(codec: int) -> None:
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(32 << 20))
    with pytest.raises(IntegrityError, match="declares"):
        codecs.decode(codec, bomb, 5000)


def test_a_frame_without_a_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 5000)
    with pytest.raises(IntegrityError):
        codecs.decode(codecs.ZSTD, frame, 5000)


def test_a_frame_with_a_huge_window_is_refused() -> None:
    settings_ = zstandard.ZstdCompressionParameters(window_log=28, write_content_size=0)
    stream = zstandard.ZstdCompressor(compression_params=settings_).compressobj()
    frame = stream.compress(b"a" * 5000) + stream.flush()
    with pytest.raises(IntegrityError):
        codecs.decode(codecs.ZSTD, frame, 5000)


def test_bytes_after_a_frame_are_refused() -> None:
    data = b"abc" * 5000
    codec, payload = encode(data, None)
    with pytest.raises(IntegrityError):
        codecs.decode(codec, payload + b"x", len(data))


@pytest.mark.parametrize("codec", [13, 14, 255])
def test_codecs_of_later_versions_are_named_as_such(codec: int) -> None:
    with pytest.raises(UnsupportedFormat, match=f"codec {codec}"):
        codecs.decode(codec, b"abc", 100)


def test_more_stored_than_raw_is_refused() -> None:
    with pytest.raises(IntegrityError):
        codecs.decode(codecs.RAW, b"abcd", 3)


def test_an_object_beyond_the_limit_is_refused() -> None:
    with pytest.raises(IntegrityError):
        codecs.decode(codecs.ZSTD, b"abcd", codecs.MAX_RAW_BYTES + 1)


def test_the_logarithms_are_exact() -> None:
    table = words.logarithms()
    wrong = [x for x in range(1, words.MAX_COUNT + 1) if table[x] != (x**256).bit_length() - 1]
    assert wrong == []
    assert table[0] == 0


def test_entropy_is_told_on_both_sides_of_the_limit() -> None:
    # 238 equally likely values have 7.89 bits, 242 have 7.92.
    assert not streams.looks_random((np.arange(1 << 14) % 238).astype(np.uint8))
    assert streams.looks_random((np.arange(1 << 14) % 242).astype(np.uint8))


def test_bf16_weights_shrink_to_two_thirds() -> None:
    data = bf16(2 << 20)
    _, payload = encode(data, "BF16")
    assert len(data) / len(payload) > 1.5
