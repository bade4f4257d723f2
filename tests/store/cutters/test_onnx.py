"""ONNX models are cut at their numbers, in the model and in the file beside it."""

import tracemalloc

import pytest

from ptmtorrent.store.cutters import Cut, MemorySource, cut, needs_nearby
from tests.store.cutters.samples import among, contents, covers, cut_bytes
from tests.store.cutters.writers import Tensors, field, model, onnx, onnx_external, varint
from tests.store.samples import numbers, random_bytes, safetensors

LARGE = [(96_000, "F32"), (96_000, "BF16"), (70_000, "I8"), (80_000, "F16")]
ONE: Tensors = {"w": ("F32", [100, 200], numbers(20_000).tobytes())}


def large(found: Cut) -> list[tuple[int, str | None]]:
    return [(piece.length, piece.dtype) for piece in found.pieces if piece.length >= 65_536]


@pytest.mark.parametrize("name_last", [False, True])
@pytest.mark.parametrize("in_nodes", [False, True])
@pytest.mark.parametrize("typed", [False, True])
def test_numbers_are_pieces_wherever_they_are(name_last: bool, in_nodes: bool, typed: bool) -> None:
    data = onnx(model(), name_last=name_last, in_nodes=in_nodes, typed=typed)
    found = cut_bytes(data, "model.onnx")
    assert found.cutter == "onnx/1"
    assert large(found) == LARGE
    assert model()["embed.weight"][2] in contents(data, found)


def test_a_tensor_has_the_key_it_has_in_safetensors() -> None:
    keys = {piece.key for piece in cut_bytes(safetensors(model()), "model.safetensors").pieces}
    for data in (onnx(model()), onnx(model(), name_last=True)):
        assert {piece.key for piece in cut_bytes(data, "model.onnx").pieces} - {None} < keys


def test_numbers_without_a_name_have_no_key() -> None:
    assert {piece.key for piece in cut_bytes(onnx({"": ONE["w"]}), "model.onnx").pieces} == {None}


def test_sparse_tensors_functions_and_training_are_searched() -> None:
    tensor = field(9, random_bytes(70_000)) + varint(2 << 3) + varint(2)
    node = field(1, field(5, field(5, tensor)))
    graph = field(15, field(1, tensor) + field(2, tensor))
    data = field(7, graph) + field(25, field(7, field(5, field(10, tensor)))) + field(20, field(1, node))
    assert large(cut_bytes(b"\x08\x08" + data, "model.onnx")) == [(70_000, "U8")] * 4


def tensor_of(*parts: bytes) -> bytes:
    return b"\x08\x08" + field(7, field(5, b"".join(parts)))


RAW = field(9, bytes(70_000))

