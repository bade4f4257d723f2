"""`releases` and `captured`: what a channel lists, and what a store has."""

from pathlib import Path

import pytest

from ptmtorrent.channel.folder import read_release
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.paths import Home
from tests.channels import RELEASE, Made, make_channel
from tests.in_process import ptmtorrent
from tests.static import serve_folder
from tests.workflows.captured import capture, writing

FILES = {"hf:org/name": {"config.json": b"{}", "model.safetensors": b"w" * 5000}}
NEWER = ReleaseName("2026.12")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A channel of two releases, the newer with a package more."""
    made = make_channel(tmp_path, FILES)
    with writing(made.home) as store:
        capture(store, tmp_path, "hf:org/other", {"README.md": b"# other"})
    ptmtorrent(made.home.root, "release", NEWER)
    return made


def test_releases_are_listed_newest_first_with_what_one_cites(made: Made, tmp_path: Path) -> None:
    reader = Home(tmp_path / "reader")
    with serve_folder(made.folder) as url:
        made.trusted_by(reader, url)
        rows = [row for row in ptmtorrent(reader.root, "releases", "--channel", url) if row["type"] == "release"]
    expected = [read_release(made.folder, name)[1] for name in (NEWER, RELEASE)]
    assert [(row["name"], row["packages"]) for row in rows] == [(NEWER, 2), (RELEASE, 1)]
    assert [row["content_root"] for row in rows] == [f"b3:{release.content_root}" for release in expected]
    assert [row["created"] for row in rows] == [release.created for release in expected]
    cited = ptmtorrent(reader.root, "list", "--channel", made.folder, "--release", rows[1]["content_root"])
    assert [row["package"] for row in cited if row["type"] == "package"] == ["hf:org/name"]


def test_a_release_that_is_not_the_signed_one_is_not_listed(made: Made, tmp_path: Path) -> None:
    path = made.folder / "releases" / RELEASE / "release.json"
    path.write_bytes(path.read_bytes().replace(b'"packages":1', b'"packages":9'))
    reader = Home(tmp_path / "reader")
    made.trusted_by(reader, str(made.folder))
    [*_, error] = ptmtorrent(reader.root, "releases", "--channel", made.folder, code=60)
    assert RELEASE in error["message"]


def test_the_sample_channel_lists_its_release(tmp_path: Path) -> None:
    [row] = [row for row in ptmtorrent(tmp_path / "home", "releases") if row["type"] == "release"]
    assert row["name"] == "sample"


def test_captured_packages_are_listed_by_name(made: Made) -> None:
    rows = [row for row in ptmtorrent(made.home.root, "captured") if row["type"] == "capture"]
    assert [row["package"] for row in rows] == ["hf:org/name", "hf:org/other"]
    listed = ptmtorrent(made.home.root, "list", "--channel", made.folder)
    assert [row["snapshot"] for row in rows] == [row["snapshot"] for row in listed if row["type"] == "package"]
    assert {row["rights"] for row in rows} == {"open"}


def test_a_home_without_captures_says_how_to_make_them(tmp_path: Path) -> None:
    [error] = ptmtorrent(tmp_path / "home", "captured", code=12)
    assert "ptmtorrent clone" in error["hint"]
