"""Captures that are committed in groups: what is reported, what a crash or a Ctrl-C leaves, and what comes again."""

import threading
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.demo.package import Package, data_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.errors import Interrupted, NoSpace, StoreError
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.records import Event, Note, Result
from ptmtorrent.paths import Home
from ptmtorrent.state.clone_journal import Journal, Work
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.workflows.clone.clone import CloneRequest
from ptmtorrent.workflows.clone.store_queue import GroupCommit
from tests.workflows.cloning import WEIGHTS, Run, lines_of, package

COUNT = 12
DEADLINE_SECONDS = 30.0


def packages(count: int = COUNT) -> list[Package]:
    return [package(f"a/{at:02}", data_file("model.bin", WEIGHTS[: at + 1]), downloads=99 - at) for at in range(count)]


def durable(home: Home) -> set[str]:
    """The packages that another process finds in the store."""
    with Store.open(home.store) as store:
        return {str(capture.package) for capture in store.captures()}


def counting_commits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that committed the store."""
    threads: list[str] = []
    commit = Store.commit

    def spy(self: Store) -> None:
        threads.append(threading.current_thread().name)
        commit(self)

    monkeypatch.setattr(Store, "commit", spy)
    return threads


def test_many_packages_are_committed_together_by_a_thread_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = counting_commits(monkeypatch)
    with SampleHub(packages(150)) as hub:
        assert run(hub).failed == 0

    # The clock of the test stands still: the first package, the rest, and what the store does when it is closed.
    assert len(threads) == 3
    assert [name.startswith("commit") for name in threads] == [True, True, False]


def test_second_that_has_passed_ends_a_group(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = counting_commits(monkeypatch)
    times = iter(range(10_000))
    monkeypatch.setattr(run.time, "monotonic", lambda: float(next(times)))
    with SampleHub(packages()) as hub:
        assert run(hub, CloneRequest(jobs=1)).failed == 0

    assert len(threads) > COUNT / 2


def test_package_is_reported_once_it_is_durable(run: Run) -> None:
    late: list[str] = []

    def look(event: Event) -> None:
        if isinstance(event, Result) and event.status == "ok" and event.id not in durable(run.home):
            late.append(event.id)

    run.emit = look
    with SampleHub(packages()) as hub:
        assert run(hub, CloneRequest(jobs=1)).failed == 0

    assert late == []
    assert list(run.results()) == [f"hf:a/{at:02}" for at in range(COUNT)]


def test_ctrl_c_commits_the_packages_that_are_finished(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    captured: list[str] = []
    add = GroupCommit.add_capture

    def stop_after_five(self: GroupCommit, work: Work, snapshot: SnapshotId, lacking: str) -> None:
        captured.append(f"hf:{work.name}")
        if len(captured) == 5:
            run.stop.set()
        add(self, work, snapshot, lacking)

    monkeypatch.setattr(GroupCommit, "add_capture", stop_after_five)
    with SampleHub(packages()) as hub:
        with pytest.raises(Interrupted):
            run(hub, CloneRequest(jobs=1))
        assert len(captured) >= 5
        assert list(run.results()) == captured
        assert durable(run.home) == set(captured)
        monkeypatch.undo()
        run.stop = Stop()
        summary = run(hub, CloneRequest(jobs=1))

    assert set(run.results()).isdisjoint(captured)
    assert (summary.packages, summary.failed) == (COUNT, 0)
    with Store.open(run.home.store) as store:
        assert len(list(store.contents.captures())) == COUNT


def test_stop_that_comes_while_a_group_is_committed_waits_for_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Store.commit

    def stop_first(self: Store) -> None:
        run.stop.set()
        commit(self)

    monkeypatch.setattr(Store, "commit", stop_first)
    with SampleHub(packages()) as hub, pytest.raises(Interrupted):
        run(hub, CloneRequest(jobs=1))

    assert set(run.results()) == durable(run.home) != set()


@pytest.mark.parametrize("error", [NoSpace("full"), StoreError("broken")])
def test_group_whose_commit_fails_is_not_reported_and_comes_again(
    run: Run, error: StoreError, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    commit = Store.commit

    def fail_second(self: Store) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise error
        commit(self)

    monkeypatch.setattr(Store, "commit", fail_second)
    with SampleHub(packages()) as hub:
        with pytest.raises(type(error)):
            run(hub, CloneRequest(jobs=1))
        before = set(run.results())
        monkeypatch.undo()
        assert run(hub, CloneRequest(jobs=1)).failed == 0

    assert len(before) < COUNT
    assert before | set(run.results()) == durable(run.home) == {f"hf:a/{at:02}" for at in range(COUNT)}


def test_failure_elsewhere_reports_the_group_that_became_durable_meanwhile(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed and not reported would be captured twice."""
    began, failed = Stop(), Stop()
    commit, add_file = Store.commit, Store.add_file

    def slow(self: Store) -> None:
        began.set()
        failed.wait(DEADLINE_SECONDS)
        commit(self)

    def fail(self: Store, path: Path, name: str, *rest: Any, **named: Any) -> StoredFile:
        if began.is_set():
            failed.set()
            raise NoSpace("the disk is full")
        return add_file(self, path, name, *rest, **named)

    monkeypatch.setattr(Store, "commit", slow)
    monkeypatch.setattr(Store, "add_file", fail)
    with SampleHub(packages()) as hub, pytest.raises(NoSpace):
        run(hub, CloneRequest(jobs=1))

    assert set(run.results()) == durable(run.home) != set()


