"""Clones of the zoo, as a user types them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hubs.onnx.samples import LARGE, MNIST, SKIPPED, Zoo, contents, weights, zoo
from tests.program import ptmtorrent


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Zoo]:
    with zoo(tmp_path) as made:
        yield made


def clone(world: Zoo, home: Path, *more: str, code: int = 0) -> dict[str, dict[str, Any]]:
    mirror = f"{world.mirror.url}/resolve/main"
    events = ptmtorrent(home, "clone", "onnx", "--endpoint", world.endpoint, "--mirror", mirror, *more, code=code)
    return {event["id"]: event for event in events if event["type"] == "result"}


def test_zoo_whose_lfs_is_closed_is_cloned_from_its_mirror(world: Zoo, tmp_path: Path) -> None:
    for path in contents():
        world.lose(path)

    results = clone(world, tmp_path / "home")
    checked = ptmtorrent(tmp_path / "home", "verify", "--store")
    again = clone(world, tmp_path / "home")

    assert {name: result["status"] for name, result in results.items()} == dict.fromkeys(
        (f"onnx:{name}" for name in (MNIST, SKIPPED, LARGE)), "ok"
    )
    assert checked[-1]["failed"] == 0
    assert {result["status"] for result in again.values()} == {"notneeded"}


def test_wrong_bytes_by_lfs_are_replaced_by_the_right_ones_of_the_mirror(world: Zoo, tmp_path: Path) -> None:
    path = f"{LARGE}/small_Opset17.onnx"
    stored = world.git.folder / "lfs" / world.pointers[path].sha256
    stored.write_bytes(bytes(world.pointers[path].size))

    results = clone(world, tmp_path / "home", "--id", LARGE)

    assert results[f"onnx:{LARGE}"]["status"] == "ok"
    assert [where for where, _ in world.mirror.asked] == [f"/resolve/main/{path}"]


def test_mirror_with_other_bytes_is_not_believed(world: Zoo, tmp_path: Path) -> None:
    path = f"{LARGE}/small_Opset17.onnx"
    world.lose(path)
    world.copy(path, weights(4)[:-1] + b"x")

    results = clone(world, tmp_path / "home", code=3)

    assert results[f"onnx:{LARGE}"]["status"] == "error"
    assert world.pointers[path].sha256 in results[f"onnx:{LARGE}"]["reason"]
    assert results[f"onnx:{MNIST}"]["status"] == "ok"
