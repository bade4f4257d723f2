"""Files that are stored beside one another, and in an order that recipes do not depend on."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.demo.hub.faults import Faults
from ptmtorrent.demo.package import data_file, text_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.errors import Interrupted, NoSpace
from ptmtorrent.model.manifest import Rights
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.workflows.clone.clone import CloneRequest
from tests.store.cutters.writers import onnx_external
from tests.workflows.cloning import WEIGHTS, Run, package

DEADLINE_SECONDS = 30.0

Before = Callable[[Path, str, dict[str, Any]], None]


def before_each(monkeypatch: pytest.MonkeyPatch, do: Before) -> list[str]:
    """Call `do(path, name, named)` whenever a file is about to be stored; return the names, as they are stored."""
    stored: list[str] = []
    add_file = Store.add_file

    def spy(self: Store, path: Path, name: str, *rest: Any, **named: Any) -> StoredFile:
        do(path, name, named)
        file = add_file(self, path, name, *rest, **named)
        stored.append(name)
        return file

    monkeypatch.setattr(Store, "add_file", spy)
    return stored


def test_two_files_are_stored_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    stored = before_each(monkeypatch, lambda *_: both.wait(DEADLINE_SECONDS) and None)
    files = [data_file(f"{at}.bin", WEIGHTS[at:]) for at in range(4)]
    with SampleHub([package("a/x", *files)]) as hub:
        assert run(hub).failed == 0

    assert sorted(stored) == ["0.bin", "1.bin", "2.bin", "3.bin"]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_parts_received_or_being_stored_are_never_more_than_jobs(
    run: Run, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    before_each(monkeypatch, lambda path, *_: seen.append(len(list(path.parent.glob("*.part")))))
    monkeypatch.setattr("ptmtorrent.workflows.clone.store_queue.COMMIT_BYTES", 0)
    with SampleHub([package(f"a/{at}", data_file("m.bin", WEIGHTS[at:])) for at in range(8)]) as hub:
        assert run(hub, CloneRequest(jobs=jobs)).failed == 0

    assert len(seen) == 8
    assert max(seen) <= jobs


def test_external_data_is_stored_after_every_model_of_its_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, list[str]] = {}

    def look(_path: Path, name: str, named: dict[str, Any]) -> None:
        paths = ("onnx/a.onnx", "onnx/b.onnx", "other/c.onnx", "README.md", "nowhere.onnx")
        sources = {path: named["nearby"](path) for path in paths}
        found[name] = [path for path, source in sources.items() if source is not None]
        assert all(source.size == len(path) for path, source in sources.items() if source is not None)

    stored = before_each(monkeypatch, look)
    files = [data_file("onnx/a.onnx_data", WEIGHTS), data_file("loose.onnx_data", WEIGHTS[1:])]
    files += [data_file(path, path.encode()) for path in ("onnx/a.onnx", "onnx/b.onnx", "other/c.onnx")]
    with SampleHub([package("a/x", *files)]) as hub:
        assert run(hub, CloneRequest(jobs=3)).failed == 0

    assert set(found["onnx/a.onnx_data"]) >= {"onnx/a.onnx", "onnx/b.onnx"}
    assert stored.index("onnx/a.onnx_data") > max(stored.index("onnx/a.onnx"), stored.index("onnx/b.onnx"))
    assert run.data("hf:a/x", "onnx/a.onnx_data") == WEIGHTS
    assert run.data("hf:a/x", "loose.onnx_data") == WEIGHTS[1:]


@pytest.mark.parametrize("jobs", [1, 4])
def test_recipe_of_external_data_follows_its_model_whatever_comes_first(run: Run, jobs: int) -> None:
    tensors = {name: ("F32", [200, 200], WEIGHTS[at : at + 160_000]) for at, name in enumerate("abc")}
    model, data = onnx_external(tensors, "model.onnx_data")
    files = [data_file("onnx/model.onnx", model), data_file("onnx/model.onnx_data", data)]
    with SampleHub([package("a/x", *files)]) as hub:
        assert run(hub, CloneRequest(jobs=jobs)).failed == 0
    found = {file.name: file for file in run.manifests()["hf:a/x"].files}

    assert found["onnx/model.onnx_data"].cutter == "onnx-data/1"
    assert run.data("hf:a/x", "onnx/model.onnx_data") == data


def test_external_data_whose_model_cannot_be_had_waits_for_nothing(run: Run) -> None:
    evil = package("a/x", data_file("m.onnx", b"../nothing"), data_file("m.onnx_data", WEIGHTS), downloads=999)
    faults = Faults(flip=frozenset({"m.onnx"}))
    with SampleHub([evil, package("a/y")], faults=faults) as hub:
        run(hub)

    assert run.results() == {"hf:a/x": "error", "hf:a/y": "ok"}


def test_file_is_got_and_stored_again_for_whoever_needs_it_in_freer_packs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, came = Stop(), Stop()
    known_file = Store.known_file

    def spy(self: Store, oid: str, rights: Rights | None = None) -> StoredFile | None:
        if rights == "open" and oid.startswith("sha256:"):
            came.set()
        return known_file(self, oid, rights)

    def wait(_path: Path, name: str, _named: dict[str, Any]) -> None:
        if name == "shared.bin":
            began.set()
            assert came.wait(DEADLINE_SECONDS)
        if name == "between.txt":
            assert began.wait(DEADLINE_SECONDS)

    monkeypatch.setattr(Store, "known_file", spy)
    stored = before_each(monkeypatch, wait)
    shared = data_file("shared.bin", WEIGHTS)
    first = package("a/first", shared, downloads=999, licence="openrail")
    between = package("a/between", data_file("between.txt", b"between"), downloads=500)
    with SampleHub([first, between, package("a/second", shared, licence="mit")]) as hub:
        assert run(hub, CloneRequest(jobs=2)).failed == 0

    assert stored.count("shared.bin") == 2
    with Store.open(run.home.store) as store:
        [(identifier, _)] = [each for each in run.manifests()["hf:a/second"].objects if each[1] == len(WEIGHTS)]
        found = store._index.find(identifier)
    assert found is not None
    assert found.rights == "open"


def test_interrupt_waits_for_what_is_being_stored_and_the_next_run_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = before_each(monkeypatch, lambda *_: run.stop.set())
    with SampleHub([package("a/x", data_file("m.bin", WEIGHTS), text_file("README.md", "x"))]) as hub:
        with pytest.raises(Interrupted):
            run(hub)
        assert stored != []
        monkeypatch.undo()
        run.stop = Stop()
        assert run(hub).failed == 0

    assert run.data("hf:a/x", "m.bin") == WEIGHTS


def test_failure_of_the_disk_while_storing_ends_the_run_and_loses_no_part(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise NoSpace("the disk is full")

    before_each(monkeypatch, full)
    with SampleHub([package("a/x", data_file("m.bin", WEIGHTS))]) as hub:
        with pytest.raises(NoSpace):
            run(hub)
        assert [path.stat().st_size for path in run.home.spool.glob("*.part")] == [len(WEIGHTS)]
        monkeypatch.undo()
        summary = run(hub)

    assert (summary.failed, summary.bytes_moved) == (0, 0)
