"""The sample channel needs no network, no configuration and no clock."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import environment, ptmtorrent

ARGUMENTS = ["--format", "json", "fetch", "--subset", "popular", "--to"]


def fetch(home: Path, out: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-m", "ptmtorrent", "--home", str(home), *ARGUMENTS, str(out)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, timeout=120)


@pytest.mark.needs_root
def test_the_sample_is_fetched_with_the_network_cut(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("`unshare -n` is not allowed here")
    done = fetch(tmp_path / "home", tmp_path / "out", "unshare", "-n")
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "out").rglob("*.safetensors"))


def test_the_sample_is_fetched_with_the_clock_400_days_ahead(tmp_path: Path) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    done = fetch(tmp_path / "home", tmp_path / "out", "faketime", "-f", "+400d")
    assert done.returncode == 0, done.stderr


def test_fetching_the_sample_again_moves_nothing(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    ptmtorrent(home, "fetch", "--subset", "popular", "--to", out)
    again = ptmtorrent(home, "fetch", "--subset", "popular", "--to", out)
    assert again[-1]["bytes_moved"] == 0
    assert {event["status"] for event in again if event["type"] == "result"} == {"notneeded"}


def test_what_was_fetched_is_verified_file_by_file(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    ptmtorrent(home, "fetch", "--subset", "popular", "--to", out)
    assert ptmtorrent(home, "verify", out)[-1]["failed"] == 0
    victim = next(out.rglob("*.safetensors"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    flipped = ptmtorrent(home, "verify", out, code=50)
    assert any(str(victim) in str(event) or victim.name in str(event) for event in flipped)


def test_every_file_of_the_sample_has_the_sha256_of_its_manifest(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    fetched = ptmtorrent(home, "fetch", "--subset", "popular", "--to", out)
    places = {event["id"]: Path(event["path"]) for event in fetched if event["type"] == "result"}
    seen = 0
    for package, place in places.items():
        for row in ptmtorrent(home, "show", package):
            if row["type"] == "file":
                assert hashlib.sha256((place / row["file"]).read_bytes()).hexdigest() == row["sha256"]
                seen += 1
    assert seen == sum(1 for path in out.rglob("*") if path.is_file()) > 100