ODD = {
    "no tensors": b"\x08\x08" + field(7, field(2, bytes(70_000))),
    "cut short": onnx(ONE)[:-1],
    "field 0": onnx(ONE) + b"\x02\x00",
    "a group": onnx(ONE) + b"\x0b",
    "a number of eleven bytes": onnx(ONE) + b"\x08" + b"\xff" * 10 + b"\x01",
    "a length of 2^63": onnx(ONE) + b"\x12" + varint(1 << 63),
    "a length beyond the tensor": tensor_of(b"\x4a" + varint(90_000), bytes(70_000)),
    "a name of 5,000 bytes": tensor_of(RAW, field(8, bytes(5000))),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_an_odd_model_is_opaque(data: bytes) -> None:
    found = cut_bytes(data, "model.onnx")
    assert found.cutter == "opaque/1"
    assert covers(found.pieces, len(data))


def test_graphs_nest_only_so_deep() -> None:
    graph = field(5, RAW)
    for _ in range(11):
        graph = field(1, field(5, field(6, graph)))
    assert cut_bytes(b"\x08\x08" + field(7, graph), "model.onnx").cutter == "opaque/1"


def test_numbers_that_do_not_fill_words_have_no_dtype() -> None:
    assert large(cut_bytes(tensor_of(varint(2 << 3) + varint(11), field(9, bytes(70_001))), "m.onnx")) == [
        (70_001, None)
    ]


def test_fields_that_repeat_cost_no_memory() -> None:
    dims = field(1, b"\x7f" * 600) * 2000
    entry = field(13, b"".join(field(number, b"x" * 200) for number in range(1, 5000)))
    data = tensor_of(RAW, dims, entry, field(8, b"w"))
    tracemalloc.start()
    try:
        found = cut_bytes(data, "model.onnx")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert large(found)[0] == (70_000, None)
    assert peak < 1 << 20


@pytest.mark.parametrize("name", ["model.pb", "model", "5f3c2b"])
def test_the_name_of_a_model_is_not_looked_at(name: str) -> None:
    assert cut_bytes(onnx(ONE), name) == cut_bytes(onnx(ONE), "model.onnx")


@pytest.mark.parametrize(
    ("data_name", "model_name"),
    [
        ("onnx/model.onnx_data", "onnx/model.onnx"),
        ("model_fp16.onnx_data", "model_fp16.onnx"),
        ("model.onnx_data_1", "model.onnx"),
        ("decoder.onnx.data", "decoder.onnx"),
        ("model.pb_data", "model.onnx"),
    ],
)
def test_external_data_are_cut_as_the_model_says(data_name: str, model_name: str) -> None:
    head, body = onnx_external(model(), data_name.rpartition("/")[2])
    found = cut(MemorySource(body), data_name, among({model_name: head}))
    assert needs_nearby(data_name)
    assert found.cutter == "onnx-data/1"
    assert large(found) == LARGE
    assert covers(found.pieces, len(body))


def external(**entries: str) -> bytes:
    listed = [field(13, field(1, key.encode()) + field(2, value.encode())) for key, value in entries.items()]
    dims = varint(1 << 3) + varint(17_500)
    return field(5, dims + b"".join(listed) + varint(2 << 3) + varint(1) + field(8, b"w") + varint(14 << 3) + varint(1))


def cut_external(*tensors: bytes, size: int = 140_000) -> Cut:
    head = b"\x08\x08" + field(7, b"".join(tensors))
    return cut(MemorySource(random_bytes(size)), "m.onnx_data", among({"m.onnx": head}))


def test_offset_and_length_may_be_missing() -> None:
    assert large(cut_external(external(location="./m.onnx_data"))) == [(70_000, "F32"), (70_000, None)]


def test_tensors_may_share_their_numbers() -> None:
    one = external(location="m.onnx_data", offset="70000", length="70000")
    assert large(cut_external(one, one)) == [(70_000, None), (70_000, "F32")]


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "../m.onnx_data"},
        {"location": "other/m.onnx_data"},
        {"location": "/m.onnx_data"},
        {"location": "elsewhere"},
        {"offset": "0"},
        {"location": "m.onnx_data", "offset": "-1"},
        {"location": "m.onnx_data", "offset": "1e3"},
        {"location": "m.onnx_data", "offset": "9" * 30},
        {"location": "m.onnx_data", "offset": "140000", "length": "1"},
        {"location": "m.onnx_data", "length": "0"},
    ],
)
def test_external_data_that_are_elsewhere_are_opaque(entries: dict[str, str]) -> None:
    assert cut_external(external(**entries)).cutter == "opaque/1"


def test_external_data_that_overlap_are_opaque() -> None:
    one = external(location="m.onnx_data", offset="0", length="70000")
    two = external(location="m.onnx_data", offset="60000", length="70000")
    assert cut_external(one, two).cutter == "opaque/1"


def test_data_without_their_model_are_opaque() -> None:
    head, body = onnx_external(ONE, "m.onnx_data")
    assert cut(MemorySource(body), "m.onnx_data", among({})).cutter == "opaque/1"
    assert cut(MemorySource(body), "m.onnx_data").cutter == "opaque/1"
    assert cut(MemorySource(body), "m.data", among({"m.onnx": head})).cutter == "opaque/1"


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.data", "model.safetensors", "onnx_data", "a.bin", "x.onnx.data.txt"]
)
def test_few_files_need_another(name: str) -> None:
    assert not needs_nearby(name)


def test_for_tiny_data_files_the_model_is_not_read() -> None:
    head, body = onnx_external(ONE, "m.onnx_data")
    asked: list[str] = []

    def nearby(path: str) -> MemorySource:
        asked.append(path)
        return MemorySource(head)

    assert cut(MemorySource(body[: (64 << 10) - 1]), "m.onnx_data", nearby).cutter == "opaque/1"
    assert asked == []
    cut(MemorySource(body[: 64 << 10]), "m.onnx_data", nearby)
    assert asked == ["m.onnx"]
