"""What is odd in git remotes, from the remote to the folder of a user: names, links, modes, pointers, history."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Manifest, decode_manifest, encode_manifest, new_manifest
from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.fetch.assemble import _make_link
from ptmtorrent.workflows.maintain.prove_commit import is_provable, prove
from tests.hubs.git.samples import WEIGHTS, fill
from tests.program import ptmtorrent
from tests.simulators.git_server import GitServer, run_git, serve_git

EXTENDED = b"version https://git-lfs.github.com/spec/v1\next-0-case sha256:%b\noid sha256:%b\nsize %d\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as made:
        yield made


def clone(server: GitServer, home: Path, *more: str, code: int = 0) -> list[dict[str, Any]]:
    events = ptmtorrent(home, "clone", "git", "--endpoint", server.url, *more, code=code)
    return [event for event in events if event["type"] == "result"]


def only_manifest(store: Store) -> Manifest:
    [capture] = store.captures()
    return decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)


def fetch(home: Path, target: Path, package: str, code: int = 0) -> list[dict[str, Any]]:
    return ptmtorrent(home, "fetch", package, "--channel", home / "channel", "--to", target, code=code)


def fetched(home: Path, target: Path, package: str) -> Path:
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "release", "r1", "--include", "unknown")
    fetch(home, target, package)
    return target / package.replace(":", "/", 1)


def test_links_modes_and_names_that_are_not_utf8_come_out_as_they_were(server: GitServer, tmp_path: Path) -> None:
    odd = os.fsdecode(b"weights/\xff\xfe.txt")
    files = {"run.sh": b"#!/bin/sh\n", "deep/er/link": b"../../run.sh", "folder": b"deep/er", odd: b"odd"}
    server.commit("team/m", files, {"run.sh": "100755", "deep/er/link": "120000", "folder": "120000"})
    [result] = clone(server, tmp_path / "home", "--id", "team/m")

    folder = fetched(tmp_path / "home", tmp_path / "out", result["id"])
    again = fetch(tmp_path / "home", tmp_path / "out", result["id"])
    checked = ptmtorrent(tmp_path / "home", "verify")

    assert str((folder / "deep" / "er" / "link").readlink()) == "../../run.sh"
    assert str((folder / "folder").readlink()) == "deep/er"
    assert os.access(folder / "run.sh", os.X_OK)
    assert (Path(os.fsdecode(os.fsencode(folder) + b"/weights/\xff\xfe.txt"))).read_bytes() == b"odd"
    assert again[-1]["bytes_moved"] == 0
    assert checked[-1]["failed"] == 0


def test_link_that_was_pointed_elsewhere_is_found_and_made_right_again(server: GitServer, tmp_path: Path) -> None:
    server.commit("team/m", {"a": b"a", "b": b"b", "link": b"a"}, {"link": "120000"})
    [result] = clone(server, tmp_path / "home", "--id", "team/m")
    folder = fetched(tmp_path / "home", tmp_path / "out", result["id"])
    (folder / "link").unlink()
    (folder / "link").symlink_to("b")

    found = ptmtorrent(tmp_path / "home", "verify", code=50)
    refused = fetch(tmp_path / "home", tmp_path / "out", result["id"], code=3)
    (folder / "link").unlink()
    fetch(tmp_path / "home", tmp_path / "out", result["id"])

    assert any("link" in event.get("reason", "") for event in found)
    assert any("is a link" in event.get("reason", "") for event in refused)
    assert str((folder / "link").readlink()) == "a"


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../outside", b"deep/../../outside", b"\xff"])
def test_link_that_leads_out_of_its_package_is_an_ordinary_file(
    server: GitServer, tmp_path: Path, target: bytes
) -> None:
    server.commit("team/m", {"a": b"a", "link": target}, {"link": "120000"})

    [result] = clone(server, tmp_path / "home", "--id", "team/m")
    folder = fetched(tmp_path / "home", tmp_path / "out", result["id"])
    ptmtorrent(tmp_path / "home", "verify", "--store")

    assert not (folder / "link").is_symlink()
    assert (folder / "link").read_bytes() == target


def test_link_whose_bytes_are_not_its_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "incoming").write_bytes(b"elsewhere")

    with pytest.raises(IntegrityError, match="link"):
        _make_link(tmp_path / "link", "inside", tmp_path / "incoming")

    assert not (tmp_path / "link").is_symlink()


def test_pointers_with_extensions_and_of_empty_files_give_the_objects_they_name(
    server: GitServer, tmp_path: Path
) -> None:
    pointer = server.keep_object(WEIGHTS)
    extended = EXTENDED % (b"a" * 64, pointer.sha256.encode(), pointer.size)
    empty = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 0\n"
    nothing = hashlib.sha256().hexdigest().encode()
    server.commit("team/m", {"model.bin": extended, "empty.bin": empty % nothing})

    [result] = clone(server, tmp_path / "home", "--id", "team/m")
    checked = ptmtorrent(tmp_path / "home", "verify", "--store")

    assert result["status"] == "ok"
    with Store.open(tmp_path / "home" / "store") as store:
        files = {file.name: file for file in only_manifest(store).files}
    assert (files["model.bin"].source, files["model.bin"].sha256) == ("lfs", pointer.sha256)
    assert files["empty.bin"].size == 0
    assert any("1 package matches its upstream git commit" in event.get("message", "") for event in checked)


def test_captured_bytes_that_the_commit_does_not_name_are_refused(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    clone(server, tmp_path / "home", "--id", name)

    with Store.open(tmp_path / "home" / "store") as store:
        manifest = only_manifest(store)
        assert is_provable(manifest)
        prove(store, manifest, thorough=True, stop=Stop())
        for index, file in enumerate(manifest.files):
            changed = list(manifest.files)
            donor = manifest.files[index - 1]
            changed[index] = replaced(file, recipe=donor.recipe, size=donor.size)
            with pytest.raises(IntegrityError, match="commit"):
                prove(store, replaced(manifest, files=tuple(changed)), thorough=True, stop=Stop())


def test_package_that_is_not_of_its_commit_fails_the_check_of_the_store(server: GitServer, tmp_path: Path) -> None:
    [name] = fill(server, 1)
    clone(server, tmp_path / "home", "--id", name)
    forge(tmp_path / "home" / "store")

    said = ptmtorrent(tmp_path / "home", "verify", "--store", code=50)

    assert any("does not match its upstream commit" in event.get("reason", "") for event in said)


def forge(root: Path) -> None:
    """Capture the package again, with the bytes of one file in the place of another."""
    with Store.open(root, write=True) as store:
        [capture] = store.captures()
        manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
        first, second, *rest = manifest.files
        false = replaced(second, path=first.path, mode=first.mode, link=first.link)
        made = new_manifest(manifest.package, (false, second, *rest), manifest.objects, manifest.raw)
        data, snapshot = encode_manifest(made)
        store.put(data, kind="manifest", pack_class=PackClass("meta", capture.rights))
        store.add_capture(replaced(capture, snapshot=snapshot, captured="2027-01-01T00:00:00Z"))
        store.commit()


def replaced(struct: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(struct, **fields)


def test_history_is_kept_as_a_bundle_that_git_clones(server: GitServer, tmp_path: Path) -> None:
    first = server.commit("team/m", {"a.txt": b"1"})
    second = server.commit("team/m", {"a.txt": b"2"})
    before = clone(server, tmp_path / "home", "--id", "team/m")

    after = clone(server, tmp_path / "home", "--id", "team/m", "--with", "history")
    again = clone(server, tmp_path / "home", "--id", "team/m", "--with", "history")

    assert [results[0]["status"] for results in (before, after, again)] == ["ok", "ok", "notneeded"]
    with Store.open(tmp_path / "home" / "store") as store:
        manifest = only_manifest(store)
        [history] = [answer for answer in manifest.raw if answer.name == "history"]
        rows = manifest.objects_of(history.recipe)
        (tmp_path / "kept.bundle").write_bytes(b"".join(store.read(manifest.objects[row][0]) for row in rows))
    run_git("clone", "--quiet", "--bare", "--branch", "kept", str(tmp_path / "kept.bundle"), str(tmp_path / "c"))
    run_git("bundle", "verify", "--quiet", str(tmp_path / "kept.bundle"), folder=tmp_path / "c")
    assert run_git("rev-list", "kept", folder=tmp_path / "c").decode().split() == [second, first]
    assert [file.name for file in manifest.files] == ["a.txt"]


def test_hub_without_a_history_says_so(tmp_path: Path) -> None:
    said = ptmtorrent(tmp_path / "home", "clone", "kaggle", "--with", "history", code=2)

    assert "history" in said[-1]["message"]


def test_names_that_no_reader_would_write_cost_their_files_alone(server: GitServer, tmp_path: Path) -> None:
    home, long = tmp_path / "home", "n" * 256
    server.commit("team/m", {"config.json": b"{}", "sub/GIT~1": b"settings", long: b"long"})
    [result] = clone(server, home, "--id", "team/m", code=3)
    assert "(unsafe-name)" in result["reason"]
    with Store.open(home / "store") as store:
        manifest = only_manifest(store)
        assert [file.name for file in manifest.files] == ["config.json"]
        assert {file.name: file.reason for file in manifest.missing} == dict.fromkeys(
            (long, "sub/GIT~1"), "unsafe-name"
        )
        assert is_provable(manifest)
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "release", "r1", "--include", "unknown", "--allow-incomplete")
    fetch(home, tmp_path / "out", result["id"])
    folder = tmp_path / "out" / result["id"].replace(":", "/", 1)
    assert [path.name for path in folder.rglob("*")] == ["config.json"]
    assert ptmtorrent(home, "store", "check", "--data")[-1]["failed"] == 0
