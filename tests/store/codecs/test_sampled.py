"""Bytes that no dtype describes are taken for words where a sample shows words; hostile payloads are refused."""

import base64
import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import kernel, sampled, streams, widths
from ptmtorrent.store.codecs.widths import KINDS, Kind
from tests.store.samples import bf16, numbers, random_bytes
from tests.store.vectors import unnamed

GOLDEN = Path(__file__).parents[2] / "golden" / "codecs.json"
NATIVE = kernel.load_native()
BLOCK = 1 << sampled.BLOCK_LOG
WEIGHTS = {
    "BF16": np.frombuffer(bf16(500_000), "<u2"),
    "F16": numbers(500_000).astype("<f2").view("<u2"),
    "F32": numbers(250_000).view("<u4"),
    "F64": numbers(125_000).astype("<f8").view("<u8"),
}


def coded(data: bytes, kinds: list[Kind]) -> bytes:
    return b"".join(sampled.encode(memoryview(data), kinds))


def decoded(payload: bytes, raw_size: int) -> bytes:
    return sampled.decode(memoryview(payload), raw_size)


def test_the_golden_payload_is_still_read_and_its_bytes_still_lead_to_it() -> None:
    raw, vector = unnamed(), json.loads(GOLDEN.read_text())["11"]
    assert (len(raw), blake3(raw).hexdigest()) == (vector["raw_size"], vector["raw_blake3"])
    assert codecs.decode(codecs.SAMPLED, base64.b64decode(vector["payload"]), len(raw)) == raw
    assert codecs.encode(raw, None).codec == codecs.SAMPLED
    assert sampled.kinds_of(memoryview(raw)) == [Kind(4, True, 3)]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("odd", [0, 1, 3])
@pytest.mark.parametrize("dtype", WEIGHTS)
def test_weights_of_any_dtype_and_byte_order_at_any_byte_are_as_small_as_with_their_dtype(
    dtype: str, odd: int, *, big_endian: bool
) -> None:
    words = WEIGHTS[dtype]
    data = b"odd"[:odd] + (words.byteswap() if big_endian else words).tobytes()
    encoded = codecs.encode(data, None)
    assert encoded.codec == codecs.SAMPLED
    assert 500 * encoded.size < 503 * codecs.encode(words.tobytes(), dtype).size
    assert codecs.decode(codecs.SAMPLED, b"".join(encoded.chunks), len(data)) == data


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (random_bytes(3 * BLOCK), codecs.RAW),
        (b'{"hidden_size": 768}\n' * 30_000, codecs.ZSTD),
        (bytes(BLOCK), codecs.ZSTD),
        ((numbers(600_000) * 40).astype(np.int8).tobytes(), codecs.ZSTD),
    ],
    ids=["random", "text", "zeros", "small numbers"],
)
def test_bytes_that_are_no_words_are_coded_as_before(data: bytes, codec: int) -> None:
    assert sampled.kinds_of(memoryview(data)) is None
    assert codecs.encode(data, None).codec == codec


def test_short_objects_are_not_sampled() -> None:
    data = numbers(sampled.MIN_BYTES).tobytes()
    found = [codecs.encode(data[:size], None).codec for size in (sampled.MIN_BYTES - 1, sampled.MIN_BYTES)]
    assert found == [codecs.ZSTD, codecs.SAMPLED]


def test_weights_that_repeat_are_coded_by_their_repetitions() -> None:
    data = numbers(10_000).tobytes() * 20
    assert sampled.kinds_of(memoryview(data)) is not None
    encoded = codecs.encode(data, None)
    assert encoded.codec == codecs.ZSTD
    assert encoded.size == len(streams.shrink_general(memoryview(data)))


def test_each_block_is_taken_for_what_it_is() -> None:
    single, text = numbers(BLOCK // 4).tobytes(), b"a text of some kind, " * BLOCK
    data = single + text[:BLOCK] + random_bytes(BLOCK) + b"x" + single
    kinds = sampled.kinds_of(memoryview(data))
    assert kinds == [Kind(4, True), Kind(1), Kind(1), Kind(4, True, 1), Kind(1)]
    assert decoded(coded(data, kinds), len(data)) == data


@settings(max_examples=40, deadline=None)
@given(size=st.integers(0, 3 * BLOCK), seed=st.integers(0, 5), choice=st.data())
def test_any_bytes_taken_for_anything_come_back(size: int, seed: int, choice: st.DataObject) -> None:
    data = random_bytes(size, seed)
    blocks = -(-size // BLOCK)
    kinds = choice.draw(st.lists(st.sampled_from(KINDS), min_size=blocks, max_size=blocks))
    assert decoded(coded(data, kinds), size) == data


@pytest.mark.skipif(NATIVE is None, reason="the native kernel is not built")
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_both_kernels_write_and_read_the_same_bytes(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    data = numbers(BLOCK // 2).tobytes() + b"tail!"
    kinds = [kind] * -(-len(data) // BLOCK)
    written = []
    for one in (NATIVE, kernel.NUMPY):
        monkeypatch.setattr(kernel, "chosen", lambda one=one: one)
        written.append(coded(data, kinds))
        assert decoded(written[-1], len(data)) == data
    assert written[0] == written[1]


def _kind(payload: bytearray) -> None:
    payload[4] = len(KINDS)


def _log(payload: bytearray) -> None:
    payload[0] = 20


def _zeros(payload: bytearray) -> None:
    payload[2] = 1


def _table(payload: bytearray) -> None:
    payload[6] ^= 1


def _short(payload: bytearray) -> None:
    del payload[5:]


@pytest.mark.parametrize("damage", [_kind, _log, _zeros, _table, _short])
def test_a_payload_that_declares_what_cannot_be_is_refused(damage: Callable[[bytearray], None]) -> None:
    data = numbers(BLOCK // 4 + 100).tobytes()
    payload = bytearray(coded(data, [Kind(4, True, 1), Kind(2)]))
    damage(payload)
    with pytest.raises(IntegrityError):
        decoded(bytes(payload), len(data))


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 60), by=st.integers(1, 255), cut=st.integers(0, 40))
def test_a_changed_payload_gives_other_bytes_or_an_integrity_error(at: int, by: int, cut: int) -> None:
    data = numbers(1000).tobytes()
    payload = bytearray(coded(data, [Kind(4, True, 3)]))
    payload[at] ^= by
    with suppress(IntegrityError):
        assert len(decoded(bytes(payload[: len(payload) - cut]), len(data))) == len(data)


def test_a_payload_takes_no_more_memory_than_its_object_and_a_few_blocks() -> None:
    data = bytes(64 * BLOCK)
    payload = coded(data, [Kind(8)] * 64)
    assert len(payload) < len(data) // 100
    decoded(payload, len(data))
    tracemalloc.start()
    try:
        decoded(payload, len(data))
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + 4 * BLOCK
    finally:
        tracemalloc.stop()


def test_the_sample_is_spread_over_the_block_and_costs_the_same_wherever_a_word_begins() -> None:
    words = WEIGHTS["F32"].tobytes()[:BLOCK]
    every = np.frombuffer(b"xyz" + words, np.uint8)
    assert [widths.kind_of(every[at : at + BLOCK - 8]).phase for at in range(4)] == [3, 2, 1, 0]
