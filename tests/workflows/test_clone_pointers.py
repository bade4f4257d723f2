"""Weights that a hub does not have: a record with package, path and oid, and exit code 3, whatever the hub."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ptmtorrent.demo.hub.faults import Faults
from ptmtorrent.demo.package import data_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.model.pointers import MAX_FILE_BYTES, Pointer, format_pointer
from tests.hubs.catalogues_samples import serve_catalogue
from tests.hubs.onnx.samples import LARGE, zoo
from tests.program import ptmtorrent
from tests.simulators.git_server import GitServer, serve_git
from tests.workflows.cloning import WEIGHTS, package

OID = hashlib.sha256(WEIGHTS).hexdigest()


@dataclass
class Broken:
    """A hub that lacks weights: what is typed after `clone`, and what its record must name."""

    typed: tuple[str, ...]
    package: str
    path: str
    oid: str = OID


def fail(server: GitServer, fault: str, oid: str = OID) -> None:
    if fault == "pointer":
        server.faults.pointers.add(oid)
    elif fault == "no object":
        server.faults.gone.add(oid)
    else:
        server.faults.vanished.add(oid)


@contextmanager
def git(folder: Path, fault: str) -> Iterator[Broken]:
    (folder / "served").mkdir()
    with serve_git(folder / "served") as server:
        server.commit("team/m", {"model.bin": server.keep_object(WEIGHTS), "README.md": b"# m"})
        server.commit("team/good", {"README.md": b"# good"})
        fail(server, fault)
        ids = ("--id", "team/m", "--id", "team/good")
        name = f"git:{server.url.removeprefix('http://').replace(':', '+')}/team/m"
        yield Broken(("git", "--endpoint", server.url, *ids), name, "model.bin")


@contextmanager
def onnx(folder: Path, fault: str) -> Iterator[Broken]:
    with zoo(folder) as world:
        path = f"{LARGE}/small_Opset17.onnx"
        pointer = world.pointers[path]
        fail(world.git, fault, pointer.sha256)
        if fault == "pointer":
            world.copy(path, format_pointer(pointer))
        else:
            del world.mirror.data[f"/resolve/main/{path}"]
        mirror = f"{world.mirror.url}/resolve/main"
        typed = ("onnx", "--endpoint", world.endpoint, "--mirror", mirror)
        yield Broken(typed, f"onnx:{LARGE}", "small_Opset17.onnx", pointer.sha256)


@contextmanager
def linked_hub(kind: str, folder: Path, fault: str) -> Iterator[Broken]:
    """The remote that the catalogue leads to has weights in LFS, and lost them."""
    remotes = {
        "pytorch": ("team/vision", "team_small"),
        "modelzoo": ("team/small", "small"),
        "modelhub": ("team/plain", "plain"),
    }
    with serve_catalogue(kind, folder) as world:
        remote, name = remotes[kind]
        world.git.commit(remote, {"model.bin": world.git.keep_object(WEIGHTS), "README.md": b"# it"})
        fail(world.git, fault)
        yield Broken((kind, "--endpoint", world.endpoint), f"{kind}:{name}", "model.bin")


@contextmanager
def huggingface(folder: Path, fault: str) -> Iterator[Broken]:
    del folder
    faults = Faults(serve_pointer=frozenset({"model.bin"} if fault == "pointer" else ()))
    packages = [package("a/x", data_file("model.bin", WEIGHTS)), package("a/good")]
    with SampleHub(packages, faults=faults) as hub:
        if fault != "pointer":
            hub.catalogue.find_lfs = lambda _: None  # type: ignore[method-assign]
        yield Broken(("huggingface", "--endpoint", hub.endpoint), "hf:a/x", "model.bin")


HUBS: dict[str, Callable] = {
    "git": git,
    "onnx": onnx,
    "pytorch": lambda folder, fault: linked_hub("pytorch", folder, fault),
    "modelzoo": lambda folder, fault: linked_hub("modelzoo", folder, fault),
    "modelhub": lambda folder, fault: linked_hub("modelhub", folder, fault),
    "huggingface": huggingface,
}
CASES = [
    (name, fault)
    for name in HUBS
    for fault in ("pointer", "no object", "no bytes")
    if (name, fault) != ("huggingface", "no bytes")
]


@pytest.mark.parametrize(("name", "fault"), CASES, ids=[f"{name}-{fault}" for name, fault in CASES])
def test_missing_weights_are_a_record_with_package_path_and_oid(name: str, fault: str, tmp_path: Path) -> None:
    with HUBS[name](tmp_path, fault) as broken:
        events = ptmtorrent(tmp_path / "home", "clone", *broken.typed, code=3)

    results = {event["id"]: event for event in events if event["type"] == "result"}
    record = results.pop(broken.package)
    assert record["status"] == "error"
    for named in (broken.package, broken.path, broken.oid):
        assert named in record["reason"]
    assert {result["status"] for result in results.values()} <= {"ok"}
    assert [event["failed"] for event in events if event["type"] == "summary"] == [1]


POINTER = format_pointer(Pointer(sha256="d" * 64, size=99))


@pytest.mark.parametrize(
    "text", [POINTER.replace(b"\n", b"\r\n"), POINTER + b"\n", POINTER.replace(b"size 99", b"size 099")]
)
def test_spoiled_pointer_in_the_place_of_weights_is_told_from_them(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as server:
        server.commit("team/m", {"model.bin": text})
        events = ptmtorrent(tmp_path / "home", "clone", "git", "--endpoint", server.url, "--id", "team/m", code=3)

    [result] = [event for event in events if event["type"] == "result"]
    assert "model.bin" in result["reason"]
    assert "d" * 64 in result["reason"]


def test_folder_that_was_checked_out_without_its_weights_is_told(tmp_path: Path) -> None:
    (tmp_path / "top" / "model").mkdir(parents=True)
    (tmp_path / "top" / "model" / "model.safetensors").write_bytes(POINTER)

    events = ptmtorrent(tmp_path / "home", "clone", "dir", "--endpoint", tmp_path / "top", code=3)

    [result] = [event for event in events if event["type"] == "result"]
    for named in ("dir:model", "model.safetensors", "d" * 64):
        assert named in result["reason"]


@pytest.mark.parametrize("fault", ["pointer", "gone"])
def test_weights_beside_a_remote_that_are_not_there_name_package_and_path(fault: str, tmp_path: Path) -> None:
    with serve_catalogue("modelhub", tmp_path) as world:
        if fault == "pointer":
            world.assets.data[world.weights] = POINTER
        else:
            del world.assets.data[world.weights]
        events = ptmtorrent(tmp_path / "home", "clone", "modelhub", "--endpoint", world.endpoint, code=3)

    results = {event["id"]: event for event in events if event["type"] == "result"}
    assert "contrib_src/model/model.onnx" in results["modelhub:small"]["reason"]
    assert fault != "pointer" or "d" * 64 in results["modelhub:small"]["reason"]
    assert results["modelhub:plain"]["status"] == "ok"


@pytest.mark.parametrize("before", [(), ("team/right",)], ids=["empty", "has the object"])
@pytest.mark.parametrize(
    "wanted", [("team/wrong",), ("team/wrong", "team/right")], ids=["alone", "beside the right one"]
)
def test_a_pointer_with_another_size_is_the_same_error_whatever_the_store_has(
    tmp_path: Path, before: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as server:
        pointer = server.keep_object(WEIGHTS)
        server.commit("team/right", {"model.bin": pointer})
        server.commit("team/wrong", {"model.bin": Pointer(sha256=pointer.sha256, size=pointer.size - 1)})
        for names in filter(None, (before, wanted)):
            ids = [part for name in names for part in ("--id", name)]
            code = 3 if "team/wrong" in names else 0
            events = ptmtorrent(home, "clone", "git", "--endpoint", server.url, *ids, code=code)
    results = {event["id"].rpartition("/")[2]: event for event in events if event["type"] == "result"}
    assert results["wrong"]["status"] == "error"
    assert f"{len(WEIGHTS) - 1} bytes" in results["wrong"]["reason"]
    assert "right" not in results or results["right"]["status"] in {"ok", "notneeded"}


@pytest.mark.parametrize("size", [MAX_FILE_BYTES, (1 << 63) - 1])
def test_a_pointer_to_more_than_a_package_may_have_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as server:
        server.commit("team/m", {"model.bin": Pointer(sha256="a" * 64, size=size), "README.md": b"# m"})
        events = ptmtorrent(tmp_path / "home", "clone", "git", "--endpoint", server.url, "--id", "team/m", code=3)
    [result] = [event for event in events if event["type"] == "result"]
    assert result["status"] == "error"
    assert "more than a package may have" in result["reason"]
