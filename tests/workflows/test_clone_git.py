"""Clones of git remotes, from the simulator into a store."""

from pathlib import Path

import pytest

from ptmtorrent.hubs.git.clones import check_files
from ptmtorrent.hubs.git.objects import split_proof
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.model.records import Event, Result
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from tests.hubs.git.samples import WEIGHTS, fill, remotes
from tests.simulators.git_server import GitServer, serve_git
from tests.workflows.cloning import NOW


@pytest.fixture
def server(tmp_path: Path) -> GitServer:
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as made:
        yield made


def run(server: GitServer, tmp_path: Path, names: list[str]) -> list[Result]:
    events: list[Event] = []
    with remotes(server, tmp_path / "work", []) as hub:
        request = CloneRequest(ids=tuple(names))
        clone(lambda _: hub, request, Home(tmp_path), clock=lambda: NOW, emit=events.append, stop=Stop())
    return [event for event in events if isinstance(event, Result)]


def proof_of(store: Store, manifest: Manifest) -> list[tuple[str, bytes]]:
    [answer] = [answer for answer in manifest.raw if answer.name == "git"]
    return split_proof(b"".join(store.read(manifest.objects[row][0]) for row in manifest.objects_of(answer.recipe)))


def test_what_was_stored_hashes_up_to_the_upstream_commit(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)

    [result] = run(server, tmp_path, [name])

    assert result.status == "ok"
    assert list((tmp_path / "work").iterdir()) == []
    with Store.open(tmp_path / "store") as store:
        [capture] = store.captures()
        manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
        proof = proof_of(store, manifest)
    files = [
        HubFile(
            path=file.name,
            size=file.size,
            oid=f"git:{file.git_sha1}" if file.git_sha1 else f"sha256:{file.sha256}",
            source=file.source,
            mode=file.mode,
        )
        for file in manifest.files
    ]
    assert len(files) == 7
    check_files(manifest.package.commit, proof, files)


def test_lfs_object_that_is_gone_fails_its_package_by_name_and_no_other(server: GitServer, tmp_path: Path) -> None:
    names = fill(server, 2)
    [oid] = [place.name for place in (server.folder / "lfs").iterdir() if place.read_bytes() == WEIGHTS + b"\0"]
    server.faults.gone.add(oid)

    results = {result.id.rpartition("/")[2]: result for result in run(server, tmp_path, names)}

    assert results["model-1"].status == "ok"
    assert results["model-0"].status != "ok"
    assert "weights/model.bin" in results["model-0"].reason
    assert oid in results["model-0"].reason


def test_clone_that_was_dropped_after_planning_comes_again(server: GitServer, tmp_path: Path) -> None:
    names = fill(server, 3)
    events: list[Event] = []
    with remotes(server, tmp_path / "work", [], max_bytes=1) as hub:
        request = CloneRequest(ids=tuple(names))
        clone(lambda _: hub, request, Home(tmp_path), clock=lambda: NOW, emit=events.append, stop=Stop())

    assert [event.status for event in events if isinstance(event, Result)] == ["ok"] * 3


def test_lfs_objects_of_a_new_commit_that_are_known_are_not_asked_for_again(server: GitServer, tmp_path: Path) -> None:
    pointer = server.keep_object(WEIGHTS)
    server.commit("team/m", {"old.bin": pointer, "README.md": b"one"})
    run(server, tmp_path, ["team/m"])
    server.commit("team/m", {"new.bin": pointer, "README.md": b"two"})
    server.asked.clear()
    server.batches.clear()

    [result] = run(server, tmp_path, ["team/m"])

    assert result.status == "ok"
    assert server.batches == []
    assert not [asked for asked in server.asked if pointer.sha256 in asked.path]


def licences(tmp_path: Path) -> dict[str, tuple[str | None, str]]:
    with Store.open(tmp_path / "store") as store:
        return {capture.package.rpartition("/")[2]: (capture.licence, capture.rights) for capture in store.captures()}


def test_licence_is_what_the_files_of_the_commit_state(server: GitServer, tmp_path: Path) -> None:
    server.commit("team/card", {"README.md": b"---\nlicense: mit\n---\n# card\n"})
    server.commit("team/text", {"LICENSE": b"MIT License", "legal.md": b"x"})
    server.commit("team/link", {"LICENSE": b"legal/LICENSE", "legal/LICENSE": b"MIT License"}, {"LICENSE": "120000"})
    server.commit("team/lfs", {"LICENSE": server.keep_object(b"MIT License")})
    server.commit("team/none", {"a.txt": b"x"})

    run(server, tmp_path, ["team/card", "team/text", "team/link", "team/lfs", "team/none"])

    assert licences(tmp_path) == {
        "card": ("mit", "open"),
        "text": ("mit", "open"),
        "link": ("mit", "open"),
        "lfs": ("other", "restricted"),
        "none": (None, "restricted"),
    }


def test_remote_that_did_not_change_is_not_fetched_for_its_licence(server: GitServer, tmp_path: Path) -> None:
    server.commit("team/m", {"LICENSE": b"MIT License"})
    run(server, tmp_path, ["team/m"])
    server.asked.clear()

    [result] = run(server, tmp_path, ["team/m"])

    assert result.status == "notneeded"
    assert len(server.asked) == 2  # the capabilities and the names of the remote


def test_licence_that_changes_with_a_commit_changes_the_rights(server: GitServer, tmp_path: Path) -> None:
    server.commit("team/m", {"LICENSE": b"MIT License"})
    run(server, tmp_path, ["team/m"])
    server.commit("team/m", {"LICENSE": b"For research purposes only."})
    run(server, tmp_path, ["team/m"])

    assert licences(tmp_path) == {"m": ("other", "restricted")}
