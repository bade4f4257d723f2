"""The sample packages are the same everywhere, and match their descriptions."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from safetensors import deserialize

from ptmtorrent.demo.families import BASE, MINI
from ptmtorrent.demo.package import Package
from ptmtorrent.demo.packages import sample_packages

PINNED = "b8f51669f21bc94f9d13c2f970dfd7748baeefc2daace2820e43b7206a0d809b"


@pytest.fixture(scope="module")
def packages() -> dict[str, Package]:
    return {package.name: package for package in sample_packages()}


def read(package: Package, path: str) -> bytes:
    (content,) = (file.content for file in package.files if file.path == path)
    return b"".join(content.chunks(0, content.size))


def tensors(package: Package, path: str = "model.safetensors") -> dict[str, dict[str, Any]]:
    return dict(deserialize(read(package, path)))  # type: ignore[no-untyped-call]  # the library has no annotations


def test_every_byte_of_every_package_is_pinned(packages: dict[str, Package]) -> None:
    digest = hashlib.sha256()
    for package in packages.values():
        for file in package.files:
            digest.update(f"{package.name}\0{file.path}\0".encode())
            digest.update(hashlib.sha256(read(package, file.path)).digest())
    assert digest.hexdigest() == PINNED


def test_packages_are_about_two_dozen_and_at_most_four_mebibytes_apart_from_copies(
    packages: dict[str, Package],
) -> None:
    different = {read(package, file.path) for package in packages.values() for file in package.files}
    assert len(packages) == 24
    assert sum(map(len, different)) <= 4 << 20


def test_access_licences_and_counts_differ(packages: dict[str, Package]) -> None:
    counts = [package.downloads for package in packages.values()]
    assert sum(count is None for count in counts) == 1
    assert sum(count is not None and count > 50 for count in counts) >= 12
    assert {0, 50, 51} <= set(counts)
    assert [package.name for package in packages.values() if package.access == "gated"] == ["guarded/herd-8k"]
    assert {"apache-2.0", "mit", "cc-by-nc-4.0", "other", None} <= {package.licence for package in packages.values()}


def test_fine_tune_changes_every_tensor_a_little_and_the_other_only_the_last_layers(
    packages: dict[str, Package],
) -> None:
    base, news, mood = (
        tensors(packages[name]) for name in (BASE, "quill-lab/quill-base-news", "reviewer/quill-base-mood")
    )
    assert base.keys() == news.keys() == mood.keys()
    assert {name for name in base if base[name] != mood[name]} == {
        "quill.pooler.dense.bias",
        "quill.pooler.dense.weight",
        "score.bias",
        "score.weight",
    }
    query = "quill.encoder.layer.0.attention.self.query.weight"
    before, after = (bfloat16(each[query]["data"]) for each in (base, news))
    assert 0 < np.abs(after - before).max() < 0.1 * before.std()
    assert 0.017 < before.std() < 0.019


def test_reupload_is_the_same_files_under_another_owner(packages: dict[str, Package]) -> None:
    assert packages["mirror-of-all/quill-base"].files == packages[BASE].files


@pytest.mark.parametrize(("name", "dtype"), [(MINI, "<f4"), ("papyrus/papyrus-mini-fp16", "<f2")])
def test_torch_zip_holds_the_tensors_of_its_twin(name: str, dtype: str, packages: dict[str, Package]) -> None:
    state = load_torch_zip(read(packages[name], "pytorch_model.bin"), dtype)
    twin = tensors(packages[name])
    assert state.keys() == twin.keys()
    for key, array in state.items():
        assert (list(array.shape), array.tobytes()) == (twin[key]["shape"], bytes(twin[key]["data"]))


def test_torch_storages_begin_at_multiples_of_64(packages: dict[str, Package]) -> None:
    data = read(packages[MINI], "pytorch_model.bin")
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
        assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_shards_hold_what_their_index_says(packages: dict[str, Package]) -> None:
    package = packages["ink-and-co/ink-large"]
    index = json.loads(read(package, "model.safetensors.index.json"))
    shards = {path: tensors(package, path) for path in set(index["weight_map"].values())}
    assert len(shards) == 3
    assert all(name in shards[path] for name, path in index["weight_map"].items())
    total = sum(len(tensor["data"]) for shard in shards.values() for tensor in shard.values())
    assert index["metadata"]["total_size"] == total


def test_gguf_tensor_table_covers_the_file(packages: dict[str, Package]) -> None:
    data = read(packages["ggml-people/papyrus-mini-gguf"], "papyrus-mini.F16.gguf")
    magic, version, count, values = struct.unpack_from("<4sIQQ", data)
    twin = tensors(packages["papyrus/papyrus-mini-fp16"])
    assert (magic, version, count, values) == (b"GGUF", 3, len(twin), 5)
    name = b"quill.embeddings.word_embeddings.weight"
    row = data.index(name) + len(name)
    assert struct.unpack_from("<IQQIQ", data, row) == (2, 32, 512, 1, 0)
    start = data.index(bytes(twin[name.decode()]["data"]))
    assert start % 32 == 0


def test_onnx_fields_parse_and_hold_raw_data(packages: dict[str, Package]) -> None:
    model = protobuf(read(packages["papyrus/papyrus-mini-onnx"], "onnx/model.onnx"))
    graph = protobuf(model[7][0])
    initializers = [protobuf(data) for data in graph[5]]
    twin = tensors(packages[MINI])
    assert model[1] == [8]
    assert len(graph[1]) == len(initializers) > 4
    for initializer in initializers:
        assert initializer[9] == [bytes(twin[initializer[8][0].decode()]["data"])]


def test_names_collide_by_case_and_are_in_many_scripts(packages: dict[str, Package]) -> None:
    case = [file.path for file in packages["Case-Lab/case-study"].files]
    assert len({path.lower() for path in case}) == len(case) - 2
    world = [file.path for file in packages["world/names"].files]
    assert sum(not path.isascii() for path in world) >= 4
    assert read(packages["newcomer/placeholder"], "coming_soon.txt") == b""


def bfloat16(data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


def protobuf(data: bytes) -> dict[int, list[Any]]:
    fields: dict[int, list[Any]] = {}
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        value, place = varint(data, place)
        if tag & 7 == 2:
            value, place = data[place : place + value], place + value  # type: ignore[assignment]  # bytes by wire type
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def load_torch_zip(data: bytes, dtype: str) -> dict[str, np.ndarray[Any, Any]]:
    archive = zipfile.ZipFile(io.BytesIO(data))

    class Reader(pickle.Unpickler):
        """Resolves only the three names that a state dict needs."""

        def find_class(self, module: str, name: str) -> Any:
            known = {"collections.OrderedDict": OrderedDict, "torch._utils._rebuild_tensor_v2": rebuild}
            return known.get(f"{module}.{name}", f"{module}.{name}")

        def persistent_load(self, identity: tuple[Any, ...]) -> Any:
            kind, _, key, device, count = identity
            array = np.frombuffer(archive.read(f"pytorch_model/data/{key}"), dtype)
            assert (kind, device, count) == ("storage", "cpu", array.size)
            return array

    def rebuild(storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> Any:
        steps = tuple(step * storage.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)

    return dict(Reader(io.BytesIO(archive.read("pytorch_model/data.pkl"))).load())
