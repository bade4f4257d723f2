"""The unmodified git and git-lfs get from the git simulator what our adapter gets."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.hubs.git_samples import fetch, fill, remotes
from tests.simulators.git_server import serve_git

pytestmark = pytest.mark.interop


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_git_and_git_lfs_get_the_same_bytes_as_we(tmp_path: Path) -> None:
    for name in ("served", "parts"):
        (tmp_path / name).mkdir()
    with serve_git(tmp_path / "served") as server:
        [name] = fill(server, 1)
        with remotes(server, tmp_path / "work", [name]) as hub:
            ours = {path: data for path, (_, data) in fetch(hub, name, tmp_path / "parts").items()}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }
        target = tmp_path / "clone"
        # `lfs.url` and `-X ""` undo the sample's .lfsconfig, which sends git-lfs elsewhere and hides every file.
        for order in (
            ["git", "clone", "--quiet", server.remote(name), str(target)],
            ["git", "-C", str(target), "lfs", "install", "--local"],
            ["git", "-C", str(target), "-c", f"lfs.url={server.remote(name)}.git/info/lfs", "lfs", "pull", "-X", ""],
        ):
            done = subprocess.run(order, env=environment, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr.decode()

    for path, data in ours.items():
        place = target / path
        assert (str(place.readlink()).encode() if place.is_symlink() else place.read_bytes()) == data
    assert os.access(target / "run.sh", os.X_OK)
