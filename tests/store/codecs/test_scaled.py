"""Numbers ordered by the size of their scale come back, whatever the plan; hostile payloads are refused."""

import base64
import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import blocks, choice, fields, kernel, scaled, streams
from ptmtorrent.store.codecs.grouping import BIAS, MAX_SLOTS, Classes
from ptmtorrent.store.codecs.quantised import KINDS
from ptmtorrent.store.codecs.scaled import Plan
from tests.store.codecs.scales import ROW, golden_scaled, scaled_blocks
from tests.store.samples import random_bytes

GOLDEN = Path(__file__).parents[2] / "golden" / "codecs.json"
NATIVE = kernel.load_native()
HEAD = struct.Struct("<BBHBBBBIH")


def coded(data: bytes, plan: Plan) -> bytes:
    return b"".join(scaled.encode(memoryview(data), plan))


def decoded(payload: bytes, raw_size: int) -> bytes:
    return scaled.decode(memoryview(payload), raw_size)


def plan_of(dtype: str, period: int = 0) -> Plan:
    kind = KINDS[dtype]
    columns = (np.arange(period * kind.width) * 11 % 60).astype(np.uint8)
    scales = Classes(0, BIAS + 0x26, 4 if kind.splits else 1)
    return Plan(kind, scales, Classes(8, (BIAS + 0x2600) >> 8, 6, columns))


def test_the_golden_payload_is_still_read_and_its_dtype_still_leads_to_it() -> None:
    raw, vector = golden_scaled(), json.loads(GOLDEN.read_text())["10"]
    assert (len(raw), blake3(raw).hexdigest()) == (vector["raw_size"], vector["raw_blake3"])
    assert codecs.decode(codecs.SCALED, base64.b64decode(vector["payload"]), len(raw)) == raw
    assert codecs.encode(raw, "Q5_0").codec == codecs.SCALED


@pytest.mark.parametrize("dtype", KINDS)
def test_numbers_that_follow_their_scale_are_smaller_than_fields(dtype: str) -> None:
    data = scaled_blocks(dtype, 6000) + b"end"
    encoded = codecs.encode(data, dtype)
    assert encoded.codec == codecs.SCALED
    assert 1.01 * encoded.size < sum(map(len, fields.encode(memoryview(data), blocks.BY_DTYPE[dtype])))
    assert codecs.decode(encoded.codec, b"".join(encoded.chunks), len(data)) == data


def test_the_row_of_a_matrix_is_found_where_its_columns_differ() -> None:
    plan = choice.plan_for(memoryview(scaled_blocks("Q8_0", 6000)), KINDS["Q8_0"])
    assert plan is not None
    assert plan.period == ROW


@pytest.mark.parametrize("dtype", KINDS)
def test_numbers_that_say_nothing_are_not_ordered(dtype: str) -> None:
    assert choice.plan_for(memoryview(random_bytes(200_000)), KINDS[dtype]) is None


@pytest.mark.parametrize("dtype", KINDS)
def test_short_objects_are_coded_by_their_fields(dtype: str) -> None:
    assert choice.plan_for(memoryview(bytes(choice.MIN_BYTES - 1)), KINDS[dtype]) is None


@pytest.mark.skipif(NATIVE is None, reason="the native kernel was not built: no C compiler")
@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(list(KINDS)),
    size=st.integers(0, 9000),
    shift=st.integers(7, 16),
    slots=st.integers(1, MAX_SLOTS),
    low=st.integers(0, 700),
    period=st.integers(0, 9),
    seed=st.integers(0, 9),
)
def test_any_bytes_come_back_by_any_plan_and_both_kernels_write_the_same(  # noqa: PLR0917  # as drawn
    dtype: str, size: int, shift: int, slots: int, low: int, period: int, seed: int
) -> None:
    data, kind = random_bytes(size, seed), KINDS[dtype]
    columns = np.frombuffer(random_bytes(period * kind.width if kind.has_columns else 0, seed + 1), np.uint8)
    plan = Plan(kind, Classes(0, BIAS + 90, 7 if kind.splits else 1), Classes(shift, low, slots, columns))
    written = []
    with pytest.MonkeyPatch.context() as patch:
        for one in (kernel.NUMPY, NATIVE):
            patch.setattr(kernel, "chosen_for_scaled", lambda one=one: one)
            written.append(coded(data, plan))
            assert decoded(written[-1], size) == data
    assert written[0] == written[1]


@pytest.mark.parametrize(("dtype", "period"), [("Q8_0", 0), ("Q8_0", 7), ("Q5_0", 0), ("Q4_K", 0), ("Q6_K", 0)])
def test_blocks_of_several_segments_and_a_tail_come_back(dtype: str, period: int) -> None:
    pattern = np.arange((9 << 20) + 7, dtype=np.uint32)
    data = (pattern * pattern >> 7).astype(np.uint8).tobytes()
    assert decoded(coded(data, plan_of(dtype, period)), len(data)) == data


