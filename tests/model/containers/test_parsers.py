"""Each parser finds the names, dtypes, shapes and bytes that were written, of every dtype that its format has."""

import io
import struct
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from ptmtorrent.model.containers import msgpack as msgpack_parser
from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.gguf import Gguf
from ptmtorrent.model.containers.hdf5 import blocks, read_hdf5
from ptmtorrent.model.containers.msgpack import read_msgpack
from ptmtorrent.model.containers.npy import read_npy
from ptmtorrent.model.containers.safetensors import Safetensors
from ptmtorrent.model.containers.source import MemorySource, NotThisFormat, Section, Tensor
from ptmtorrent.model.containers.sstable import read_sstable
from ptmtorrent.model.containers.tar import read_tar
from ptmtorrent.model.containers.tensorflow import read_checkpoint
from ptmtorrent.model.containers.torch_legacy import read_torch_legacy
from ptmtorrent.model.containers.torch_tar import read_torch_tar
from ptmtorrent.model.containers.torch_zip import TorchZip
from ptmtorrent.model.containers.zip_directory import data_of
from tests.model.containers.corpus import TENSORS, described, expected
from tests.store.cutters import container_writers as more
from tests.store.cutters import writers
from tests.store.samples import safetensors

Read = Callable[[MemorySource], Iterable[Tensor]]

NO_SCALARS = {name: tensor for name, tensor in TENSORS.items() if tensor[1]}


def test_safetensors() -> None:
    data = safetensors(dict(sorted(TENSORS.items(), key=lambda item: -BITS[item[1][0]])))  # each aligned to its words
    assert described(data, Safetensors(MemorySource(data)).tensors()) == expected(TENSORS)


def test_torch_zip() -> None:
    data = writers.torch_zip(TENSORS)
    source = MemorySource(data)
    archive = TorchZip(source)
    found = [archive.tensor(member, data_of(source, member)) for member in archive.directory.members]
    assert described(data, [one for one in found if one.dtype]) == expected(TENSORS)


def test_torch_legacy() -> None:
    data = more.torch_legacy(TENSORS)
    assert described(data, read_torch_legacy(MemorySource(data))) == expected(TENSORS)


def test_torch_tar_has_dtypes_but_no_names() -> None:
    tensors = {name: tensor for name, tensor in TENSORS.items() if tensor[0] in {"F32", "I64"}}
    data = more.torch_tar(tensors)
    source = MemorySource(data)
    found = read_torch_tar(source, list(read_tar(source)))
    assert [(one.dtype, data[one.offset : one.offset + one.length]) for one in found] == [
        (dtype, numbers) for dtype, _, numbers in tensors.values()
    ]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_gguf_of_every_version_and_byte_order(version: int, order: str) -> None:
    data = writers.gguf(NO_SCALARS, version=version, order=order)
    header = Gguf(MemorySource(data))
    assert (header.version, header.big_endian) == (version, order == ">")
    tensors = list(header.tensors())
    assert described(data, tensors) == expected(NO_SCALARS)
    assert {tensor.big_endian for tensor in tensors} == {order == ">"}


def test_msgpack() -> None:
    data = more.msgpack(TENSORS)
    assert described(data, read_msgpack(MemorySource(data))) == expected(TENSORS)


def test_msgpack_names_are_paths() -> None:
    data = more.msgpack({"params.dense.kernel": TENSORS["F32"], "params.dense.bias": TENSORS["F16"]})
    assert {tensor.name for tensor in read_msgpack(MemorySource(data))} == {"params/dense/kernel", "params/dense/bias"}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    ("descr", "dtype", "big_endian"),
    [("<f4", "F32", False), (">f4", "F32", True), ("|i1", "I8", False), (">i8", "I64", True), ("|V2", None, False)],
)
def test_npy_of_every_version(version: int, descr: str, dtype: str | None, big_endian: bool) -> None:
    data = more.npy(descr, (3, 5), bytes(15 * int(descr[2])), version=version)
    found = read_npy(MemorySource(data), "x")
    assert (found.name, found.dtype, found.shape, found.big_endian) == ("x", dtype, (3, 5), big_endian)
    assert found.offset % 64 == 0
    assert found.offset + found.length == len(data)


def test_npy_by_columns_has_the_shape_of_its_bytes() -> None:
    data = more.npy("<f4", (3, 5), bytes(60), fortran=True)
    assert read_npy(MemorySource(data), "x").shape == (5, 3)


def test_npy_of_another_length_has_no_dtype() -> None:
    assert read_npy(MemorySource(more.npy("<f4", (3, 5), bytes(61))), "x").dtype is None


def test_hdf5() -> None:
    data = more.hdf5(TENSORS)
    assert described(data, read_hdf5(MemorySource(data))) == expected(TENSORS)


def test_hdf5_chunks_are_tensors_with_the_shape_of_a_chunk() -> None:
    data = more.hdf5({"a": TENSORS["F32"]}, chunk_rows=2)
    found = list(read_hdf5(MemorySource(data)))
    assert [(one.name, one.dtype, one.shape, one.length) for one in found] == [("a", "F32", (2, 5), 40)] * 2
    assert b"".join(data[one.offset : one.offset + one.length] for one in found)[:60] == TENSORS["F32"][2]


@pytest.mark.parametrize("shards", [1, 3])
def test_checkpoint_of_tensorflow(shards: int) -> None:
    index, files = more.checkpoint(TENSORS, shards=shards)
    found = {}
    for shard, data in enumerate(files):
        found |= described(data, read_checkpoint(MemorySource(index), shard))
    assert found == expected(TENSORS)


def test_rows_of_a_table_are_given_in_order() -> None:
    rows = [(b"", b"x"), (b"abc", b""), (b"abd", b"1"), (b"b", b"22")]
    assert list(read_sstable(MemorySource(more.sstable(rows)))) == rows


def test_compressed_table_is_refused() -> None:
    data = bytearray(more.sstable([(b"", b"x")]))
    data[data.index(struct.pack("<II", 0, 1)) + 8] = 1
    with pytest.raises(NotThisFormat):
        list(read_sstable(MemorySource(bytes(data))))


def test_section_ends_where_it_was_said_to() -> None:
    inner = Section(MemorySource(b"0123456789"), 2, 5)
    assert (inner.size, inner.read(0, 99), inner.read(4, 2), inner.read(5, 1)) == (5, b"23456", b"6", b"")


def hdf5_groups(many: int) -> bytes:
    h5py = pytest.importorskip("h5py")
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for number in range(many):
            file.create_dataset(f"group/{number}", data=np.zeros(2, "f4"))
    return out.getvalue()


BUDGETS = {
    "HDF5": (blocks, "MAX_BLOCKS", lambda: hdf5_groups(60), read_hdf5),
    "msgpack": (msgpack_parser, "MAX_VALUES", lambda: b"\x81\xa1a\xdc\x00\xc8" + 200 * b"\xc0", read_msgpack),
}


@pytest.mark.parametrize(("module", "budget", "make", "read"), BUDGETS.values(), ids=BUDGETS)
def test_a_file_with_more_structures_than_the_budget_is_refused(
    monkeypatch: pytest.MonkeyPatch, module: object, budget: str, make: Callable[[], bytes], read: Read
) -> None:
    data = make()
    list(read(MemorySource(data)))
    monkeypatch.setattr(module, budget, 150)
    with pytest.raises(NotThisFormat):
        list(read(MemorySource(data)))
