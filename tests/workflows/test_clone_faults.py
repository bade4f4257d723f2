import hashlib
import itertools
import os
from pathlib import Path

import pytest

from ptmtorrent.demo.hub.faults import Faults
from ptmtorrent.demo.package import Package, data_file, text_file
from ptmtorrent.demo.sample_hub import TOKEN, SampleHub
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import HubError, Interrupted, NoSpace, StoreError, StoreLocked, UsageError
from ptmtorrent.model.pointers import Pointer, format_pointer
from ptmtorrent.model.records import Event, PlanMade, Result
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.clone import CloneRequest
from ptmtorrent.workflows.clone.outcomes import BATCH
from tests.hubs.peer import Asked, Reply, json_reply, serving
from tests.workflows.cloning import WEIGHTS, Run, package


def test_vanished_package_is_a_record_and_stops_nobody(run: Run) -> None:
    faults = Faults(vanished=frozenset({"a/gone"}))
    with SampleHub([package("a/gone", downloads=999), package("a/x")], faults=faults) as hub:
        summary = run(hub)

    assert run.results() == {"hf:a/gone": "error", "hf:a/x": "ok"}
    assert (summary.packages, summary.failed) == (2, 1)
    assert "hf:a/gone" in run.reason("hf:a/gone")


def test_named_package_that_never_was_is_a_record(run: Run) -> None:
    with SampleHub([package("a/x")]) as hub:
        run(hub, CloneRequest(ids=("hf:a/x", "nobody/nothing")))

    assert run.results() == {"hf:a/x": "ok", "hf:nobody/nothing": "error"}


def test_pointer_served_in_place_of_weights_is_an_error_naming_the_oid(run: Run) -> None:
    faults = Faults(serve_pointer=frozenset({"model.bin"}))
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS)), package("a/y")], faults=faults) as hub:
        run(hub)

    assert run.results() == {"hf:a/x": "error", "hf:a/y": "ok"}
    reason = run.reason("hf:a/x")
    assert all(word in reason for word in ("hf:a/x", "model.bin", "pointer", hashlib.sha256(WEIGHTS).hexdigest()))


def test_pointer_that_the_hub_lists_as_a_plain_file_is_an_error(run: Run) -> None:
    pointer = format_pointer(Pointer(sha256="d" * 64, size=99))
    with SampleHub([package("a/x", data_file("weights.dat", pointer))]) as hub:
        run(hub)

    assert run.results() == {"hf:a/x": "error"}
    assert "d" * 64 in run.reason("hf:a/x")


def test_flipped_byte_is_fetched_once_more_and_then_an_error(run: Run) -> None:
    faults = Faults(flip=frozenset({"model.bin"}))
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))], faults=faults) as hub:
        run(hub)
        assert len(hub.log.exchanges("lfs")) == 2

    assert run.results() == {"hf:a/x": "error"}
    assert run.manifests() == {}
    assert list(run.home.spool.glob("*.part")) == []


def test_damaged_part_of_full_length_is_replaced(run: Run) -> None:
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))]) as hub:
        run.home.spool.mkdir(parents=True)
        (run.home.spool / f"{hashlib.sha256(WEIGHTS).hexdigest()}-{len(WEIGHTS)}.part").write_bytes(bytes(len(WEIGHTS)))
        summary = run(hub)

    assert summary.failed == 0
    assert run.data("hf:a/x", "model.bin") == WEIGHTS


def test_dropped_connections_and_a_busy_hub_are_survived(run: Run) -> None:
    faults = Faults(drop_after=50_000, unavailable=3)
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))], faults=faults) as hub:
        assert run(hub).failed == 0

    assert run.data("hf:a/x", "model.bin") == WEIGHTS


def test_hub_that_ignores_ranges_is_survived(run: Run) -> None:
    faults = Faults(drop_after=50_000, ignore_range=True)
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))], faults=faults) as hub:
        assert run(hub).failed == 0

    assert run.data("hf:a/x", "model.bin") == WEIGHTS


def test_interrupted_run_is_gone_on_with_and_not_listed_again(run: Run) -> None:
    count = 2 * BATCH + 1
    packages = [package(f"a/{at}", data_file("model.bin", WEIGHTS[: at + 1])) for at in range(count)]

    def stop_at_the_first(event: Event) -> None:
        if isinstance(event, Result):
            run.stop.set()

    with SampleHub(packages) as hub:
        run.emit = stop_at_the_first
        with pytest.raises(Interrupted) as caught:
            run(hub)
        done = len(run.results())
        run.stop, run.emit = Stop(), lambda _: None
        hub.log.clear()
        summary = run(hub)
        asked = [each.path for each in hub.log.exchanges("hub") if each.path.startswith("/api")]

    assert "run the same command again" in (caught.value.hint or "")
    assert asked == []
    assert done + len(run.results()) == count
    assert (summary.packages, summary.failed) == (count, 0)
    assert len(run.manifests()) == count


def test_failures_of_an_earlier_process_are_said_again(run: Run) -> None:
    packages = [package("a/gone", downloads=999), package("a/x", data_file("model.bin", WEIGHTS))]

    def stop_when_planned(event: Event) -> None:
        if isinstance(event, PlanMade):
            run.stop.set()

    with SampleHub(packages, faults=Faults(vanished=frozenset({"a/gone"}))) as hub:
        run.emit = stop_when_planned
        with pytest.raises(Interrupted):
            run(hub)
        run.stop, run.emit = Stop(), lambda _: None
        summary = run(hub)

    assert run.results() == {"hf:a/gone": "error", "hf:a/x": "ok"}
    assert summary.failed == 1


