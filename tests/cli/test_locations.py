"""Every option that takes a place refuses what is none, and creates no folder of that name."""

import os
from pathlib import Path

import pytest

from tests.channels import RELEASE, Made, make_channel
from tests.in_process import ptmtorrent, run_verb
from tests.program import environment

OPTIONS = {
    "publish": ("publish", str(RELEASE), "--to"),
    "fetch from": ("fetch", "hf:org/name", "--channel"),
    "fetch to": ("fetch", "hf:org/name", "--to"),
    "list": ("list", "--channel"),
    "show": ("show", "hf:org/name", "--channel"),
    "subsets": ("subsets", "--channel"),
    "seed": ("seed", "--channel"),
    "trust": ("trust", "add", "--fingerprint", f"b3:{'0' * 64}"),
    "repair": ("store", "repair", "--from"),
    "export": ("export", "ptmtorrent-json", "--to"),
    "home": ("status", "--home"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"), {"hf:org/name": {"a.json": b"{}" * 50}})


def refused(home: Path, folder: Path, *arguments: str) -> dict[str, str]:
    error: dict[str, str] = ptmtorrent(home, *arguments, code=2, cwd=folder)[-1]
    assert list(folder.iterdir()) == []
    return error


@pytest.mark.parametrize("place", ["s3://bucket/channel", "me@example.org:/srv/channel"])
@pytest.mark.parametrize("option", OPTIONS)
def test_another_scheme_is_a_usage_error_and_nothing_is_created(
    made: Made, tmp_path: Path, option: str, place: str
) -> None:
    error = refused(made.home.root, tmp_path, *OPTIONS[option], place)
    assert place in error["message"]
    assert "rclone" in error["hint"]


@pytest.mark.parametrize("option", ["publish", "fetch to", "seed", "export", "home"])
def test_a_web_server_is_no_folder_and_nothing_is_created(made: Made, tmp_path: Path, option: str) -> None:
    assert "example.org" in refused(made.home.root, tmp_path, *OPTIONS[option], "http://example.org/channel")["message"]


@pytest.mark.parametrize("name", ["s3:", "C:/channel", "me@example.org:channel"])
def test_a_release_is_published_into_a_folder_named_like_an_address(made: Made, tmp_path: Path, name: str) -> None:
    publish = ("--home", str(made.home.root), "publish", str(RELEASE), "--to", f"./{name}")
    assert run_verb(*publish, cwd=tmp_path)[0] == 0
    assert (tmp_path / name / "metadata" / "timestamp.json").is_file()
    ptmtorrent(made.home.root, "seed", "--channel", f"file://{tmp_path}/none", code=12)


def test_a_setting_with_another_scheme_is_named_with_its_origin(made: Made) -> None:
    env = environment(PTMTORRENT_CHANNEL="s3://bucket/channel")
    (error,) = ptmtorrent(made.home.root, "list", code=10, env=env)
    assert "PTMTORRENT_CHANNEL" in error["message"]
    assert "rclone" in error["hint"]


def test_a_place_that_is_not_utf8_is_trusted_fetched_from_and_published_to(made: Made, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for _ in range(2):
        ptmtorrent(made.home.root, "publish", RELEASE, "--to", odd)
    [key] = ptmtorrent(made.home.root, "keys", "show", "--fingerprint")
    home = tmp_path / "home"
    [channel] = ptmtorrent(home, "trust", "add", odd, "--fingerprint", key["fingerprint"])
    assert channel["channel"] == f"file://{tmp_path}/caf%E9"
    for place in (odd, channel["channel"]):
        events = ptmtorrent(home, "fetch", "--subset", "all", "--channel", place, "--to", odd / "out")
        assert events[0]["channel"] == channel["channel"]
    assert [event["status"] for event in ptmtorrent(home, "verify") if event["type"] == "result"] == ["ok"]


def test_a_package_is_not_asked_for_in_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    error = ptmtorrent(tmp_path / "home", "clone", "huggingface", "--id", "org/caf\udce9", code=2)[-1]
    assert "not UTF-8" in error["message"]