HOSTILE = {
    name: (data, coded(data, plan))
    for name, data, plan in (
        ("Q8_0", scaled_blocks("Q8_0", 12) + b"end", plan_of("Q8_0", 2)),
        ("Q5_0", scaled_blocks("Q5_0", 20) + b"end", plan_of("Q5_0")),
        ("Q4_K", scaled_blocks("Q4_K", 3) + b"end", plan_of("Q4_K")),
        ("Q6_K", scaled_blocks("Q6_K", 2) + b"end", plan_of("Q6_K")),
    )
}


@pytest.mark.parametrize(("raw", "payload"), HOSTILE.values(), ids=HOSTILE)
def test_a_payload_cut_anywhere_is_refused(raw: bytes, payload: bytes) -> None:
    for length in range(len(payload)):
        with pytest.raises(IntegrityError):
            decoded(payload[:length], len(raw))


@pytest.mark.parametrize(("raw", "payload"), HOSTILE.values(), ids=HOSTILE)
def test_a_payload_with_any_byte_changed_is_refused_or_has_the_promised_size(raw: bytes, payload: bytes) -> None:
    refused = 0
    for at in range(len(payload)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(payload)
            changed[at] ^= flip
            try:
                assert len(decoded(bytes(changed), len(raw))) == len(raw)
            except IntegrityError:
                refused += 1
    assert refused > 3 * 16


GOOD = (0, 22, 3, 1, 0, 8, 1, 0, 0)
LIES = {
    "an unknown kind": (4, 22, 3, 1, 0, 8, 1, 0, 0),
    "other segments": (0, 20, 3, 1, 0, 8, 1, 0, 0),
    "another tail": (0, 22, 4, 1, 0, 8, 1, 0, 0),
    "no classes of scales": (0, 22, 3, 0, 0, 8, 1, 0, 0),
    "33 classes of scales": (0, 22, 3, 33, 0, 8, 1, 0, 0),
    "no classes of numbers": (0, 22, 3, 1, 0, 8, 0, 0, 0),
    "33 classes of numbers": (0, 22, 3, 1, 0, 8, 33, 0, 0),
    "a shift of 17": (0, 22, 3, 1, 0, 17, 1, 0, 0),
    "a low of 2^19": (0, 22, 3, 1, 0, 8, 1, 1 << 19, 0),
    "columns below their unit": (0, 22, 3, 1, 0, 6, 1, 0, 1),
    "columns without end": (0, 22, 3, 1, 0, 8, 1, 0, 513),
    "columns of Q5_0": (1, 22, 3, 1, 0, 8, 1, 0, 1),
    "split scales of Q5_0": (1, 22, 3, 2, 0, 8, 1, 0, 0),
}


@pytest.mark.parametrize("head", LIES.values(), ids=LIES)
def test_a_head_that_lies_is_refused(head: tuple[int, ...]) -> None:
    size = 3 + {0: 34, 1: 22}.get(head[0], 34) * 4
    data = bytes(range(size))
    widths = {0: (4, 4, 128), 1: (4, 4, 128)}[head[0] & 1]
    table = struct.pack("<III", *(1 << 31 | one for one in widths))
    rest = table + bytes(sum(widths)) + data[-3:]
    good = HEAD.pack(head[0] & 1, *GOOD[1:2], size % (34 if not head[0] & 1 else 22), *GOOD[3:])
    if head[0] & 1:
        with pytest.raises(IntegrityError):
            decoded(HEAD.pack(head[0], head[1], size % 22, *head[3:]) + rest, size)
        return
    assert len(decoded(good + rest, size)) == size
    columns = struct.pack("<I", 1 << 31 | 32 * head[8]) if head[8] else b""
    with pytest.raises(IntegrityError, match="scaled numbers"):
        decoded(HEAD.pack(*head) + columns + rest[:-3] + bytes(32 * head[8]) + data[-3:], size)


def test_a_stream_that_declares_a_gigabyte_is_refused_before_it_is_decoded() -> None:
    bomb = streams.shrink_entropy(memoryview(bytes(32 << 20)))
    head = HEAD.pack(*GOOD) + struct.pack("<III", 1 << 31 | 4, 1 << 31 | 4, len(bomb))
    tracemalloc.start()
    with pytest.raises(IntegrityError, match="declares"):
        decoded(head + bytes(8) + bomb + b"end", 4 * 34 + 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("dtype", KINDS)
def test_a_payload_takes_no_more_memory_than_its_object_and_a_few_segments(dtype: str) -> None:
    segment = 1 << blocks.SEGMENT_LOG
    data = bytes(4 * segment)
    payload = coded(data, plan_of(dtype, 5 if KINDS[dtype].has_columns else 0))
    assert len(payload) < len(data) // 100
    decoded(payload, len(data))
    tracemalloc.start()
    try:
        assert decoded(payload, len(data)) == data
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + 6 * segment
    finally:
        tracemalloc.stop()
