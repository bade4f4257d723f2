"""The unmodified git and git-lfs get from the git simulator what our adapter gets."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.store.store import Store
from tests.hubs.git.samples import fetch, fill, remotes
from tests.hubs.onnx.samples import contents, zoo
from tests.program import ptmtorrent
from tests.simulators.git_server import serve_git

pytestmark = pytest.mark.interop


def run_clients(home: Path, target: Path, remote: str) -> None:
    """Clone `remote` to `target` with git, then its LFS files with git-lfs."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    # `lfs.url` and `-X ""` undo what `.lfsconfig` may say, which sends git-lfs elsewhere and hides every file.
    for order in (
        ["git", "clone", "--quiet", remote, str(target)],
        ["git", "-C", str(target), "lfs", "install", "--local"],
        ["git", "-C", str(target), "-c", f"lfs.url={remote}.git/info/lfs", "lfs", "pull", "-X", ""],
    ):
        done = subprocess.run(order, env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_git_and_git_lfs_get_the_same_bytes_as_we(tmp_path: Path) -> None:
    for name in ("served", "parts"):
        (tmp_path / name).mkdir()
    with serve_git(tmp_path / "served") as server:
        [name] = fill(server, 1)
        with remotes(server, tmp_path / "work", [name]) as hub:
            ours = {path: data for path, (_, data) in fetch(hub, name, tmp_path / "parts").items()}
        target = tmp_path / "clone"
        run_clients(tmp_path, target, server.remote(name))

    for path, data in ours.items():
        place = target / path
        assert (str(place.readlink()).encode() if place.is_symlink() else place.read_bytes()) == data
    assert os.access(target / "run.sh", os.X_OK)


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_git_and_git_lfs_get_the_same_zoo_as_we(tmp_path: Path) -> None:
    with zoo(tmp_path) as world:
        target = tmp_path / "clone"
        run_clients(tmp_path, target, world.endpoint)
        home = tmp_path / "home"
        ptmtorrent(home, "clone", "onnx", "--endpoint", world.endpoint)

    with Store.open(home / "store") as store:
        manifests = [
            decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot) for capture in store.captures()
        ]
        ours = {
            f"{manifest.package.name}/{file.name}": b"".join(
                store.read(manifest.objects[row][0]) for row in manifest.objects_of(file.recipe)
            )
            for manifest in manifests
            for file in manifest.files
        }
    assert len(ours) == 6
    assert {path: (target / path).read_bytes() for path in ours} == ours
    assert contents().items() <= ours.items()