def test_captures_that_the_store_lost_are_named_and_made_again(run: Run) -> None:
    with SampleHub(packages()) as hub:
        run(hub)
        lose_part(run.home)
        summary = run(hub)
        notes = [event for event in run.events if isinstance(event, Note) and "lost" in event.message]
        assert (summary.packages, summary.failed) == (COUNT, 0)
        assert set(run.results().values()) == {"ok"}
        again = run(hub)

    assert [(note.warning, "12 captured packages" in note.message) for note in notes] == [(True, True)]
    assert len(durable(run.home)) == COUNT
    assert not any(isinstance(event, Note) and "lost" in event.message for event in run.events)
    assert set(run.results().values()) == {"notneeded"}
    assert again.bytes_moved == 0


def test_captures_of_an_unfinished_run_that_the_store_lost_are_made_again(run: Run) -> None:
    def stop_at_the_first(event: Event) -> None:
        if isinstance(event, Result):
            run.stop.set()

    run.emit = stop_at_the_first
    with SampleHub(packages()) as hub:
        with pytest.raises(Interrupted):
            run(hub, CloneRequest(jobs=1))
        done = list(run.results())
        lose_part(run.home)
        run.stop, run.emit = Stop(), lambda _: None
        hub.log.clear()
        summary = run(hub, CloneRequest(jobs=1))
        asked = [each.path for each in hub.log.exchanges("hub") if each.path.startswith("/api")]

    assert asked == []
    assert set(done) <= set(run.results())
    assert (summary.packages, summary.failed) == (COUNT, 0)
    assert any(isinstance(event, Note) and f"{len(done)} captured" in event.message for event in run.events)
    assert len(durable(run.home)) == COUNT


def lose_part(home: Home) -> None:
    """Take from the store what a power cut may take from a disk that does not keep what it was told to sync."""
    for path in (home.store / "open").iterdir():
        path.unlink()


def test_second_listing_is_a_difference_from_the_first(run: Run) -> None:
    with SampleHub(packages(4)) as hub:
        run(hub)
        hub.add(package("a/new", downloads=50))
        run(hub)
        run(hub)
    first, second, third = (lines_of(path) for path in sorted(run.home.listings.iterdir()))

    assert "base" not in first[0]
    assert [line["name"] for line in first[1:]] == ["a/00", "a/01", "a/02", "a/03"]
    assert second[0]["base"] == "huggingface-20261120T120000Z-1.jsonl.zst"
    assert [line["name"] for line in second[1:]] == ["a/new"]
    assert third[0]["base"] == "huggingface-20261120T120000Z-2.jsonl.zst"
    assert third[1:] == []
    assert set(run.results().values()) == {"notneeded"}


def test_difference_names_what_is_gone(run: Run) -> None:
    with SampleHub(packages(3)) as hub:
        run(hub)
        hub.remove("a/02")
        run(hub)
    second = lines_of(sorted(run.home.listings.iterdir())[1])

    assert second[1:] == [{"gone": "a/02"}]


def test_journal_keeps_no_rows_of_finished_runs(run: Run) -> None:
    with SampleHub(packages()) as hub:
        run(hub)
        run(hub)
    with Journal(run.home.journal) as journal:
        assert journal.runs() == []
        assert [name for name, _ in journal.outcomes.captured(f"huggingface {hub.endpoint}")] == [
            f"a/{at:02}" for at in range(COUNT)
        ]


def test_unchanged_record_of_a_package_whose_capture_is_older_is_looked_at(run: Run) -> None:
    """The journal alone proves nothing: the store has to have the capture that it speaks of."""
    with SampleHub(packages(2)) as hub:
        run(hub)
        with Journal(run.home.journal) as journal, journal._rows.transaction():
            journal._rows.run("UPDATE package SET snapshot = x'00' WHERE name = 'a/00'")
        summary = run(hub)

    assert (summary.packages, summary.failed) == (2, 0)
    assert set(run.results().values()) == {"notneeded"}
