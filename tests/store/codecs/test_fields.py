"""Fields of blocks are encoded separately and restored, whatever their layout; hostile payloads are refused."""

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
from ptmtorrent.model.containers.dtypes import BLOCK_BYTES
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import MAX_OBJECT_BYTES, encode_manifest
from ptmtorrent.model.placement import Form, Location, decode_placement, encode_placement
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import blocks, fields, streams
from ptmtorrent.store.codecs.blocks import Field, Layout
from tests.model.generated import manifest_of
from tests.store.codecs.blocks import golden_blocks, quantised
from tests.store.cutters.writers import gguf
from tests.store.samples import add_bytes, random_bytes, reading, writing

GOLDEN = Path(__file__).parents[2] / "golden" / "codecs.json"
TINY = Layout((Field(2, 2), Field(1)))
LITERAL = bytes.fromhex("0300 0100 16 02 020002 010001 02000080 02000080 02000080 3c38 0000 0506 ff")
RAW = bytes.fromhex("003c05 003806 ff")


def coded(data: bytes, layout: Layout) -> bytes:
    return b"".join(fields.encode(memoryview(data), layout))


def decoded(payload: bytes, raw_size: int) -> bytes:
    return fields.decode(memoryview(payload), raw_size)


def layouts() -> st.SearchStrategy[Layout]:
    one = st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 4, 8])).map(
        lambda pair: Field(pair[0] * pair[1], pair[1])
    )
    return st.lists(one, min_size=1, max_size=6).map(lambda found: Layout(tuple(found)))


def test_the_literal_payload_of_the_format_page() -> None:
    assert coded(RAW, TINY) == LITERAL
    assert decoded(LITERAL, len(RAW)) == RAW


def test_the_golden_payload_is_still_read_and_its_dtype_still_leads_to_it() -> None:
    raw, vector = golden_blocks(), json.loads(GOLDEN.read_text())["9"]
    assert (len(raw), blake3(raw).hexdigest()) == (vector["raw_size"], vector["raw_blake3"])
    assert codecs.decode(codecs.FIELDS, base64.b64decode(vector["payload"]), len(raw)) == raw
    assert codecs.encode(raw, "Q8_0").codec == codecs.FIELDS


def test_every_layout_is_as_long_as_the_blocks_that_are_cut() -> None:
    assert {name: layout.block for name, layout in blocks.BY_DTYPE.items()} == {
        name: BLOCK_BYTES[name] for name in blocks.BY_DTYPE
    }


def test_the_layouts_that_are_written_are_those_of_the_format_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "formats" / "codecs.md").read_text()
    for dtype, layout in blocks.BY_DTYPE.items():
        listed = ", ".join("h" if field == Field(2, 2) else str(field.width) for field in layout.fields)
        assert f"| `{dtype}` | {listed} |" in page


@pytest.mark.parametrize("dtype", BLOCK_BYTES)
def test_every_block_that_is_cut_has_a_codec_of_its_own_or_plain_entropy_coding(dtype: str) -> None:
    expected = codecs.FIELDS if dtype in blocks.BY_DTYPE else codecs.ENTROPY
    assert codecs.encode(bytes(BLOCK_BYTES[dtype] * 40), dtype).codec == expected


@pytest.mark.parametrize("dtype", blocks.BY_DTYPE)
def test_what_a_payload_says_of_itself_takes_less_than_100_bytes(dtype: str) -> None:
    assert len(blocks.BY_DTYPE[dtype].head(1 << 24)) < 100


@pytest.mark.parametrize(("dtype", "gain"), [("Q4_0", 1.03), ("Q8_0", 1.015)])
def test_blocks_set_apart_are_smaller_than_as_one(dtype: str, gain: float) -> None:
    data = quantised(dtype, 60_000)
    encoded = codecs.encode(data, dtype)
    assert encoded.codec == codecs.FIELDS
    assert gain * encoded.size < len(streams.shrink_entropy(memoryview(data)))
    assert codecs.decode(encoded.codec, b"".join(encoded.chunks), len(data)) == data


