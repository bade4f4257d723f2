"""`store history`: the history of a package leaves the store as it came."""

import subprocess
from pathlib import Path

from tests.in_process import ptmtorrent
from tests.simulators.git_server import serve_git


def test_history_leaves_the_store_as_a_bundle_that_git_clones(tmp_path: Path) -> None:
    served, home, bundle = tmp_path / "served", tmp_path / "home", tmp_path / "model.bundle"
    served.mkdir()
    with serve_git(served) as git:
        git.commit("team/m", {"a.txt": b"first"})
        git.commit("team/m", {"a.txt": b"second"})
        clone = ("clone", "git", "--endpoint", git.url, "--id", "team/m", "--with", "history")
        ptmtorrent(home, *clone)
    [capture] = ptmtorrent(home, "captured")

    [result, *_] = ptmtorrent(home, "store", "history", capture["package"], "--to", bundle)

    assert (result["path"], result["bytes"]) == (str(bundle), bundle.stat().st_size)
    subprocess.run(["git", "clone", "--quiet", bundle, tmp_path / "out"], check=True)
    log = subprocess.run(["git", "-C", tmp_path / "out", "log", "--oneline", "--all"], capture_output=True, check=True)
    assert len(log.stdout.splitlines()) == 2
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_history_that_was_not_kept_is_named_and_no_file_is_replaced(tmp_path: Path) -> None:
    served, home, there = tmp_path / "served", tmp_path / "home", tmp_path / "there"
    served.mkdir()
    there.write_bytes(b"mine")
    with serve_git(served) as git:
        git.commit("team/m", {"a.txt": b"first"})
        ptmtorrent(home, "clone", "git", "--endpoint", git.url, "--id", "team/m")
    [capture] = ptmtorrent(home, "captured")

    lacking = ptmtorrent(home, "store", "history", capture["package"], "--to", tmp_path / "x", code=12)[-1]
    unknown = ptmtorrent(home, "store", "history", "git:none", "--to", tmp_path / "x", code=12)[-1]
    ptmtorrent(home, "store", "history", capture["package"], "--to", there, code=2)

    assert "--with history" in lacking["hint"]
    assert "`git:none` was not captured" in unknown["message"]
    assert there.read_bytes() == b"mine"
    assert not (tmp_path / "x").exists()
