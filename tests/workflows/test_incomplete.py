"""Files that cannot be had: each costs its entry alone, from the clone to the fetch, until a later clone has it."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.demo.hub.faults import Faults
from ptmtorrent.demo.package import Package, data_file, text_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import REGULAR_MODE, MissingFile, decode_manifest
from ptmtorrent.store.store import Store
from tests.in_process import ptmtorrent
from tests.simulators.git_server import serve_git
from tests.simulators.huggingface import OddHub, refuse
from tests.workflows.cloning import WEIGHTS, Run, package

README = text_file("README.md", "# x")
MODEL = package("a/x", README, data_file("model.bin", WEIGHTS), data_file("other.bin", WEIGHTS[1:]))
LOST = MissingFile(
    path="model.bin",
    mode=REGULAR_MODE,
    size=len(WEIGHTS),
    source="lfs",
    oid=f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}",
    reason="gone",
)
ONLY_WEIGHTS = "a/x/resolve/[^/]*/model.bin"


def captures(home: Path) -> int:
    with Store.open(home / "store") as store:
        return sum(1 for _ in store.contents.captures_of({"hf:a/x"}))


def names(manifest: Any) -> list[str]:
    return [file.name for file in manifest.files]


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(404, "", "gone"), (404, "EntryNotFound", "gone"), (410, "", "gone"), (403, "", "refused"), (451, "", "refused")],
)
def test_file_that_cannot_be_had_costs_its_entry_alone(run: Run, status: int, code: str, reason: str) -> None:
    with OddHub([MODEL, package("a/y")]) as hub:
        hub.order(refuse(status, code), path=ONLY_WEIGHTS, times=None)
        summary = run(hub)

    manifest = run.manifests()["hf:a/x"]
    assert run.results() == {"hf:a/x": "error", "hf:a/y": "ok"}
    assert (summary.packages, summary.failed) == (2, 1)
    assert f"captured without 1 file: `model.bin` ({reason}: " in run.reason("hf:a/x")
    assert names(manifest) == ["README.md", "other.bin"]
    assert [(file.name, file.size, file.oid, file.reason) for file in manifest.missing] == [
        ("model.bin", LOST.size, LOST.oid, reason)
    ]
    assert run.data("hf:a/x", "other.bin") == WEIGHTS[1:]


@pytest.mark.parametrize(("status", "code"), [(404, "RepoNotFound"), (404, "RevisionNotFound"), (403, "GatedRepo")])
def test_answer_that_is_about_the_whole_package_costs_the_package(run: Run, status: int, code: str) -> None:
    with OddHub([MODEL, package("a/y")]) as hub:
        hub.order(refuse(status, code), path=ONLY_WEIGHTS, times=None)
        run(hub)

    assert run.results()["hf:a/x"] in {"error", "impossible"}
    assert set(run.manifests()) == {"hf:a/y"}


def test_package_none_of_whose_files_can_be_had_is_not_captured(run: Run) -> None:
    with OddHub([MODEL, package("a/y")]) as hub:
        hub.order(refuse(404), path="a/x/resolve/", times=None)
        run(hub)

    assert run.results() == {"hf:a/x": "error", "hf:a/y": "ok"}
    assert set(run.manifests()) == {"hf:a/y"}


def test_later_clone_tries_again_and_makes_a_new_snapshot_once_it_has_the_file(run: Run) -> None:
    with OddHub([MODEL]) as hub:
        hub.order(refuse(404), path=ONLY_WEIGHTS, times=2)
        run(hub)
        first = run.manifests()["hf:a/x"]
        again = run(hub)
        still = run.results(), captures(run.home.root)
        run(hub)
        whole = run.manifests()["hf:a/x"]
        run(hub)

    assert still == ({"hf:a/x": "error"}, 1)
    assert again.failed == 1
    assert first.missing == (LOST,)
    assert (whole.missing, names(whole)) == ((), ["README.md", "model.bin", "other.bin"])
    assert captures(run.home.root) == 2
    assert run.results() == {"hf:a/x": "notneeded"}


def test_two_names_of_the_same_bytes_are_both_missing_and_another_package_has_its_own(run: Run) -> None:
    twice = package("a/x", README, data_file("model.bin", WEIGHTS), data_file("copy.bin", WEIGHTS), downloads=900)
    with OddHub([twice, package("a/y", data_file("y.bin", WEIGHTS))]) as hub:
        hub.order(refuse(404), path="a/x/resolve/[^/]*/(model|copy).bin", times=None)
        run(hub)

    assert run.results() == {"hf:a/x": "error", "hf:a/y": "ok"}
    assert [file.name for file in run.manifests()["hf:a/x"].missing] == ["copy.bin", "model.bin"]
    assert run.data("hf:a/y", "y.bin") == WEIGHTS


def test_pointer_served_in_place_of_a_file_is_a_missing_file(run: Run) -> None:
    with SampleHub([MODEL], faults=Faults(serve_pointer=frozenset({"model.bin"}))) as hub:
        run(hub)

    assert run.results() == {"hf:a/x": "error"}
    assert run.manifests()["hf:a/x"].missing == (LOST,)


def test_object_that_lfs_has_lost_is_a_missing_file_and_the_rest_is_proven(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serve_git(tmp_path) as server:
        pointer = server.keep_object(WEIGHTS)
        server.commit("team/m", {"model.bin": pointer, "README.md": b"# m"})
        server.faults.gone.add(pointer.sha256)
        [result] = of_type(
            ptmtorrent(home, "clone", "git", "--endpoint", server.url, "--id", "team/m", code=3), "result"
        )

    checked = ptmtorrent(home, "store", "check")
    with Store.open(home / "store") as store:
        [capture] = store.captures()
        manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
    assert "captured without 1 file: `model.bin` (gone: " in result["reason"]
    assert (names(manifest), manifest.missing, capture.missing) == (["README.md"], (LOST,), 1)
    assert of_type(checked, "summary")[0]["failed"] == 0


def clone_incomplete(home: Path, *packages: Package) -> None:
    with OddHub([MODEL, *packages]) as hub:
        hub.order(refuse(404), path=ONLY_WEIGHTS, times=None)
        ptmtorrent(home, "clone", "huggingface", "--endpoint", hub.endpoint, code=3)


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def test_release_takes_an_incomplete_package_in_only_if_asked_to_and_marks_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    clone_incomplete(home, package("a/y"))
    ptmtorrent(home, "keys", "init", "--no-passphrase")

    first = ptmtorrent(home, "release", "1", code=3)
    dry = ptmtorrent(home, "release", "2", "--dry-run", code=3)
    ptmtorrent(home, "release", "2", "--allow-incomplete")
    rows = {
        row["package"]: row
        for row in of_type(ptmtorrent(home, "list", "--channel", home / "channel", "--release", "2"), "package")
    }
    shown = ptmtorrent(home, "show", "hf:a/x", "--channel", home / "channel", "--release", "2")
    third = ptmtorrent(home, "release", "3", code=3)

    for events in (first, dry, third):
        [left_out] = [event for event in of_type(events, "result") if event["kind"] == "package"]
        assert (left_out["id"], left_out["status"]) == ("hf:a/x", "error")
        assert "1 of its files was not captured: `model.bin` (gone) (`--allow-incomplete`" in left_out["reason"]
    assert (rows["hf:a/x"]["missing"], rows["hf:a/y"]["missing"]) == (1, None)
    assert of_type(shown, "package")[0]["missing"] == 1
    [missing] = of_type(shown, "missing")
    assert (missing["file"], missing["bytes"], missing["id"], missing["reason"]) == (
        "model.bin",
        len(WEIGHTS),
        LOST.oid,
        "gone",
    )


def test_fetch_lays_out_what_there_is_and_names_what_was_not_captured(tmp_path: Path) -> None:
    home, out, cache = tmp_path / "home", tmp_path / "out", tmp_path / "cache"
    clone_incomplete(home)
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "release", "1", "--allow-incomplete")

    events = ptmtorrent(home, "fetch", "hf:a/x", "--channel", home / "channel", "--to", out)
    [verified] = of_type(ptmtorrent(home, "verify"), "result")
    docs = ptmtorrent(
        home, "fetch", "hf:a/x", "--channel", home / "channel", "--only", "docs", "--to", tmp_path / "docs"
    )
    ptmtorrent(home, "fetch", "hf:a/x", "--channel", home / "channel", "--into", "hf-cache", "--to", cache)

    warning = "`hf:a/x` is incomplete in this release: 1 of its files was not captured: `model.bin` (gone)"
    assert warning in [event["message"] for event in of_type(events, "note")]
    assert (verified["status"], verified["reason"]) == (
        "ok",
        "every byte is right; not all files are here: 1 of its files was not captured: `model.bin` (gone)",
    )
    assert not any("incomplete" in event["message"] for event in of_type(docs, "note"))
    assert (out / "hf" / "a" / "x" / "other.bin").read_bytes() == WEIGHTS[1:]
    assert sorted(path.name for path in (out / "hf" / "a" / "x").iterdir()) == ["README.md", "other.bin"]
    [tree] = (cache / "models--a--x" / "trees").iterdir()
    listed = json.loads(tree.read_bytes())["files"]
    assert listed["model.bin"]["lfs_sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert set(listed) == {"README.md", "model.bin", "other.bin"}


def test_unreadable_entry_of_a_folder_costs_its_entry_alone(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "top" / "m"
    folder.mkdir(parents=True)
    (folder / "LICENSE").write_text("MIT License")
    (folder / "model.bin").write_bytes(WEIGHTS)
    os.mkfifo(folder / "pipe")

    first = ptmtorrent(home, "clone", "dir", "--endpoint", tmp_path / "top", code=3)
    (folder / "pipe").unlink()
    (folder / "pipe").write_bytes(b"now a file")
    ptmtorrent(home, "clone", "dir", "--endpoint", tmp_path / "top")

    [result] = of_type(first, "result")
    assert "captured without 1 file: `pipe` (unreadable)" in result["reason"]
    with Store.open(home / "store") as store:
        [capture] = store.captures()
        manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
    assert (names(manifest), manifest.missing) == (["LICENSE", "model.bin", "pipe"], ())
