"""Bare clones are deleted, bounded, shared by the packages of one commit, and read by one git process each."""

import io
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.hubs.git import clones as clones_module
from ptmtorrent.hubs.git.clones import Clones, Remote
from ptmtorrent.hubs.git.objects import Objects
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.port import Query
from ptmtorrent.stop import Stop
from tests.hubs.git.samples import fetch, fill, remotes
from tests.simulators.git_server import GitServer, serve_git


@pytest.fixture
def server(tmp_path: Path) -> GitServer:
    (tmp_path / "served").mkdir()
    (tmp_path / "parts").mkdir()
    with serve_git(tmp_path / "served") as made:
        yield made


class CountingGit(Git):
    """Counts the git processes that objects are read from."""

    started = 0

    def start(self, *arguments: object) -> object:
        self.started += 1
        return super().start(*arguments)  # type: ignore[arg-type]


def folders(work: Path) -> list[str]:
    return sorted(folder.name for folder in work.glob("*.git"))


def clones_of(work: Path, **options: int) -> Clones:
    return Clones(CountingGit({"PATH": "/usr/bin:/bin"}), work, **options)  # type: ignore[arg-type]


def at(server: GitServer, name: str, files: dict[str, bytes], package: str = "it") -> Remote:
    return Remote(url=server.remote(name), commit=server.commit(name, files), package=package)


def test_one_git_reads_all_files_of_a_package(server: GitServer, tmp_path: Path) -> None:
    remote = at(server, "team/m", {f"{number}.txt": bytes([number]) for number in range(20)})
    clones = clones_of(tmp_path / "work")

    files, _ = clones.files(remote)
    read = {file.path: b"".join(clones.pieces(remote, (file.oid or "").removeprefix("git:"))) for file in files}
    clones.close()

    assert read == {f"{number}.txt": bytes([number]) for number in range(20)}
    assert clones.git.started == 1


def test_clone_is_deleted_when_no_package_needs_it(server: GitServer, tmp_path: Path) -> None:
    remote = at(server, "team/m", {"a.txt": b"a"}, "one")
    clones = clones_of(tmp_path / "work")
    clones.files(remote)
    clones.files(Remote(url=remote.url, commit=remote.commit, package="other"))

    clones.release(remote)
    after_one = folders(tmp_path / "work")
    clones.release(Remote(url=remote.url, commit=remote.commit, package="other"))

    assert len(after_one) == 1
    assert folders(tmp_path / "work") == []


def test_folders_together_stay_within_their_bound_and_come_again_when_asked(server: GitServer, tmp_path: Path) -> None:
    wanted = [at(server, f"team/{number}", {"a.bin": bytes([number]) * 10}) for number in range(5)]
    clones = clones_of(tmp_path / "work", max_bytes=1)

    oids = []
    for remote in wanted:
        [file], _ = clones.files(remote)
        oids.append((file.oid or "").removeprefix("git:"))
    left = folders(tmp_path / "work")
    again = clones.read(wanted[0], oids[0])
    clones.close()

    assert len(left) == 1
    assert again == b"\0" * 10


def test_what_an_earlier_process_left_counts_and_goes_first(server: GitServer, tmp_path: Path) -> None:
    earlier = clones_of(tmp_path / "work")
    earlier.files(at(server, "team/old", {"a.txt": b"old"}))
    earlier.close()
    old = folders(tmp_path / "work")

    clones = clones_of(tmp_path / "work", max_bytes=1)
    clones.files(at(server, "team/new", {"a.txt": b"new"}))
    clones.close()

    assert len(old) == 1
    assert len(folders(tmp_path / "work")) == 1
    assert folders(tmp_path / "work") != old


def test_half_of_a_folder_is_not_believed(server: GitServer, tmp_path: Path) -> None:
    remote = at(server, "team/m", {"a.txt": b"a"})
    earlier = clones_of(tmp_path / "work")
    earlier.files(remote)
    earlier.close()
    [folder] = (tmp_path / "work").glob("*.git")
    (folder / "complete").unlink()
    (folder / "HEAD").write_text("rubbish")

    clones = clones_of(tmp_path / "work")
    files, _ = clones.files(remote)
    clones.close()

    assert [file.path for file in files] == ["a.txt"]


def test_file_whose_reading_is_given_up_leaves_the_next_one_right(server: GitServer, tmp_path: Path) -> None:
    remote = at(server, "team/m", {"a.bin": b"a" * (5 << 20), "b.bin": b"b"})
    clones = clones_of(tmp_path / "work")
    first, second = ((file.oid or "").removeprefix("git:") for file in clones.files(remote)[0])

    began = clones.pieces(remote, first)
    next(began)
    began.close()
    after = clones.read(remote, second)
    clones.close()

    assert after == b"b"


def test_nothing_is_left_of_a_released_package(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    with remotes(server, tmp_path / "work", [name]) as hub:
        fetch(hub, name, tmp_path / "parts")
        [page] = hub.listing(Query(ids=(name,)), None)
        hub.release(hub.describe(page.packages[0]))

    assert folders(tmp_path / "work") == []


def test_blob_with_other_bytes_than_its_id_says_is_refused() -> None:
    oid = "1" * 40
    reply = f"{oid} blob 3\n".encode() + b"abc\n"

    with pytest.raises(IntegrityError, match=oid):
        list(Objects(io.BytesIO(), io.BytesIO(reply)).pieces(oid))
    with pytest.raises(IntegrityError, match=oid):
        Objects(io.BytesIO(), io.BytesIO(reply)).read(oid, "blob")


def test_file_that_the_trees_do_not_have_is_refused_when_it_is_listed(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = at(server, "team/m", {"a.txt": b"a"})
    right = clones_module.hub_files

    def lying(*arguments: object) -> object:
        [file], odd = right(*arguments)  # type: ignore[arg-type]
        return [msgspec.structs.replace(file, oid="git:" + "1" * 40)], odd

    monkeypatch.setattr(clones_module, "hub_files", lying)
    clones = clones_of(tmp_path / "work")

    with pytest.raises(IntegrityError, match=r"a\.txt"):
        clones.files(remote)
    clones.close()


def test_git_ends_by_the_stop_that_the_session_has_by_then(server: GitServer, tmp_path: Path) -> None:
    with remotes(server, tmp_path / "work", []) as hub:
        before = hub._clones.git.stopped()
        hub.session.stop = Stop()
        hub.session.stop.set()
        after = hub._clones.git.stopped()

    assert (before, after) == (False, True)
