from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.store.ingest.delta_base import MIN_SKETCH_BYTES, sketch

DTYPES = ("BF16", "F16", "F32")
WIDTHS = {"BF16": 2, "F16": 2, "F32": 4}
COUNT = MIN_SKETCH_BYTES // 2
SPREAD = 0.02

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


def draw(seed: int, count: int = COUNT) -> Numbers:
    return np.random.default_rng(seed).standard_normal(count) * SPREAD


def stored(numbers: Numbers, dtype: str) -> bytes:
    if dtype == "F16":
        return numbers.astype("<f2").tobytes()
    words = numbers.astype("<f4").view("<u4")
    return words.tobytes() if dtype == "F32" else (words >> 16).astype("<u2").tobytes()


def tuned(numbers: Numbers, seed: int, noise: float) -> Numbers:
    return numbers + draw(seed + 1_000_000, numbers.size) * noise


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("noise", "of_400"), [(0.002, 0), (0.02, 2), (0.05, 20)])
def test_fine_tunes_share_a_key_with_what_they_were(dtype: str, noise: float, of_400: int) -> None:
    missed = 0
    for seed in range(400):
        base = draw(seed)
        keys = set(sketch(stored(base, dtype), dtype))
        missed += not keys & set(sketch(stored(tuned(base, seed, noise), dtype), dtype))

    assert missed <= of_400


def test_thousands_of_unrelated_objects_share_no_key() -> None:
    keys = [key for seed in range(2000) for key in sketch(stored(draw(seed), "BF16"), "BF16")]

    assert len(keys) > 7_900
    assert len(set(keys)) == len(keys)


def test_objects_of_another_length_or_dtype_share_no_key() -> None:
    data = stored(draw(1, 3 * COUNT), "F16")
    lengths = [len(data) - cut for cut in (0, 1, 2, 1024, COUNT)]
    found = [frozenset(sketch(data[:length], dtype)) for length in lengths for dtype in ("F16", "BF16")]

    assert all(found)
    assert len(frozenset.union(*found)) == sum(map(len, found))


@pytest.mark.parametrize(
    "numbers",
    [np.zeros(COUNT), np.abs(draw(1)), -np.abs(draw(1)), np.ones(COUNT)],
    ids=["zeros", "positive", "negative", "ones"],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_one_sign_have_no_sketch(numbers: Numbers, dtype: str) -> None:
    assert sketch(stored(numbers, dtype), dtype) == ()


@pytest.mark.parametrize("dtype", [None, "F64", "I8", "U8", "F8_E4M3", "BOOL", ""])
def test_dtypes_without_deltas_have_no_sketch(dtype: str | None) -> None:
    assert sketch(stored(draw(1), "F32"), dtype) == ()


def test_short_objects_have_no_sketch() -> None:
    data = stored(draw(1), "BF16")

    assert sketch(b"", "BF16") == ()
    assert sketch(data[: MIN_SKETCH_BYTES - 1], "BF16") == ()
    assert sketch(data[:MIN_SKETCH_BYTES], "BF16") != ()


@pytest.mark.parametrize("columns", [128, 256, 768, 1024, 4096])
def test_signs_do_not_come_from_a_few_columns_of_a_matrix(columns: int) -> None:
    numbers = np.abs(draw(1, 1 << 20)).reshape(-1)
    numbers[np.arange(numbers.size) % columns < columns // 2] *= -1

    assert len(sketch(stored(numbers, "BF16"), "BF16")) >= 3


def test_keys_are_the_same_numbers_everywhere() -> None:
    words = np.arange(COUNT, dtype="<u4") * np.uint32(2654435761)

    assert sketch(words.tobytes(), "F32") == (
        1465718033209785657,
        4781143749319947957,
        5114926519959318004,
        1609507904746368386,
    )


def test_any_buffer_gives_the_same_keys() -> None:
    data = stored(draw(5), "F32")

    assert sketch(data, "F32") == sketch(memoryview(bytearray(data)), "F32") == sketch(memoryview(data)[:], "F32")


@given(data=st.binary(min_size=0, max_size=64), times=st.integers(0, 9000), dtype=st.sampled_from(DTYPES))
@settings(max_examples=60, deadline=None)
def test_any_bytes_have_at_most_four_distinct_signed_keys(data: bytes, times: int, dtype: str) -> None:
    keys = sketch(data * times, dtype)

    assert len(keys) <= 4
    assert all(before != after for before, after in pairwise(sorted(keys)))
    assert all(-(1 << 63) <= key < 1 << 63 for key in keys)