@settings(max_examples=100, deadline=None)
@given(dtype=st.sampled_from(list(blocks.BY_DTYPE)), data=st.binary(max_size=1500), repeat=st.integers(1, 3))
def test_any_bytes_come_back_by_any_layout(dtype: str, data: bytes, repeat: int) -> None:
    whole = data * repeat
    assert decoded(coded(whole, blocks.BY_DTYPE[dtype]), len(whole)) == whole


@settings(max_examples=60, deadline=None)
@given(layout=layouts(), size=st.integers(0, 400), seed=st.integers(0, 9))
def test_an_unknown_layout_is_read_from_its_payload(layout: Layout, size: int, seed: int) -> None:
    data = random_bytes(size, seed)
    assert decoded(coded(data, layout), size) == data


@pytest.mark.parametrize("dtype", blocks.BY_DTYPE)
def test_blocks_of_several_segments_and_a_tail_come_back(dtype: str) -> None:
    layout = blocks.BY_DTYPE[dtype]
    pattern = np.arange((9 << 20) + layout.block // 2, dtype=np.uint32)
    data = (pattern * pattern >> 7).astype(np.uint8).tobytes()
    assert decoded(coded(data, layout), len(data)) == data


def test_random_bytes_are_stored_raw() -> None:
    data = random_bytes(100_000)
    assert codecs.encode(data, "Q4_K") == (codecs.RAW, (data,), len(data))


def test_the_chunks_of_a_payload_are_its_own() -> None:
    data = bytearray(quantised("Q4_0", 3000))
    encoded = codecs.encode(data, "Q4_0")
    before = b"".join(encoded.chunks)
    data[:] = bytes(len(data))
    codecs.encode(data, "Q4_0")
    assert b"".join(encoded.chunks) == before


def test_tensors_of_a_gguf_file_are_stored_by_their_fields_and_read_back(tmp_path: Path) -> None:
    tensors = {name: ("U8", [6000, 32], quantised(name, 6000)) for name in ("Q4_0", "Q8_0")}
    data = gguf(tensors, kinds={"Q4_0": 2, "Q8_0": 8})
    with writing(tmp_path / "store") as store:
        file = add_bytes(store, tmp_path, "model.gguf", data)
    with reading(tmp_path / "store") as store:
        found = [store._index.find(identifier) for identifier, _ in file.objects]
        assert [one.entry.codec for one in found if one is not None].count(codecs.FIELDS) == 2
        assert store.source(file).read(0, len(data)) == data


def test_a_placement_takes_fields_for_a_plain_object() -> None:
    manifest = manifest_of("hf:org/name", [("model.gguf", b"blocks")])
    snapshot = encode_manifest(manifest)[1]
    at = Location(pack=PackId("ab" * 32), pack_size=4 << 20, offset=100, length=5, codec=codecs.FIELDS)
    placement = decode_placement(encode_placement(snapshot, [[Form(at=at)]]), manifest, snapshot)
    assert placement.form(0) == Form(at=at)


SMALL = quantised("Q4_0", 40) + b"end"
HOSTILE = [
    (SMALL, coded(SMALL, blocks.BY_DTYPE["Q4_0"])),
    (golden_blocks(), coded(golden_blocks(), TINY)),
    (RAW, LITERAL),
]


@pytest.mark.parametrize(("raw", "payload"), HOSTILE, ids=["Q4_0", "golden", "literal"])
def test_a_payload_cut_anywhere_is_refused(raw: bytes, payload: bytes) -> None:
    for length in range(len(payload)):
        with pytest.raises(IntegrityError):
            decoded(payload[:length], len(raw))


@pytest.mark.parametrize(("raw", "payload"), HOSTILE, ids=["Q4_0", "golden", "literal"])
def test_a_payload_with_any_byte_changed_is_refused_or_has_the_promised_size(raw: bytes, payload: bytes) -> None:
    refused = 0
    for at in range(len(payload)):
        for flip in (0x01, 0x02, 0x80, 0xFF):
            changed = bytearray(payload)
            changed[at] ^= flip
            try:
                assert len(decoded(bytes(changed), len(raw))) == len(raw)
            except IntegrityError:
                refused += 1
    assert refused > 4 * 16


@settings(max_examples=150, deadline=None)
@given(head=st.binary(min_size=6, max_size=40), rest=st.binary(max_size=100), raw_size=st.integers(0, 300))
def test_any_bytes_decode_to_the_promised_size_or_not_at_all(head: bytes, rest: bytes, raw_size: int) -> None:
    try:
        found = decoded(head + rest, raw_size)
    except IntegrityError:
        return
    assert len(found) == raw_size


LIES = {
    "no fields": struct.pack("<HHBB", 3, 1, 22, 0),
    "33 fields": struct.pack("<HHBB", 33, 7, 22, 33) + struct.pack("<HB", 1, 1) * 33,
    "fields that are not there": struct.pack("<HHBB", 3, 1, 22, 2) + struct.pack("<HB", 2, 2),
    "blocks of nothing": struct.pack("<HHBB", 0, 0, 22, 1) + struct.pack("<HB", 0, 1),
    "a field of nothing": struct.pack("<HHBB", 3, 1, 22, 2) + struct.pack("<HBHB", 3, 1, 0, 1),
    "words of nothing": struct.pack("<HHBB", 3, 1, 22, 1) + struct.pack("<HB", 3, 0),
    "words of three bytes": struct.pack("<HHBB", 3, 1, 22, 1) + struct.pack("<HB", 3, 3),
    "half a word": struct.pack("<HHBB", 3, 1, 22, 1) + struct.pack("<HB", 3, 2),
    "shorter blocks": struct.pack("<HHBB", 2, 1, 22, 1) + struct.pack("<HB", 3, 1),
    "longer blocks": struct.pack("<HHBB", 4, 3, 22, 1) + struct.pack("<HB", 3, 1),
    "blocks too long": struct.pack("<HHBB", 4097, 7, 22, 1) + struct.pack("<HB", 4097, 1),
    "another tail": struct.pack("<HHBB", 3, 2, 22, 1) + struct.pack("<HB", 3, 1),
    "other segments": struct.pack("<HHBB", 3, 1, 20, 1) + struct.pack("<HB", 3, 1),
    "segments of 2^255": struct.pack("<HHBB", 3, 1, 255, 1) + struct.pack("<HB", 3, 1),
}


@pytest.mark.parametrize("head", LIES.values(), ids=LIES)
def test_a_head_that_lies_is_refused(head: bytes) -> None:
    rest = struct.pack("<I", 1 << 31 | 6) + RAW
    good = struct.pack("<HHBB", 3, 1, 22, 1) + struct.pack("<HB", 3, 1)
    assert decoded(good + rest, len(RAW)) == RAW
    with pytest.raises(IntegrityError):
        decoded(head + rest, len(RAW))


def test_a_field_that_declares_a_gigabyte_is_refused_before_it_is_decoded() -> None:
    bomb = streams.shrink_entropy(memoryview(bytes(32 << 20)))
    head = TINY.head(len(RAW)) + struct.pack("<III", len(bomb), 1 << 31 | 2, 1 << 31 | 2)
    tracemalloc.start()
    with pytest.raises(IntegrityError, match="declares"):
        decoded(head + bomb + b"aaaa\xff", len(RAW))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("dtype", ["Q4_0", "Q6_K"])
def test_the_longest_object_takes_little_memory_beside_itself(dtype: str) -> None:
    data = quantised("Q4_0", MAX_OBJECT_BYTES // 18)
    codecs.encode(data, dtype)
    tracemalloc.start()
    encoded = codecs.encode(data, dtype)
    beside = tracemalloc.get_traced_memory()[1] - encoded.size
    tracemalloc.stop()
    assert beside < 6 << 20
