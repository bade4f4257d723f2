"""GGUF files are cut at their tensors; a header that does not locate them exactly is not used."""

import struct

import pytest

from ptmtorrent.store.cutters import cut
from tests.store.cutters.samples import Sparse, contents, covers, cut_bytes
from tests.store.cutters.writers import Tensors, gguf, model
from tests.store.samples import random_bytes, safetensors

WHOLE: Tensors = {"a": ("F32", [4, 8000], random_bytes(128_000)), "b": ("F32", [20_000], random_bytes(80_000, 2))}


def cutter_of(data: bytes) -> str:
    return cut_bytes(data, "model.gguf").cutter


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [8, 32, 64, 4096])
def test_tensors_are_pieces_with_their_dtypes(version: int, alignment: int) -> None:
    kinds = {"layers.0.größe": 24}
    data = gguf(model(), version=version, alignment=alignment, kinds=kinds)
    found = cut_bytes(data, "model.gguf")
    assert found.cutter == "gguf/1"
    large = [(piece.length, piece.dtype) for piece in found.pieces if piece.length >= 65_536]
    assert large == [(96_000, "F32"), (96_000, "BF16"), (70_000, "I8"), (80_000, "F16")]
    assert model()["head"][2] in contents(data, found)


BLOCKS = {
    2: (32, 18, "Q4_0"),
    8: (32, 34, "Q8_0"),
    10: (256, 84, "Q2_K"),
    12: (256, 144, "Q4_K"),
    14: (256, 210, "Q6_K"),
    18: (256, 98, "IQ3_XXS"),
    39: (32, 17, "MXFP4"),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_pieces_by_the_name_of_their_type(kind: int) -> None:
    numbers, length, dtype = BLOCKS[kind]
    body = random_bytes(4000 * length)
    data = gguf({"w": ("U8", [4000, numbers], body), **WHOLE}, kinds={"w": kind})
    found = cut_bytes(data, "model.gguf")
    assert (dtype, body) in zip([piece.dtype for piece in found.pieces], contents(data, found), strict=True)


@pytest.mark.parametrize(
    ("kind", "blocks", "lengths"),
    [
        (0, 4_400_000, [16_777_216, 822_784]),
        (2, 1_000_000, [16_777_206, 1_222_794]),
        (8, 500_000, [16_777_198, 222_802]),
    ],
)
def test_a_long_tensor_is_sliced_between_blocks(kind: int, blocks: int, lengths: list[int]) -> None:
    numbers, length, _ = BLOCKS.get(kind, (1, 4, "F32"))
    head = gguf({"w": ("U8", [blocks * numbers], b"")}, kinds={"w": kind})
    size = len(head) + blocks * length
    found = cut(Sparse(size, head), "model.gguf")
    assert [piece.length for piece in found.pieces[1:]] == lengths
    assert covers(found.pieces, size)


def test_quantisations_of_a_model_share_its_tokenizer() -> None:
    one, two = gguf(WHOLE, words=9000), gguf({"other": WHOLE["a"], **WHOLE}, words=9000)
    shared = set(contents(one, cut_bytes(one, "a.gguf"))) & set(contents(two, cut_bytes(two, "b.gguf")))
    assert max(len(data) for data in shared if b"word8999" in data) > 100_000


def test_a_tensor_is_the_one_of_safetensors() -> None:
    one, two = gguf(WHOLE), safetensors(WHOLE)
    shared = set(contents(one, cut_bytes(one, "a.gguf"))) & set(contents(two, cut_bytes(two, "a.safetensors")))
    assert {len(data) for data in shared} == {128_000, 80_000}


def test_the_header_and_small_tensors_stay_apart() -> None:
    data = gguf({"small": ("F32", [8], bytes(32)), **WHOLE})
    assert [piece.length for piece in cut_bytes(data, "a.gguf").pieces[1:]] == [32, 128_000, 80_000]


def test_the_padding_at_the_end_may_be_missing() -> None:
    data = gguf({"a": ("I8", [70_001], random_bytes(70_001))}, kinds={"a": 24})
    assert cutter_of(data) == cutter_of(data[:-15]) == "gguf/1"
    assert cutter_of(data[:-16]) == cutter_of(data + b"\0") == "opaque/1"


GOOD = gguf(WHOLE, words=10)
AT_ALIGNMENT = GOOD.index(b"general.alignment") + 17
AT_TOKENS = GOOD.index(b"tokenizer.ggml.tokens") + 21
AT_A = GOOD.index(struct.pack("<Q", 1) + b"a") + 9
AT_B = GOOD.index(struct.pack("<Q", 1) + b"b") + 9

LIES = {
    "version 1": (4, "<I", 1),
    "version 4": (4, "<I", 4),
    "big-endian": (4, ">I", 3),
    "2^63 tensors": (8, "<Q", 1 << 63),
    "one tensor less": (8, "<Q", 1),
    "one tensor more": (8, "<Q", 3),
    "2^63 keys": (16, "<Q", 1 << 63),
    "a key of 2^63 bytes": (24, "<Q", 1 << 63),
    "alignment of another type": (AT_ALIGNMENT, "<I", 5),
    "alignment 0": (AT_ALIGNMENT + 4, "<I", 0),
    "alignment 7": (AT_ALIGNMENT + 4, "<I", 7),
    "alignment 2^31": (AT_ALIGNMENT + 4, "<I", 1 << 31),
    "an unknown value": (AT_TOKENS, "<I", 13),
    "an array of unknown values": (AT_TOKENS + 4, "<I", 13),
    "an array of 2^63": (AT_TOKENS + 8, "<Q", 1 << 63),
    "an array of too many strings": (AT_TOKENS + 8, "<Q", (4 << 20) + 1),
    "a string of 2^63 bytes": (AT_TOKENS + 16, "<Q", 1 << 63),
    "nine dimensions": (AT_A, "<I", 9),
    "a dimension of 2^63": (AT_A + 4, "<Q", 1 << 63),
    "another dimension": (AT_A + 4, "<Q", 7000),
    "an unknown type": (AT_A + 20, "<I", 99),
    "a removed type": (AT_A + 20, "<I", 4),
    "another type": (AT_A + 20, "<I", 1),
    "a gap before the first": (AT_A + 24, "<Q", 32),
    "overlap": (AT_B + 16, "<Q", 64),
    "an offset of 2^63": (AT_B + 16, "<Q", 1 << 63),
    "an offset that is not aligned": (AT_B + 16, "<Q", 128_001),
    "a gap": (AT_B + 16, "<Q", 128_032),
}


@pytest.mark.parametrize(("at", "form", "value"), LIES.values(), ids=LIES)
def test_a_header_that_lies_is_not_believed(at: int, form: str, value: int) -> None:
    data = bytearray(GOOD)
    struct.pack_into(form, data, at, value)
    assert cutter_of(GOOD) == "gguf/1"
    assert cutter_of(bytes(data)) == "opaque/1"


@pytest.mark.parametrize(("depth", "cutter"), [(4, "gguf/1"), (5, "opaque/1"), (2000, "opaque/1")])
def test_arrays_nest_a_little(depth: int, cutter: str) -> None:
    value = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * (depth - 1) + struct.pack("<IQ", 4, 1) + bytes(4)
    key = struct.pack("<Q", 1) + b"k" + value
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key
    assert cutter_of(head + bytes(-len(head) % 32)) == cutter


def test_a_model_without_tensors_is_a_header() -> None:
    data = gguf({}, words=3)
    assert [piece.length for piece in cut_bytes(data, "vocab.gguf").pieces] == [len(data)]
