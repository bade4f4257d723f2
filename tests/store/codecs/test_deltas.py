"""Deltas come back bit for bit, are used only where they pay, and a hostile one is an `IntegrityError`."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import deltas, sampling, streams
from tests.store.codecs.versions_of_weights import WIDTHS, special, two_versions
from tests.store.samples import random_bytes

DTYPES = sorted(codecs.DELTA_DTYPES)
MODES = {7: False, 8: True}


def coded(data: bytes, base: bytes, dtype: str, codec: int) -> bytes:
    numbers = deltas.BY_DTYPE[dtype]
    return b"".join(deltas.encode(memoryview(data), memoryview(base), numbers, grouped=MODES[codec]))


def decoded(payload: bytes, base: bytes, codec: int) -> bytes:
    return deltas.decode(memoryview(payload), len(base), memoryview(base), grouped=MODES[codec])


@pytest.mark.parametrize("codec", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_delta_is_bit_exact_for_nan_payloads_denormals_infinities_and_both_zeros(dtype: str, codec: int) -> None:
    data, base = special(dtype, 3000, 1), special(dtype, 3000, 2)
    assert decoded(coded(data, base, dtype, codec), base, codec) == data


@pytest.mark.parametrize("codec", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_delta_of_every_length_comes_back(dtype: str, codec: int) -> None:
    new, old = random_bytes(200, 3), random_bytes(200, 4)
    wrong = [n for n in range(201) if decoded(coded(new[:n], old[:n], dtype, codec), old[:n], codec) != new[:n]]
    assert wrong == []


@pytest.mark.parametrize("codec", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_delta_of_several_blocks_and_a_tail_comes_back(dtype: str, codec: int) -> None:
    old, new = two_versions(dtype, (9 << 20) // WIDTHS[dtype] + 77, 0.01)
    base, data = old + b"\x01", new + b"\xff"
    payload = coded(data, base, dtype, codec)
    assert payload[4] == 1
    assert decoded(payload, base, codec) == data


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=600),
    base=st.binary(max_size=600),
    dtype=st.sampled_from(DTYPES),
    codec=st.sampled_from(list(MODES)),
)
def test_any_two_versions_come_back(data: bytes, base: bytes, dtype: str, codec: int) -> None:
    size = min(len(data), len(base))
    payload = coded(data[:size], base[:size], dtype, codec)
    assert decoded(payload, base[:size], codec) == data[:size]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_delta_against_itself_is_almost_nothing(dtype: str) -> None:
    base, _ = two_versions(dtype, 200_000, 0)
    encoded = codecs.encode_delta(base, base, dtype)
    assert encoded is not None
    assert encoded.size * 1000 < len(base)
    assert codecs.decode(encoded.codec, b"".join(encoded.chunks), len(base), base) == base


@pytest.mark.parametrize(
    ("dtype", "noise", "least"),
    [
        ("BF16", 0.002, 6.5),
        ("BF16", 0.02, 3.1),
        ("F16", 0.002, 3.3),
        ("F16", 0.02, 1.9),
        ("F32", 0.002, 1.7),
        ("F32", 0.02, 1.5),
    ],
)
def test_a_fine_tune_shrinks_by_its_distance_from_its_base(dtype: str, noise: float, least: float) -> None:
    base, data = two_versions(dtype, (4 << 20) // WIDTHS[dtype], noise)
    encoded = codecs.encode_delta(data, base, dtype)
    assert encoded is not None
    assert encoded.codec == codecs.GROUPED_DELTA
    assert len(data) / encoded.size > least
    assert codecs.decode(encoded.codec, b"".join(encoded.chunks), len(data), base) == data


def test_changes_that_follow_no_exponent_are_not_grouped() -> None:
    base, _ = two_versions("BF16", 300_000, 0)
    step = np.random.default_rng(9).integers(0, 3, 300_000).astype("<u2")
    encoded = codecs.encode_delta((np.frombuffer(base, "<u2") + step).astype("<u2").tobytes(), base, "BF16")
    assert encoded is not None
    assert encoded.codec == codecs.DELTA


def test_no_chunk_is_the_input_itself() -> None:
    base, data = two_versions("BF16", 100_000, 0.02)
    mine = bytearray(data)
    encoded = codecs.encode_delta(memoryview(mine), base, "BF16")
    assert encoded is not None
    mine[:] = bytes(len(mine))
    assert codecs.decode(encoded.codec, b"".join(encoded.chunks), len(data), base) == data


@pytest.mark.parametrize("dtype", [None, "I8", "F64", "F8_E4M3", "C64"])
def test_other_numbers_have_no_deltas(dtype: str | None) -> None:
    base, data = two_versions("BF16", 10_000, 0.002)
    assert codecs.encode_delta(data, base, dtype) is None


def test_a_base_of_another_length_is_no_base() -> None:
    base, data = two_versions("BF16", 10_000, 0.002)
    assert codecs.encode_delta(data, base[:-2], "BF16") is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_stranger_is_no_base(dtype: str) -> None:
    data, _ = two_versions(dtype, 100_000, 0)
    stranger = data[len(data) // 2 :] + data[: len(data) // 2]
    assert codecs.encode_delta(data, stranger, dtype) is None


def test_random_bytes_are_no_delta() -> None:
    assert codecs.encode_delta(random_bytes(100_000, 1), random_bytes(100_000, 2), "BF16") is None


@pytest.mark.parametrize("words", [1, 5, 32767, 32768, 32769, 100_003, 1_000_000])
def test_the_sample_is_runs_evenly_spread(words: int) -> None:
    data = np.arange(words, dtype="<u4").astype("<u2")
    numbers = sampling.sample(memoryview(data.tobytes()), 2).view("<u2")
    if words <= 32768:
        expected = data
    else:
        starts = [run * (words - 128) // 255 for run in range(256)]
        expected = np.concatenate([data[start : start + 128] for start in starts])
    assert np.array_equal(numbers, expected)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=300), min_size=1, max_size=4))
def test_the_price_of_counts_is_the_one_of_the_format_page(rows: list[list[int]]) -> None:
    expected = 0
    for row in rows:
        surprise = len(row) * floor_log(len(row)) - sum(c * floor_log(c) for c in Counter(row).values())
        expected += min(surprise + 185 * (len(set(row)) - 1), 2048 * len(row))
    assert streams.cost(np.array([np.bincount(row, minlength=256) for row in rows])) == expected


def floor_log(number: int) -> int:
    return (number**256).bit_length() - 1


def test_a_symbol_costs_half_the_logarithm_of_e() -> None:
    assert round(256 * math.log2(math.e) / 2) == streams._SYMBOL_COST


def test_a_delta_without_its_base_is_refused() -> None:
    base, data = two_versions("BF16", 10_000, 0.002)
    payload = coded(data, base, "BF16", 8)
    with pytest.raises(IntegrityError, match="base"):
        codecs.decode(8, payload, len(data))


@pytest.mark.parametrize("size", [0, 1, 19_998, 20_002])
def test_a_base_of_another_length_is_refused(size: int) -> None:
    base, data = two_versions("BF16", 10_000, 0.002)
    payload = coded(data, base, "BF16", 8)
    with pytest.raises(IntegrityError, match=f"{size}"):
        codecs.decode(8, payload, len(data), bytes(size))


@pytest.mark.parametrize("codec", MODES)
@pytest.mark.parametrize("head", ["02160300", "0216ff00", "02160001", "02150000", "04160000", "02160200"])
def test_a_head_that_is_none_is_refused(head: str, codec: int) -> None:
    base, data = two_versions("BF16", 10_000, 0.002)
    payload = bytes.fromhex(head) + coded(data, base, "BF16", codec)[4:]
    with pytest.raises(IntegrityError):
        codecs.decode(codec, payload, len(data), base)


@settings(max_examples=150, deadline=None)
@given(payload=st.binary(max_size=200), base=st.binary(max_size=300), codec=st.sampled_from(list(MODES)))
def test_any_bytes_decode_to_the_length_of_the_base_or_not_at_all(payload: bytes, base: bytes, codec: int) -> None:
    try:
        found = codecs.decode(codec, payload, len(base), base)
    except IntegrityError:
        return
    assert len(found) == len(base)


@settings(max_examples=150, deadline=None)
@given(choice=st.data())
def test_a_changed_delta_gives_other_bytes_or_an_integrity_error(choice: st.DataObject) -> None:
    dtype, codec = choice.draw(st.sampled_from(DTYPES)), choice.draw(st.sampled_from(list(MODES)))
    base, data = two_versions(dtype, 1500, 0.01)
    changed = bytearray(coded(data, base, dtype, codec))
    for at in choice.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=4)):
        changed[at] ^= choice.draw(st.integers(1, 255))
    try:
        found = codecs.decode(codec, bytes(changed), len(data), base)
    except IntegrityError:
        return
    assert len(found) == len(data)


@pytest.mark.parametrize(
    ("codec", "planes"), [(7, "000000 020100"), (8, "000000 000201")], ids=["own order", "by exponent"]
)
def test_the_literal_delta_of_the_format_page(codec: int, planes: str) -> None:
    base = bytes.fromhex("803f 80bf 003f")
    data = bytes.fromhex("813f 81bf 003f")
    literal = bytes.fromhex("02160000 00000000 03000080 03000080" + planes)
    assert coded(data, base, "BF16", codec) == literal
    assert decoded(literal, base, codec) == data
