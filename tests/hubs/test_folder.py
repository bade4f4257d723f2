"""A folder as a hub: what a package is, what changes its revision, and which entries are never followed or read."""

import os
from pathlib import Path

import pytest

from ptmtorrent.errors import HubError, IntegrityError, NotFound, UsageError
from ptmtorrent.hubs.client.download import Download
from ptmtorrent.hubs.folder import FolderHub
from ptmtorrent.hubs.port import Described, HubFile, Located, Query
from tests.program import ptmtorrent


def write(place: Path, data: bytes = b"x") -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


def names(top: Path, *ids: str) -> list[str]:
    [page] = FolderHub(str(top)).listing(Query(ids=ids), None)
    return [listed.name for listed in page.packages]


def described(top: Path, name: str) -> tuple[FolderHub, Described]:
    hub = FolderHub(str(top))
    [page] = hub.listing(Query(ids=(name,)), None)
    return hub, hub.describe(page.packages[0])


def test_packages_are_the_topmost_folders_with_files(tmp_path: Path) -> None:
    write(tmp_path / "team" / "one" / "config.json")
    write(tmp_path / "team" / "one" / "sub" / "model.bin")
    write(tmp_path / "two" / "a.txt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "again").symlink_to(tmp_path / "two")

    assert names(tmp_path) == ["team/one", "two"]


def test_folder_with_files_of_its_own_is_the_only_package(tmp_path: Path) -> None:
    write(tmp_path / "model" / "config.json")
    write(tmp_path / "model" / "sub" / "a.bin")

    assert names(tmp_path / "model") == ["model"]
    hub, found = described(tmp_path / "model", "model")
    assert [file.path for file in hub.files(found)[0]] == ["config.json", "sub/a.bin"]


def test_modes_and_links_are_kept_and_git_is_left_out(tmp_path: Path) -> None:
    top = tmp_path / "model"
    write(top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("run.sh")
    (top / "out").symlink_to("/etc/hostname")
    write(top / ".git" / "config")

    hub, found = described(top, "model")
    files = {file.path: file for file in hub.files(found)[0]}

    assert {path: file.mode for path, file in files.items()} == {
        "run.sh": 0o100755,
        "link": 0o120000,
        "out": 0o100644,
    }
    assert files["out"].size == len("/etc/hostname")
    assert files["link"].link == "run.sh"


def test_revision_follows_from_the_bytes_alone(tmp_path: Path) -> None:
    place = write(tmp_path / "model" / "a.bin", b"one")
    before = described(tmp_path, "model")[1].identity.commit
    os.utime(place, (1, 1))
    touched = described(tmp_path, "model")[1].identity.commit
    place.write_bytes(b"two")
    changed = described(tmp_path, "model")[1].identity.commit

    assert before == touched
    assert changed != before


def test_folder_that_changed_since_it_was_described_is_found_out(tmp_path: Path) -> None:
    place = write(tmp_path / "model" / "a.bin", b"one")
    _, found = described(tmp_path, "model")
    place.write_bytes(b"two")

    with pytest.raises(NotFound, match="changed"):
        FolderHub(str(tmp_path)).files(found)


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc", "link", ""])
def test_nothing_outside_the_folder_is_a_package(tmp_path: Path, name: str) -> None:
    write(tmp_path / "out" / "a.txt")
    write(tmp_path / "top" / "model" / "a.txt")
    (tmp_path / "top" / "link").symlink_to(tmp_path / "out")

    with pytest.raises((NotFound, IntegrityError)):
        described(tmp_path / "top", name)


def test_pipe_is_named_and_never_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "model" / "a.txt")
    os.mkfifo(tmp_path / "model" / "pipe")

    with pytest.raises(HubError, match="pipe"):
        described(tmp_path, "model")


def test_folder_has_to_be_named_and_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a folder"):
        list(FolderHub("").listing(Query(), None))
    with pytest.raises(NotFound, match="not a folder"):
        list(FolderHub(str(tmp_path / "none")).listing(Query(), None))


def test_folder_is_cloned_and_its_bad_package_named(tmp_path: Path) -> None:
    write(tmp_path / "top" / "good" / "model.bin", b"w" * 100_000)
    write(tmp_path / "top" / "bad" / "a.txt")
    os.mkfifo(tmp_path / "top" / "bad" / "pipe")

    first = ptmtorrent(tmp_path / "home", "clone", "dir", "--endpoint", tmp_path / "top", code=3)
    again = ptmtorrent(tmp_path / "home", "clone", "dir", "--endpoint", tmp_path / "top", code=3)

    results = {event["id"]: event for event in first if event["type"] == "result"}
    assert results["dir:good"]["status"] == "ok"
    assert "pipe" in results["dir:bad"]["reason"]
    assert {event["id"]: event["status"] for event in again if event["type"] == "result"}["dir:good"] == "notneeded"


def test_file_that_became_a_link_since_it_was_listed_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "secret", b"right bytes")
    (tmp_path / "a.bin").symlink_to(tmp_path / "secret")
    hub = FolderHub(str(tmp_path))
    file = HubFile(path="a.bin", size=11, oid=None, source="url")

    with pytest.raises(HubError, match="can no longer be read"):
        Download(
            session=hub.session,
            locate=lambda: Located(path=tmp_path / "a.bin"),
            file=file,
            what="`a.bin`",
            part=tmp_path / "part",
            count=lambda *_: None,
            stop=hub.session.stop,
        ).run()
    hub.close()
