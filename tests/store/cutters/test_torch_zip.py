"""Torch's zips are cut at their storages, whose dtypes are read off the pickle without running it."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest

from ptmtorrent.model.containers.torch_pickle import read_storages
from ptmtorrent.store.cutters import Piece
from tests.store.cutters.samples import contents, cut_bytes
from tests.store.cutters.writers import Tensors, model, torch_pickle, torch_zip
from tests.store.samples import bf16, numbers, random_bytes, safetensors


def named(pieces: tuple[Piece, ...]) -> list[tuple[int, str | None]]:
    return [(piece.length, piece.dtype) for piece in pieces if piece.key is not None]


def archive(pickled: bytes, *storages: bytes, order: bytes | None = None, packed: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        zipped.writestr("m/data.pkl", pickled, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
        if order is not None:
            zipped.writestr("m/byteorder", order)
        for row, data in enumerate(storages):
            zipped.writestr(f"m/data/{row}", data)
    return out.getvalue()


ONE: Tensors = {"w": ("F32", [100, 200], numbers(20_000).tobytes())}


def test_storages_have_the_dtypes_of_their_tensors() -> None:
    found = cut_bytes(torch_zip(model()), "pytorch_model.bin")
    assert named(found.pieces) == [(96_000, "F32"), (96_000, "BF16"), (70_000, "I8"), (80_000, "F16")]


@pytest.mark.parametrize("wrap", [False, True])
def test_a_storage_has_the_key_of_its_tensor_in_safetensors(wrap: bool) -> None:
    keys = {piece.key for piece in cut_bytes(safetensors(model()), "model.safetensors").pieces}
    assert {piece.key for piece in cut_bytes(torch_zip(model(), wrap=wrap), "model.ckpt").pieces} - {None} <= keys


def test_a_twin_in_safetensors_shares_97_percent_of_its_bytes() -> None:
    layers: dict[str, tuple[str, list[int], bytes]] = {"embed": ("F32", [5 << 20], numbers(5 << 20).tobytes())}
    for layer in range(12):
        layers[f"{layer}.q"] = ("F32", [65_536], numbers(65_536, layer).tobytes())
        layers[f"{layer}.norm"] = ("F32", [256], numbers(256, layer).tobytes())
        layers[f"{layer}.bias"] = ("F32", [300], numbers(300, layer).tobytes())
    one, two = safetensors(layers), torch_zip(layers)
    of_one = set(contents(one, cut_bytes(one, "model.safetensors")))
    of_two = contents(two, cut_bytes(two, "pytorch_model.bin"))
    assert sum(len(data) for data in of_two if data in of_one) >= 0.97 * len(two)
    assert len(of_two) <= 2 * len(of_one)


def test_small_storages_join() -> None:
    tensors = {f"t{row:03}": ("F32", [10_000], numbers(10_000, row).tobytes()) for row in range(60)}
    lengths = [piece.length for piece in cut_bytes(torch_zip(tensors), "pytorch_model.bin").pieces]
    assert len(lengths) == 3
    assert max(lengths) <= 1 << 20


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "a.pth", "a.ckpt", "a.pth.tar", "no suffix"])
def test_the_first_bytes_count_and_not_the_name(name: str) -> None:
    assert cut_bytes(torch_zip(ONE), name).cutter == "torch-zip/1"


@pytest.mark.parametrize(
    "data",
    [
        archive(torch_pickle(ONE), ONE["w"][2], order=b"big"),
        archive(torch_pickle(ONE), ONE["w"][2], packed=True),
        archive(b"\x80\x02garbage", ONE["w"][2]),
        archive(torch_pickle(ONE), ONE["w"][2] + bytes(4)),
        archive(
            torch_pickle(ONE).replace(b"torch FloatStorage".replace(b" ", b"\n"), b"torch\nCuriousStorage"),
            bytes(80_000),
        ),
    ],
    ids=["big-endian", "packed pickle", "no pickle", "another length", "unknown storage"],
)
def test_numbers_that_are_not_sure_have_no_dtype(data: bytes) -> None:
    found = cut_bytes(data, "pytorch_model.bin")
    assert found.cutter == "torch-zip/1"
    assert [dtype for length, dtype in named(found.pieces) if length >= 80_000] == [None]


def test_what_is_known_before_a_pickle_breaks_counts() -> None:
    whole = torch_pickle(model())
    known = read_storages(whole[: len(whole) // 2])
    assert 0 < len(known) < len(read_storages(whole))


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    found = cut_bytes(archive(pickle.dumps(Trap()), bytes(70_000)), "pytorch_model.bin")
    assert found.cutter == "torch-zip/1"
    assert not (tmp_path / "sprung").exists()


def test_a_tensor_that_is_part_of_a_storage_does_not_name_it() -> None:
    pickled = torch_pickle({"view": ("F32", [100], bytes(400))}).replace(b"K\x64tQ", b"M\x20\x4etQ")
    (storage,) = read_storages(pickled).values()
    assert (storage.dtype, storage.count, storage.name) == ("F32", 20_000, None)


def test_two_tensors_of_one_storage_give_it_the_first_name() -> None:
    pickled = torch_pickle({"a": ("F32", [100], bytes(400)), "b": ("F32", [100], bytes(400))})
    tied = pickled.replace(b"X\x01\x00\x00\x001r", b"X\x01\x00\x00\x000r")
    (storage,) = read_storages(tied).values()
    assert storage.name == "a"


def test_a_dtype_without_a_storage_of_its_own_is_that_of_the_tensor() -> None:
    out = b"\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v3\n(("
    out += b"X\x07\x00\x00\x00storagectorch.storage\nUntypedStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuM\x10\x27tQ"
    out += b"K\x00M\x10\x27\x85K\x01\x85\x89Nctorch\nfloat8_e4m3fn\ntRu."
    (storage,) = read_storages(out).values()
    assert (storage.name, storage.dtype, storage.shape) == ("w", "F8_E4M3", (10_000,))


def test_a_parameter_is_its_tensor() -> None:
    inner = torch_pickle(ONE)
    start = inner.index(b"ctorch._utils")
    wrapped = inner[:start] + b"ctorch._utils\n_rebuild_parameter\n(" + inner[start:-2] + b"\x88NtRu."
    (storage,) = read_storages(wrapped).values()
    assert storage.name == "w"


def test_a_long_storage_is_sliced_as_in_safetensors() -> None:
    tensors = {"w": ("BF16", [20 << 20], bf16(20 << 20))}
    one, two = safetensors(tensors), torch_zip(tensors)
    ours, theirs = cut_bytes(two, "pytorch_model.bin"), cut_bytes(one, "model.safetensors")
    assert [piece.key for piece in ours.pieces[1:4]] == [piece.key for piece in theirs.pieces[1:]]
    assert contents(two, ours)[1:4] == contents(one, theirs)[1:]


def test_a_pickle_that_is_no_zip_is_not_cut() -> None:
    assert cut_bytes(torch_pickle(ONE) + random_bytes(70_000), "pytorch_model.bin").cutter == "opaque/1"
