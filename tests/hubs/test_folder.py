"""A folder as a hub: what a package is, what changes its revision, and which entries are never followed or read."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ptmtorrent.errors import HubError, NotFound, UsageError
from ptmtorrent.hubs.client.download import Download
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.folder import SETTLED_SECONDS, FolderHub
from ptmtorrent.hubs.port import Described, HubFile, Listed, Located, NewSession, Query
from ptmtorrent.model.moments import read_clock
from ptmtorrent.model.records import Event, Result
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from tests.in_process import ptmtorrent as run_program
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


def test_name_with_an_escape_in_it_is_not_that_of_the_byte(tmp_path: Path) -> None:
    write(tmp_path / "a" / "m" / "caf\udce9.txt")
    write(tmp_path / "b" / "m" / "caf\\xe9.txt")

    assert described(tmp_path / "a", "m")[1].identity.commit != described(tmp_path / "b", "m")[1].identity.commit


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

    with pytest.raises((NotFound, HubError)):
        described(tmp_path / "top", name)


def test_pipe_is_named_and_never_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "model" / "a.txt")
    os.mkfifo(tmp_path / "model" / "pipe")

    hub = FolderHub(str(tmp_path))
    files, _ = hub.files(hub.describe(next(hub.listing(Query(), None)).packages[0]))

    assert {file.path: (file.size, file.missing) for file in files} == {
        "a.txt": (1, None),
        "pipe": (None, "unreadable"),
    }


@contextmanager
def closed(*folders: Path) -> Iterator[None]:
    """Let folders be unreadable, as they are for a user without the right to read them; root may read all."""
    real = os.scandir

    def scandir(place: str | Path) -> Any:
        if Path(place) in folders:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        return real(place)

    with mock.patch("os.scandir", scandir):
        yield


def test_folder_that_cannot_be_read_costs_what_is_in_it_alone(tmp_path: Path) -> None:
    for name in ("model/a.txt", "model/sub/b.txt", "model/sub/c.txt", "closed/x.txt", "team/closed/y.txt"):
        write(tmp_path / name)
    with closed(tmp_path / "model" / "sub", tmp_path / "closed", tmp_path / "team" / "closed"):
        hub = FolderHub(str(tmp_path))
        [page] = hub.listing(Query(), None)
        files, _ = hub.files(hub.describe(next(each for each in page.packages if each.name == "model")))
        for listed in page.packages:
            if listed.name != "model":
                assert listed.stamp is None
                with pytest.raises(HubError, match=f"{listed.name}` cannot be read"):
                    hub.describe(listed)

    assert [listed.name for listed in page.packages] == ["closed", "model", "team/closed"]
    assert {file.path: file.missing for file in files} == {"a.txt": None, "sub": "unreadable"}


@pytest.mark.parametrize("name", [b"ckpt\\1", b"caf\xe9", b"new\nline", b"C:", b"git~1", b"caf\\xe9"])
def test_folder_with_a_name_that_no_package_has_is_captured_under_another(tmp_path: Path, name: bytes) -> None:
    home, odd = tmp_path / "home", Path(os.fsdecode(os.fsencode(tmp_path / "top") + b"/" + name))
    write(odd / "model.bin")
    write(tmp_path / "top" / "good" / "model.bin")

    events = run_program(home, "clone", "dir", "--endpoint", tmp_path / "top", code=3)
    results = {event["id"]: event for event in events if event["type"] == "result"}
    assert results.pop("dir:good")["status"] == "ok"
    [refused] = results.values()
    assert "--as NAME" in refused["reason"]
    assert events[-1]["hint"] is None, "the same command does not help"
    for status in ("ok", "notneeded"):
        events = run_program(home, "clone", "dir", "--endpoint", odd, "--as", "even")
        assert [event["status"] for event in events if event["type"] == "result"] == [status]


def test_name_that_no_reader_would_write_costs_its_file_alone(tmp_path: Path) -> None:
    for name in ("a.txt", ".Git/config", "sub/GIT~1", "sub/b.txt"):
        write(tmp_path / "model" / name)

    hub = FolderHub(str(tmp_path))
    files, _ = hub.files(hub.describe(next(hub.listing(Query(), None)).packages[0]))

    assert {file.path for file in files if file.missing == "unsafe-name"} == {".Git/config", "sub/GIT~1"}
    assert {file.path for file in files if file.missing is None} == {"a.txt", "sub/b.txt"}


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


def stamps(top: Path, moment: float = 10.0**10) -> dict[str, str | None]:
    session = Session(clock=lambda: datetime.fromtimestamp(moment, UTC))
    pages = FolderHub(str(top), session).listing(Query(), None)
    return {listed.name: listed.stamp for page in pages for listed in page.packages}


@pytest.mark.parametrize("change", ["bytes", "time", "mode", "name", "new", "gone", "replaced", "deep"])
def test_stamp_changes_with_whatever_may_have_changed_a_file(tmp_path: Path, change: str) -> None:
    file, deep = write(tmp_path / "x" / "a.txt", b"one"), write(tmp_path / "x" / "sub" / "deep.txt")
    write(tmp_path / "y" / "a.txt")
    before = stamps(tmp_path)
    old = file.stat()
    match change:
        case "bytes":  # as long as before, and the time put back
            file.write_bytes(b"two")
            os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
        case "time":
            os.utime(file, (1, 1))
        case "mode":
            file.chmod(0o700)
        case "name":
            file.rename(file.with_name("b.txt"))
        case "new":
            write(tmp_path / "x" / "c.txt", b"")
        case "gone":
            deep.unlink()
        case "replaced":
            other = write(tmp_path / "other", b"one")
            os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
            other.rename(file)
        case "deep":
            deep.write_bytes(b"longer")
    after = stamps(tmp_path)

    assert None not in before.values()
    assert after["x"] != before["x"]
    assert after["y"] == before["y"]


def test_folder_that_was_changed_a_moment_ago_has_no_stamp(tmp_path: Path) -> None:
    file = write(tmp_path / "x" / "a.txt")
    changed = file.stat().st_ctime

    assert stamps(tmp_path, changed + SETTLED_SECONDS - 0.1) == {"x": None}
    assert stamps(tmp_path, changed - 3600) == {"x": None}
    assert stamps(tmp_path, changed + SETTLED_SECONDS + 0.1) != {"x": None}


def test_listing_has_pages_and_goes_on_from_any_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptmtorrent.hubs.folder.PAGE", 3)
    for at in range(8):
        write(tmp_path / f"team-{at % 2}" / f"{at}" / "a.txt")
    hub, pages, cursor = FolderHub(str(tmp_path)), [], None
    while page := next(hub.listing(Query(), cursor)):
        pages.append(page)
        cursor = page.cursor
        if cursor is None:
            break
    found = [[listed.name for listed in page.packages] for page in pages]

    assert [len(each) for each in found] == [3, 3, 2]
    assert list(chain.from_iterable(found)) == [f"team-{at % 2}/{at}" for at in (0, 2, 4, 6, 1, 3, 5, 7)]
    for at in (0, 1):
        again = list(FolderHub(str(tmp_path)).listing(Query(), pages[at].cursor))
        assert [[listed.name for listed in page.packages] for page in again] == found[at + 1 :]


def test_listing_that_goes_on_from_a_folder_that_is_gone_begins_again(tmp_path: Path) -> None:
    write(tmp_path / "x" / "a.txt")
    write(tmp_path / "y" / "a.txt")
    pages = FolderHub(str(tmp_path)).listing(Query(), "gone")

    assert [listed.name for page in pages for listed in page.packages] == ["x", "y"]


def test_folder_that_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    describe = FolderHub.describe

    def spy(self: FolderHub, listed: Listed) -> Described:
        reads.append(listed.name)
        return describe(self, listed)

    monkeypatch.setattr(FolderHub, "describe", spy)
    monkeypatch.setattr("ptmtorrent.hubs.folder.SETTLED_SECONDS", -1.0)
    write(tmp_path / "top" / "x" / "a.txt")
    file = write(tmp_path / "top" / "y" / "a.txt")

    assert clone_folders(tmp_path) == {"dir:x": "ok", "dir:y": "ok"}
    assert clone_folders(tmp_path) == {"dir:x": "notneeded", "dir:y": "notneeded"}
    assert reads == ["x", "y"]
    os.utime(file, (1, 1))
    assert clone_folders(tmp_path) == {"dir:x": "notneeded", "dir:y": "notneeded"}
    file.write_bytes(b"y")
    assert clone_folders(tmp_path) == {"dir:x": "notneeded", "dir:y": "ok"}
    assert reads == ["x", "y", "y", "y"]


def test_folder_whose_name_another_collection_has_is_captured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest capture counts: that this folder did not change since its own is not enough."""
    monkeypatch.setattr("ptmtorrent.hubs.folder.SETTLED_SECONDS", -1.0)
    write(tmp_path / "top" / "x" / "a.txt", b"one")
    write(tmp_path / "other" / "x" / "a.txt", b"two")

    assert clone_folders(tmp_path, "top/x", called="x") == {"dir:x": "ok"}
    assert clone_folders(tmp_path, "other/x", called="x") == {"dir:x": "ok"}
    assert clone_folders(tmp_path, "top/x", called="x") == {"dir:x": "ok"}
    assert clone_folders(tmp_path, "top/x", called="x") == {"dir:x": "notneeded"}
    with pytest.raises(UsageError, match=r"top/x.*other/x.* is another folder"):
        clone_folders(tmp_path, "other")


def test_folder_without_a_stamp_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptmtorrent.hubs.folder.SETTLED_SECONDS", 10.0**9)
    file = write(tmp_path / "top" / "x" / "a.txt", b"one")
    assert clone_folders(tmp_path) == {"dir:x": "ok"}
    file.write_bytes(b"two")

    assert clone_folders(tmp_path) == {"dir:x": "ok"}


def clone_folders(folder: Path, top: str = "top", called: str | None = None) -> dict[str, str]:
    events: list[Event] = []

    def make_hub(new_session: NewSession) -> FolderHub:
        return FolderHub(str(folder / top), new_session(), called=called)

    request, home = CloneRequest(called=called), Home(folder / "home")
    clone(make_hub, request, home, clock=read_clock, emit=events.append, stop=Stop())
    return {event.id: event.status for event in events if isinstance(event, Result)}


def test_files_of_a_package_are_in_memory_only_until_they_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "x" / "a.txt")
    hub, found = described(tmp_path, "x")

    assert hub.files(found)[0] == hub.files(found)[0]
    assert hub._found == {}
