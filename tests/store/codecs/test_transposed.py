"""A matrix whose transpose the store has takes few bytes, and versions of it few more; hostile payloads are refused."""

import base64
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import deltas, transposed
from ptmtorrent.store.codecs.transposed import HEAD_BYTES, Head
from ptmtorrent.store.ingest.delta_base import MIN_SKETCH_BYTES, sketch_all
from tests.store.samples import numbers, random_bytes
from tests.store.vectors import matrix, tuned, turned

GOLDEN = Path(__file__).parents[2] / "golden" / "codecs.json"
WORDS = {"BF16": "<u2", "F16": "<u2", "F32": "<u4"}


def words(dtype: str, rows: int, columns: int, seed: int = 1) -> np.ndarray:
    return np.frombuffer(random_bytes(rows * columns * np.dtype(WORDS[dtype]).itemsize, seed), WORDS[dtype]).reshape(
        rows, columns
    )


def encode(data: bytes, base: bytes, dtype: str) -> codecs.Encoded | None:
    return codecs.encode_transpose(memoryview(data), memoryview(base), dtype)


@pytest.mark.parametrize("vector", ["12", "12, delta"])
def test_the_golden_payloads_are_still_read(vector: str) -> None:
    raw = turned(matrix()) if vector == "12" else turned(tuned("BF16", by_exponent=True)[:-1])
    golden = json.loads(GOLDEN.read_text())[vector]
    assert (len(raw), blake3(raw).hexdigest()) == (golden["raw_size"], golden["raw_blake3"])
    assert blake3(matrix()).hexdigest() == golden["base_blake3"]
    payload = base64.b64decode(golden["payload"])
    assert codecs.decode(codecs.TRANSPOSED, payload, len(raw), matrix()) == raw
    assert codecs.dtype_of_delta(payload) == "BF16"


@pytest.mark.parametrize("dtype", WORDS)
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (2, 3), (64, 65), (384, 96), (512, 512), (3, 40_000), (1009, 2)])
def test_a_transpose_is_found_and_comes_back(dtype: str, rows: int, columns: int) -> None:
    base = words(dtype, rows, columns)
    data = base.T.tobytes()
    encoded = encode(data, base.tobytes(), dtype)
    assert encoded is not None
    assert (encoded.codec, encoded.size) == (codecs.TRANSPOSED, HEAD_BYTES)
    payload = b"".join(encoded.chunks)
    assert codecs.decode(codecs.TRANSPOSED, payload, len(data), base.tobytes()) == data
    assert sketch_all(memoryview(data), dtype).turned == sketch_all(memoryview(base.tobytes()), dtype).turned


@pytest.mark.parametrize(
    "change", [lambda data: data[::-1], lambda data: data[:-1] + b"x", lambda data: data[: len(data) // 2], bytes.upper]
)
def test_what_is_no_transpose_is_not_taken_for_one(change: object) -> None:
    base = words("F32", 48, 100)
    assert encode(change(base.T.tobytes()), base.tobytes(), "F32") is None  # type: ignore[operator]


def test_a_vector_has_no_transpose() -> None:
    assert encode(words("F32", 1, 1009).tobytes(), words("F32", 1009, 1).tobytes(), "F32") is None


@pytest.mark.parametrize("dtype", WORDS)
def test_other_numbers_have_another_key_and_short_objects_none(dtype: str) -> None:
    base = words(dtype, 301, 303)
    changed = base.copy()
    changed[7, 7] ^= 1
    keys = {sketch_all(memoryview(one.tobytes()), dtype).turned for one in (base, base.T, changed)}
    assert (len(keys), {len(key) for key in keys}) == (2, {1})
    assert sketch_all(memoryview(base.tobytes())[: MIN_SKETCH_BYTES - 1], dtype).turned == ()


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(2, 40), columns=st.integers(2, 40), dtype=st.sampled_from(list(WORDS)), seed=st.integers(0, 9))
def test_any_matrix_and_any_version_of_it_come_back(rows: int, columns: int, dtype: str, seed: int) -> None:
    base = words(dtype, rows, columns, seed)
    raw, layout = base.tobytes(), base.T.tobytes()
    encoded = encode(layout, raw, dtype)
    assert encoded is not None
    assert codecs.decode(encoded.codec, b"".join(encoded.chunks), len(raw), raw) == layout
    other = bytearray(layout)
    other[0] ^= 1
    version = codecs.encode_turned_delta(memoryview(bytes(other)), memoryview(raw), memoryview(layout), dtype)
    if version is not None:
        assert codecs.decode(version.codec, b"".join(version.chunks), len(raw), raw) == other


def test_a_version_of_a_transpose_is_as_small_as_one_of_the_matrix() -> None:
    base = numbers(60_000).reshape(200, 300)
    new = base + numbers(60_000, 2).reshape(200, 300) * np.float32(0.002)
    raw, layout = base.tobytes(), base.T.tobytes()
    version = codecs.encode_turned_delta(memoryview(new.T.tobytes()), memoryview(raw), memoryview(layout), "F32")
    straight = codecs.encode_delta(new.tobytes(), raw, "F32")
    assert version is not None
    assert straight is not None
    assert version.size < 1.02 * straight.size
    assert codecs.decode(version.codec, b"".join(version.chunks), len(raw), raw) == new.T.tobytes()


def head(inner: int = 0, zero: int = 0, mark: int = 2, other: int = 0, rows: int = 4) -> bytes:
    return bytes([inner, zero, mark, other]) + rows.to_bytes(4, "little")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        head()[:-1],
        head() + b"x",
        head(inner=1),
        head(inner=12),
        head(zero=1),
        head(other=1),
        head(mark=3),
        head(rows=0),
        head(rows=7),
        head(rows=(1 << 32) - 1),
        head(inner=7),
        head(inner=8) + bytes(20),
    ],
)
def test_a_payload_that_declares_what_cannot_be_is_refused(payload: bytes) -> None:
    base = words("F32", 4, 6).tobytes()
    assert len(codecs.decode(codecs.TRANSPOSED, head(), len(base), base)) == len(base)
    with pytest.raises(IntegrityError):
        codecs.decode(codecs.TRANSPOSED, payload, len(base), base)


@pytest.mark.parametrize("base", [None, b"", bytes(92), bytes(100)])
def test_a_base_of_another_length_is_refused(base: bytes | None) -> None:
    with pytest.raises(IntegrityError):
        codecs.decode(codecs.TRANSPOSED, head(), 96, base)


def test_a_transpose_takes_the_memory_of_two_matrices() -> None:
    base = bytes(8 << 20)
    payload = transposed.encode(deltas.BY_DTYPE["F32"], Head(0, 1024))
    tracemalloc.start()
    try:
        codecs.decode(codecs.TRANSPOSED, payload, len(base), base)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(base) + (1 << 20)
    finally:
        tracemalloc.stop()
