"""The parsers find in the files of the formats' own libraries what these libraries read from them."""

import io
import itertools
from typing import Any

import numpy as np
import pytest

from ptmtorrent.model.containers.hdf5 import read_hdf5
from ptmtorrent.model.containers.msgpack import read_msgpack
from ptmtorrent.model.containers.npy import read_npy
from ptmtorrent.model.containers.source import MemorySource, Tensor
from ptmtorrent.model.containers.torch_legacy import read_torch_legacy
from tests.model.containers.corpus import described

DTYPES = {
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
    "?": "BOOL",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
}
ARRAYS = {
    f"{dtype}_{number}": np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    for dtype in DTYPES
    for number, shape in enumerate([(), (7,), (3, 5), (2, 1, 4)])
}


def wanted(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: (DTYPES[name.partition("_")[0]], one.shape, one.tobytes()) for name, one in arrays.items()}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("fortran", [False, True])
def test_numpy(order: str, fortran: bool) -> None:
    for name, array in ARRAYS.items():
        out = io.BytesIO()
        stored = array.astype(array.dtype.newbyteorder(order))
        saved = np.asfortranarray(stored) if fortran and array.ndim else stored
        np.save(out, saved)
        found = read_npy(MemorySource(out.getvalue()), name)
        numbers = out.getvalue()[found.offset :]
        dtype, shape, _ = wanted({name: array})[name]
        by_columns = not saved.flags.c_contiguous
        assert (found.dtype, found.shape) == (dtype, shape[::-1] if by_columns else shape)
        assert found.big_endian == (order == ">" and array.dtype.itemsize > 1)
        assert numbers == (stored.T.tobytes() if by_columns else stored.tobytes())


def hdf5_of(arrays: dict[str, np.ndarray], libver: str, **options: object) -> bytes:
    h5py = pytest.importorskip("h5py")
    out = io.BytesIO()
    with h5py.File(out, "w", libver=libver) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **(options if array.ndim else {}))
    return out.getvalue()


LIBVERS = ["earliest", "v108", "v110", "latest"]


@pytest.mark.parametrize("libver", LIBVERS)
def test_h5py(libver: str) -> None:
    data = hdf5_of(ARRAYS, libver)
    assert described(data, read_hdf5(MemorySource(data))) == wanted(ARRAYS)


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("links", [1, 8, 9, 40, 600])
def test_h5py_groups_of_any_size(libver: str, links: int) -> None:
    arrays = {f"a/b{number % 3}/f4_{number}": np.full((2, 3), number, "f4") for number in range(links)}
    data = hdf5_of(arrays, libver)
    found = described(data, read_hdf5(MemorySource(data)))
    assert found == {name: ("F32", (2, 3), array.tobytes()) for name, array in arrays.items()}


@pytest.mark.parametrize("libver", LIBVERS)
def test_h5py_big_endian(libver: str) -> None:
    arrays = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in ARRAYS.items() if name[0] != "?"}
    data = hdf5_of(arrays, libver)
    tensors = list(read_hdf5(MemorySource(data)))
    assert described(data, tensors) == wanted(arrays)
    assert {one.name for one in tensors if not one.big_endian} == {name for name in arrays if name[1] == "1"}


@pytest.mark.parametrize(("libver", "shape"), list(itertools.product(LIBVERS, [(4, 4), (5, 9), (1, 1), (8, 8)])))
def test_h5py_chunks(libver: str, shape: tuple[int, int]) -> None:
    array = np.arange(64, dtype="f4").reshape(8, 8)
    chunk = tuple(min(pair) for pair in zip(shape, array.shape, strict=True))
    data = hdf5_of({"x": array}, libver, chunks=chunk)
    assert joined(data, list(read_hdf5(MemorySource(data))), array.shape, chunk) == array.tobytes()


def joined(data: bytes, tensors: list[Tensor], shape: tuple[int, ...], chunk: tuple[int, ...]) -> bytes:
    """Put chunks, given in the order of their positions in the array, together again."""
    out = np.zeros([-(-whole // part) * part for whole, part in zip(shape, chunk, strict=True)], "f4")
    places = itertools.product(*(range(0, whole, part) for whole, part in zip(shape, chunk, strict=True)))
    for tensor, (row, column) in zip(tensors, places, strict=True):
        assert (tensor.dtype, tensor.shape) == ("F32", chunk)
        numbers = np.frombuffer(data[tensor.offset : tensor.offset + tensor.length], "f4").reshape(chunk)
        out[row : row + chunk[0], column : column + chunk[1]] = numbers
    return out[: shape[0], : shape[1]].tobytes()


@pytest.mark.parametrize("libver", LIBVERS)
def test_h5py_compressed_datasets_are_passed_over(libver: str) -> None:
    data = hdf5_of({"x": np.zeros((64, 64), "f4")}, libver, compression="gzip")
    assert list(read_hdf5(MemorySource(data))) == []


def test_msgpack_as_flax_writes_it() -> None:
    msgpack = pytest.importorskip("msgpack")
    arrays = {name: array for name, array in ARRAYS.items() if name[0] != "?"}
    packed = {
        name: msgpack.ExtType(1, msgpack.packb((one.shape, one.dtype.name, one.tobytes()), use_bin_type=True))
        for name, one in arrays.items()
    }
    tree = {"params": packed, "step": 7, "rate": 0.5, "name": "x" * 300, "nothing": None, "flags": [True, b"\0" * 300]}
    data = msgpack.packb(tree, strict_types=True)
    found = described(data, read_msgpack(MemorySource(data)))
    assert found == {f"params/{name}": row for name, row in wanted(arrays).items()}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch(protocol: int) -> None:
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in ARRAYS.items() if name[0] != "u" and array.ndim}
    tensors["bf16"] = torch.arange(9, dtype=torch.bfloat16)
    out = io.BytesIO()
    torch.save(tensors, out, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    found = described(out.getvalue(), read_torch_legacy(MemorySource(out.getvalue())))
    bf16 = found.pop("bf16")
    assert bf16 == ("BF16", (9,), tensors["bf16"].view(torch.int16).numpy().tobytes())
    assert found == wanted({name: ARRAYS[name] for name in found})
    assert len(found) == len(tensors) - 1
