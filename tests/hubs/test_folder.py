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


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": b"---\nlicense: mit\n---\n# card\n"}, "mit"),
        ({"LICENSE": b"MIT License"}, "mit"),
        ({"LICENSE": b"x" * 70_000}, "other"),
        ({"a.bin": b"x"}, None),
    ],
)
def test_licence_is_what_the_files_state(tmp_path: Path, files: dict[str, bytes], licence: str | None) -> None:
    for path, data in files.items():
        write(tmp_path / "model" / path, data)
    assert described(tmp_path, "model")[1].listed.licence == licence


def test_licence_of_a_link_is_that_of_the_file_in_the_package_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path / "in" / "legal" / "LICENSE.txt", b"MIT License")
    (tmp_path / "in" / "LICENSE").symlink_to("legal/LICENSE.txt")
    write(tmp_path / "out" / "a.bin")
    (tmp_path / "out" / "LICENSE").symlink_to("../in/legal/LICENSE.txt")

    assert described(tmp_path, "in")[1].listed.licence == "mit"
    assert described(tmp_path, "out")[1].listed.licence == "other"


def test_folder_with_a_licence_is_released_and_one_without_is_named(tmp_path: Path) -> None:
    write(tmp_path / "top" / "card" / "README.md", b"---\nlicense: mit\n---\n# card\n")
    write(tmp_path / "top" / "text" / "LICENSE", b"MIT License")
    write(tmp_path / "top" / "none" / "a.bin")
    ptmtorrent(tmp_path / "home", "clone", "dir", "--endpoint", tmp_path / "top")
    ptmtorrent(tmp_path / "home", "keys", "init", "--no-passphrase")

    events = ptmtorrent(tmp_path / "home", "release", "r1")

    assert [event["packages"] for event in events if event["type"] == "release"] == [2]
    assert [event["id"] for event in events if event["type"] == "result"] == ["dir:none"]