def test_hub_that_is_down_is_a_hub_error_and_no_record_of_any_package(run: Run) -> None:
    def go_down(event: Event) -> None:
        if isinstance(event, PlanMade):
            hub.__exit__(None, None, None)

    packages = [package(f"a/{at}") for at in range(40)]
    hub = SampleHub(packages)
    with hub:
        run.emit = go_down
        with pytest.raises(HubError):
            run(hub)
        assert run.results() == {}
    hub.log.clear()


def test_full_disk_stops_the_run_and_the_next_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: memoryview) -> None:
        raise OSError(28, "No space left on device")

    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))]) as hub:
        with monkeypatch.context() as patch:
            patch.setattr("ptmtorrent.disk.partial.write_all", full)
            with pytest.raises(NoSpace, match=str(len(WEIGHTS))):
                run(hub)
        summary = run(hub)

    assert (summary.packages, summary.failed) == (1, 0)


def test_second_clone_in_a_home_is_refused_naming_the_first(run: Run) -> None:
    again = Run(run.home)

    def begin_another(event: Event) -> None:
        if isinstance(event, PlanMade):
            with pytest.raises(StoreLocked, match=f"spool.*pid {os.getpid()}"):
                again(hub)

    with SampleHub([package("a/x")]) as hub:
        run.emit = begin_another
        summary = run(hub)

    assert (summary.packages, summary.failed) == (1, 0)
    assert again.events == []


def test_dry_run_beside_a_clone_is_no_second_one(run: Run) -> None:
    with SampleHub([package("a/x")]) as hub, WriteLock(run.home.spool):
        summary = run(hub, CloneRequest(dry_run=True))

    assert summary.packages == 1


def test_clone_writes_beside_another_writer_of_the_store(run: Run) -> None:
    with SampleHub([package("a/x")]) as hub, Store.open(run.home.store, write=True):
        assert run(hub).failed == 0


def test_clone_is_refused_while_somebody_has_the_store_alone(run: Run) -> None:
    with SampleHub([package("a/x")]) as hub, Store.open(run.home.store, exclusive=True), pytest.raises(StoreLocked):
        run(hub)


def test_too_little_memory_is_a_usage_error(run: Run) -> None:
    with SampleHub([package("a/x")]) as hub, pytest.raises(UsageError, match="memory"):
        run(hub, CloneRequest(max_memory=1 << 20))


def test_path_no_manifest_may_hold_is_an_error_of_its_package_alone(run: Run, tmp_path: Path) -> None:
    with SampleHub([package("a/evil", text_file("../evil", "x")), package("a/x")]) as hub:
        run(hub)

    assert run.results() == {"hf:a/evil": "error", "hf:a/x": "ok"}
    assert not (tmp_path / "evil").exists()


def test_copy_of_a_gated_file_is_had_from_where_it_is_open(run: Run) -> None:
    gated = Package(name="guarded/original", files=(data_file("w.bin", WEIGHTS),), access="gated", downloads=999)
    run.token = TOKEN[::-1]
    with SampleHub([gated, package("a/copy", data_file("w.bin", WEIGHTS)), package("a/other")]) as hub:
        run(hub)

    assert run.results() == {"hf:guarded/original": "impossible", "hf:a/copy": "ok", "hf:a/other": "ok"}
    assert run.data("hf:a/copy", "w.bin") == WEIGHTS


def test_package_that_serves_wrong_bytes_for_a_hash_harms_no_other_that_has_it(run: Run) -> None:
    evil = package("a/evil", data_file("evil.bin", WEIGHTS), downloads=999)
    faults = Faults(serve_pointer=frozenset({"evil.bin"}))
    with SampleHub([evil, package("a/x", data_file("model.bin", WEIGHTS))], faults=faults) as hub:
        run(hub)

    assert run.results() == {"hf:a/evil": "error", "hf:a/x": "ok"}


def test_manifest_longer_than_any_reader_takes_is_an_error_of_its_package_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptmtorrent.workflows.clone.manifest.MAX_DOCUMENT_BYTES", 2000)
    many = package("a/many", *(text_file(f"{number}.txt", f"{number}") for number in range(20)))
    with SampleHub([many, package("a/x")]) as hub:
        run(hub)

    assert run.results() == {"hf:a/many": "error", "hf:a/x": "ok"}
    assert "20 files" in run.reason("hf:a/many")


@pytest.mark.parametrize("answer", ["same", "alternating", "endless"])
def test_listing_that_goes_round_in_circles_is_refused(run: Run, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptmtorrent.workflows.clone.list.MAX_PAGES", 9)
    turns = itertools.count()

    def reply(_: Asked) -> Reply:
        cursor = {"same": 0, "alternating": next(turns) % 2, "endless": next(turns)}[answer]
        return json_reply('[{"id":"a/x"}]', Link=f'<{peer.base}/api/models?cursor={cursor}>; rel="next"')

    with serving(reply) as peer, pytest.raises(HubError, match="listing"):
        run(peer)
    assert len(peer.asked) <= 10


def test_spool_that_cannot_be_cleared_is_a_store_error(run: Run) -> None:
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))]) as hub:
        run(hub)
    in_the_way = run.home.spool / f"{hashlib.sha256(WEIGHTS).hexdigest()}-{len(WEIGHTS)}.part"
    in_the_way.mkdir()

    with SampleHub([package("a/y", data_file("model.bin", WEIGHTS))]) as hub, pytest.raises(StoreError, match="part"):
        run(hub)
