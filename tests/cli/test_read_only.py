"""Verbs that only read do so from a home and a folder on a disk that is mounted read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from ptmtorrent.state.rate_windows import StoredWindows
from tests.channels import Made, make_channel
from tests.faults.store_disks import mounted
from tests.in_process import ptmtorrent
from tests.static import serve_folder

PACKAGE = "hf:org/name"
FILES = {PACKAGE: {"config.json": b"{}", "model.safetensors": b"w" * 5000}}


class World:
    """A channel behind a server, and the folder of a reader who trusts it and has the package."""

    def __init__(self, made: Made, folder: Path, url: str) -> None:
        self.made, self.folder, self.url = made, folder, url
        self.home, self.out = folder / "home", folder / "out"
        made.trusted_by(Home(self.home), url)
        self.run("fetch", PACKAGE, "--to", self.out)
        self.run("fetch", PACKAGE, "--to", folder / "cache", "--into", "hf-cache")

    def run(self, verb: str, *arguments: object, code: int = 0) -> list[dict[str, object]]:
        channel = () if verb in {"verify", "status", "config", "trust"} else ("--channel", self.url)
        return ptmtorrent(self.home, verb, *arguments, *channel, code=code)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"), FILES)


@pytest.fixture(scope="module")
def world(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serve_folder(made.folder) as url:
        yield World(made, tmp_path_factory.mktemp("reader"), url)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount the folder over itself, read-only."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    try:
        with mounted(folder, "--bind", str(folder)):
            subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True, capture_output=True)
            yield
    except OSError as error:
        pytest.skip(str(error))


READING: dict[str, tuple[str, ...]] = {
    "list": ("list",),
    "show": ("show", PACKAGE),
    "subsets": ("subsets",),
    "verify": ("verify",),
    "status": ("status",),
    "settings": ("config", "show"),
    "trusted channels": ("trust", "show"),
    "plan": ("fetch", PACKAGE, "--dry-run", "--to", "elsewhere"),
    "plan of what is here": ("fetch", PACKAGE, "--dry-run", "--to", "out"),
}


@pytest.mark.parametrize("arguments", READING.values(), ids=READING)
def test_a_verb_that_reads_needs_no_writable_home(world: World, arguments: tuple[str, ...]) -> None:
    expected = [event for event in world.run(*arguments) if event["type"] not in {"summary", "plan", "status"}]
    with read_only(world.folder):
        found = [event for event in world.run(*arguments) if event["type"] not in {"summary", "plan", "status"}]
    assert found == expected


@pytest.mark.parametrize("place", [("--to", "out"), ("--to", "cache", "--into", "hf-cache")], ids=["dir", "hf-cache"])
def test_a_fetch_of_what_is_here_needs_no_writable_place(world: World, place: tuple[str, ...]) -> None:
    with read_only(world.folder):
        events = world.run("fetch", PACKAGE, *place)
    [result] = [event for event in events if event["type"] == "result"]
    assert (result["status"], result["reason"]) == ("notneeded", "it is here already")


def test_a_fetch_of_what_is_not_here_says_what_cannot_be_written(world: World) -> None:
    with read_only(world.folder):
        [*_, error] = world.run("fetch", PACKAGE, "--to", "elsewhere", code=20)
    assert "1 package cannot be completed" in str(error["message"])
    assert "--home" in str(error["hint"])
    assert not (world.folder / "elsewhere").exists()


def test_a_cache_that_lacks_the_link_to_a_file_is_not_whole(world: World) -> None:
    [link] = (world.folder / "cache").glob("models--*/snapshots/*/config.json")
    points = link.readlink()
    link.unlink()
    with read_only(world.folder):
        [*_, error] = world.run("fetch", PACKAGE, "--to", "cache", "--into", "hf-cache", code=20)
    link.symlink_to(points)
    assert "1 package cannot be completed" in str(error["message"])


def test_status_of_a_home_with_a_clone_needs_no_writable_home(tmp_path: Path) -> None:
    home, source = tmp_path / "home", tmp_path / "source"
    source.mkdir()
    (source / "README.md").write_bytes(b"# a")
    ptmtorrent(home, "clone", "dir", "--endpoint", source)
    with StoredWindows(Home(home).limits, lambda: 0.0):
        pass
    expected = ptmtorrent(home, "status")
    with read_only(home):
        found = ptmtorrent(home, "status")
        with StoredWindows(Home(home).limits, lambda: 0.0):
            pass
    assert [row for row in found if row.get("what") != "free_bytes"] == [
        row for row in expected if row.get("what") != "free_bytes"
    ]
