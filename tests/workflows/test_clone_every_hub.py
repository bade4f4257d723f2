"""Every hub there is, from its simulator into a store, as a user types it: complete, verified, and not twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.hubs.registry import HUBS
from tests.hubs.catalogues_samples import serve_catalogue
from tests.hubs.git.samples import fill
from tests.hubs.kaggle.samples import fill as fill_kaggle
from tests.hubs.onnx.samples import zoo
from tests.hubs.tfhub.samples import tensorflow
from tests.program import ptmtorrent
from tests.simulators.git_server import serve_git
from tests.simulators.kaggle import serve_kaggle

Typed = tuple[object, ...]


@contextmanager
def huggingface(folder: Path) -> Iterator[Typed]:
    del folder
    with SampleHub([package for package in sample_packages() if package.access == "public"]) as hub:
        yield "--endpoint", hub.endpoint


@contextmanager
def git(folder: Path) -> Iterator[Typed]:
    (folder / "served").mkdir()
    with serve_git(folder / "served") as server:
        yield "--endpoint", server.url, *(part for name in fill(server, 3) for part in ("--id", name))


@contextmanager
def onnx(folder: Path) -> Iterator[Typed]:
    with zoo(folder) as world:
        yield "--endpoint", world.endpoint


@contextmanager
def tfhub(folder: Path) -> Iterator[Typed]:
    with tensorflow(folder) as world:
        yield "--endpoint", world.endpoint, "--mirror", world.redirector.url


@contextmanager
def kaggle(folder: Path) -> Iterator[Typed]:
    del folder
    with serve_kaggle() as state:
        fill_kaggle(state)
        yield "--endpoint", state.url


@contextmanager
def folders(folder: Path) -> Iterator[Typed]:
    for name in ("team/one", "two"):
        (folder / "top" / name).mkdir(parents=True)
        (folder / "top" / name / "model.bin").write_bytes(name.encode() * 50_000)
    yield "--endpoint", folder / "top"


def linked_hub(kind: str) -> Callable[[Path], object]:
    @contextmanager
    def serve(folder: Path) -> Iterator[Typed]:
        with serve_catalogue(kind, folder) as world:
            yield "--endpoint", world.endpoint

    return serve


SERVING = {
    "huggingface": huggingface,
    "git": git,
    "onnx": onnx,
    "tfhub": tfhub,
    "kaggle": kaggle,
    "dir": folders,
    **{kind: linked_hub(kind) for kind in ("pytorch", "modelzoo", "modelhub")},
}


def test_no_hub_is_left_out() -> None:
    assert SERVING.keys() == {kind.name for kind in HUBS}


@pytest.mark.parametrize("name", SERVING)
def test_clone_is_complete_and_verified_and_the_next_one_moves_nothing(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with SERVING[name](tmp_path) as typed:
        first = ptmtorrent(home, "clone", name, *typed)
        checked = ptmtorrent(home, "verify", "--store")
        again = ptmtorrent(home, "clone", name, *typed)

    results = [event for event in first if event["type"] == "result"]
    assert results
    assert {result["status"] for result in results} == {"ok"}
    assert checked[-1]["failed"] == 0
    assert {event["status"] for event in again if event["type"] == "result"} == {"notneeded"}
    assert again[-1]["bytes_moved"] == 0
    assert not list((home / "spool").glob("*.part"))
