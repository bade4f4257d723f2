"""What flags and arguments exclude each other, or lack, is named with the next thing to type."""

import errno
import os
from pathlib import Path
from unittest import mock

import pytest

from tests.in_process import ptmtorrent, run_verb

COLLECTION = "6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f"
PLACE = f"globus:{COLLECTION}/channel"
REFUSED = {
    "nothing to publish": (("publish", "--to", "www"), 2, "either a release to publish or one to retire"),
    "publish and retire": (("publish", "a", "--retire", "b", "--to", "www"), 2, "either a release"),
    "anyone of a folder": (("publish", "a", "--anyone", "--to", "www"), 2, "`--anyone` applies to Globus"),
    "anyone of a retired one": (
        ("publish", "--retire", "a", "--anyone", "--to", PLACE),
        2,
        "`--anyone` applies to a release",
    ),
    "delete without a name": (("release", "delete"), 2, "`release delete` needs a name"),
    "two names": (("release", "a", "b"), 2, "`b` is one argument too many"),
    "store and a target": (("verify", "models", "--store"), 2, "takes no target"),
    "channel and store": (("verify", "--channel", "www", "--store"), 2, "`--channel` checks all packs"),
    "two choices of a clone": (("clone", "huggingface", "--popular", "--min-downloads", "1"), 2, "exclude each other"),
    "Xet of another hub": (("clone", "kaggle", "--id", "a/b", "--xet"), 2, "has no Xet storage"),
    "history of another hub": (("clone", "kaggle", "--id", "a/b", "--with", "history"), 2, "does not provide it"),
    "an unknown extra": (("clone", "huggingface", "--with", "money"), 2, "does not provide it"),
    "a hub that is none": (("clone", "hub"), 2, "there is no hub `hub`"),
    "quick and data": (("store", "check", "--quick", "--data"), 2, "exclude each other"),
    "login without a client": (("auth", "login", "globus"), 10, "globus_client_id"),
    "Globus without a client": (("publish", "a", "--to", PLACE), None, "a"),
}


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_and_nothing_is_made(
    tmp_path: Path, arguments: tuple[str, ...], code: int | None, words: str
) -> None:
    ended, out, err = run_verb("--home", str(tmp_path / "home"), *arguments, cwd=tmp_path)
    assert words in err
    assert "\n  " in err
    assert out == ""
    assert ended == (code or ended) != 0
    assert not (tmp_path / "www").exists()


def test_the_demo_keeps_its_files_in_a_new_folder_only(tmp_path: Path) -> None:
    (tmp_path / "full" / "of").mkdir(parents=True)
    assert "exists already" in ptmtorrent(tmp_path / "home", "demo", "--to", "full", code=2)[-1]["message"]
    (tmp_path / "file").touch()
    assert "cannot be created" in ptmtorrent(tmp_path / "home", "demo", "--to", "file/x", code=2)[-1]["message"]


def test_no_login_is_stored_at_first(tmp_path: Path) -> None:
    assert ptmtorrent(tmp_path / "home", "auth", "status", env={"PTMTORRENT_GLOBUS_CLIENT_ID": COLLECTION}) == []


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    with mock.patch("ptmtorrent.config.Path.cwd", side_effect=gone):
        [error] = ptmtorrent(tmp_path / "home", "status", code=10)
    assert "current folder" in error["message"]
    assert "cd" in error["hint"]


def test_a_path_that_the_system_refuses_is_named(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 300)
    error = ptmtorrent(tmp_path / "home", "fetch", "hf:tinkerer/quill-int8", "--to", place, code=20)[-1]
    assert error["message"] == f"`{place}` could not be used: File name too long"
