import hashlib
import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ptmtorrent.demo.hub.faults import Faults, Quota
from ptmtorrent.demo.package import Package, PackageFile, data_file, text_file
from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.sample_hub import TOKEN, SampleHub
from ptmtorrent.errors import HubError, Interrupted, NoSpace, StoreError, StoreLocked, UsageError
from ptmtorrent.hubs.huggingface import HuggingFace
from ptmtorrent.hubs.session import Session
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.model.pointers import Pointer, format_pointer, git_blob_id
from ptmtorrent.model.records import Event, Note, PlanMade, Progress, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone import CloneRequest, clone
from tests.hubs.conftest import Time
from tests.hubs.peer import Asked, Peer, Reply, json_reply, serving

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
WEIGHTS = random.Random(3).randbytes(200_000)


def package(name: str, *files: PackageFile, downloads: int | None = 100, licence: str | None = "mit") -> Package:
    return Package(name=name, files=files or (text_file("README.md", name),), downloads=downloads, licence=licence)


class Run:
    """Clones into one home, with a new adapter each time, and hears what was said."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.time = Time()
        self.events: list[Event] = []
        self.stop = threading.Event()
        self.token: str | None = None
        self.emit: Callable[[Event], None] = lambda _: None

    def __call__(self, hub: SampleHub | Peer, request: CloneRequest | None = None) -> Summary:
        self.events = []
        session = Session(monotonic=self.time.monotonic, pause=self.time.pause)
        try:
            return clone(
                HuggingFace(hub.endpoint if isinstance(hub, SampleHub) else hub.base, self.token, session=session),
                request or CloneRequest(),
                self.home,
                clock=lambda: NOW,
                emit=self._hear,
                stop=self.stop,
            )
        finally:
            session.close()

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self.emit(event)

    def results(self) -> dict[str, str]:
        return {event.package: event.status for event in self.events if isinstance(event, Result)}

    def reason(self, name: str) -> str:
        return next(event.reason for event in self.events if isinstance(event, Result) and event.package == name)

    def plan(self) -> PlanMade:
        [made] = [event for event in self.events if isinstance(event, PlanMade)]
        return made

    def manifests(self) -> dict[str, Manifest]:
        with Store.open(self.home.store) as store:
            found = [
                decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
                for capture in store.captures()
            ]
        return {manifest.package.package: manifest for manifest in found}

    def data(self, name: str, path: str) -> bytes:
        manifest = self.manifests()[name]
        [file] = [file for file in manifest.files if file.name == path]
        with Store.open(self.home.store) as store:
            return b"".join(store.read(manifest.objects[row][0]) for row in manifest.objects_of(file.recipe))


@pytest.fixture
def run(home: Home) -> Run:
    return Run(home)


@pytest.fixture(scope="module")
def sample() -> Iterator[SampleHub]:
    with SampleHub(sample_packages()) as hub:
        yield hub


def test_every_file_of_every_package_is_captured_byte_for_byte(run: Run, sample: SampleHub) -> None:
    summary = run(sample)
    manifests = run.manifests()

    assert summary.failed == 1
    assert summary.files == sum(len(manifest.files) for manifest in manifests.values())
    for revision in sample.catalogue:
        if revision.package.access != "public":
            continue
        manifest = manifests[f"hf:{revision.package.name}"]
        assert manifest.package.commit == revision.commit
        for file in manifest.files:
            row = revision.rows[file.name]
            content = b"".join(row.content.chunks(0, row.content.size))
            assert run.data(f"hf:{revision.package.name}", file.name) == content
            assert file.sha256 == hashlib.sha256(content).hexdigest()
            assert file.git_sha1 == (None if row.sha256 else row.git_id)
        assert set(revision.rows) == {file.name for file in manifest.files}


def test_equal_files_are_downloaded_once(run: Run, sample: SampleHub) -> None:
    sample.log.clear()
    summary = run(sample)
    asked = [each.path for each in sample.log.exchanges("lfs")]

    assert len(asked) == len(set(asked))
    assert summary.bytes_moved == run.plan().bytes_to_move < summary.bytes


def test_bytes_that_are_a_git_blob_here_and_an_lfs_file_there_are_captured_in_both(run: Run) -> None:
    packages = [package(f"a/{at}", data_file(f"same.{'bin' if at % 2 else 'txt'}", WEIGHTS)) for at in range(8)]
    with SampleHub(packages) as hub:
        summary = run(hub, CloneRequest(jobs=8))
    files = [file for manifest in run.manifests().values() for file in manifest.files]

    assert summary.failed == 0
    assert {file.source for file in files} == {"git", "lfs"}
    assert len({file.blake3 for file in files}) == 1


def test_second_run_lists_anew_and_needs_nothing(run: Run, sample: SampleHub) -> None:
    run(sample)
    sample.log.clear()
    again = run(sample)

    assert (again.bytes_moved, again.failed) == (0, 1)
    assert set(run.results().values()) == {"notneeded", "impossible"}
    assert [each.path for each in sample.log.exchanges()] == ["/api/models"]


def test_new_commit_of_a_package_is_captured_and_shares_its_files(run: Run) -> None:
    weights = data_file("model.bin", WEIGHTS)
    with SampleHub([package("a/x", weights, text_file("README.md", "one"))]) as hub:
        run(hub)
        hub.add(package("a/x", weights, text_file("README.md", "two")))
        summary = run(hub)

    assert summary.bytes_moved == len("two")
    assert run.data("hf:a/x", "README.md") == b"two"


def test_gated_package_is_impossible_without_a_token_and_captured_with_one(run: Run, sample: SampleHub) -> None:
    request = CloneRequest(ids=("guarded/herd-8k",))
    assert run(sample, request).failed == 1
    assert run.results() == {"hf:guarded/herd-8k": "impossible"}
    assert "HF_TOKEN" in run.reason("hf:guarded/herd-8k")

    run.token = TOKEN
    assert run(sample, request).failed == 0
    with Store.open(run.home.store) as store:
        assert [capture.rights for capture in store.captures()] == ["gated"]


def test_token_is_never_sent_to_the_second_origin(run: Run, sample: SampleHub) -> None:
    sample.log.clear()
    run.token = TOKEN
    run(sample, CloneRequest(limit=3))

    assert sample.log.exchanges("lfs")
    assert not any(each.authorized for each in sample.log.exchanges("lfs"))
    assert all(each.authorized for each in sample.log.exchanges("hub"))


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
    assert list(run.home.spool.iterdir()) == []


def test_damaged_part_of_full_length_is_replaced(run: Run) -> None:
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))]) as hub:
        run.home.spool.mkdir(parents=True)
        (run.home.spool / f"{hashlib.sha256(WEIGHTS).hexdigest()}.part").write_bytes(bytes(len(WEIGHTS)))
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


def test_quota_is_kept_without_one_refusal(run: Run) -> None:
    quota = Quota(api=4, resolvers=6, window_seconds=300)
    packages = [package(f"a/{number}") for number in range(20)]
    with SampleHub(packages, quota=quota, monotonic=run.time.monotonic) as hub:
        summary = run(hub, CloneRequest(jobs=1))
        statuses = {each.status for each in hub.log.exchanges()}

    assert summary.failed == 0
    assert statuses == {200}
    assert run.time.waits
    waits = [event.message for event in run.events if isinstance(event, Note) and "no more requests" in event.message]
    assert 1 <= len(waits) <= len(run.time.waits)


def test_packages_are_worked_in_order_of_popularity(run: Run) -> None:
    packages = [package("a/few", downloads=1), package("z/most", downloads=9), package("a/none", downloads=None)]
    with SampleHub(packages) as hub:
        run(hub, CloneRequest(jobs=1))

    assert list(run.results()) == ["hf:z/most", "hf:a/few", "hf:a/none"]


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (CloneRequest(popular=True), {"hf:a/51"}),
        (CloneRequest(min_downloads=50), {"hf:a/51", "hf:a/50"}),
        (CloneRequest(limit=1), {"hf:a/51"}),
        (CloneRequest(ids=("a/0", "a/none")), {"hf:a/0", "hf:a/none"}),
        (CloneRequest(), {"hf:a/51", "hf:a/50", "hf:a/0", "hf:a/none"}),
    ],
)
def test_request_chooses_packages(run: Run, request_: CloneRequest, wanted: set[str]) -> None:
    packages = [package(f"a/{count}", downloads=count) for count in (0, 50, 51)]
    with SampleHub([*packages, package("a/none", downloads=None)], page=2) as hub:
        run(hub, request_)

    assert set(run.results()) == wanted


def test_max_bytes_stops_before_the_package_that_would_exceed_it(run: Run) -> None:
    packages = [package(f"a/{at}", data_file("f.txt", bytes(100)), downloads=9 - at) for at in range(4)]
    with SampleHub(packages) as hub:
        run(hub, CloneRequest(max_bytes=250, jobs=1))

    assert list(run.results()) == ["hf:a/0", "hf:a/1"]
    assert any(isinstance(event, Note) and "2 packages are left out" in event.message for event in run.events)


def test_dry_run_plans_what_the_run_does_and_writes_nothing(run: Run, sample: SampleHub) -> None:
    run(sample, CloneRequest(dry_run=True))
    planned = run.plan()
    assert not run.home.root.exists()

    sample.log.clear()
    summary = run(sample)

    assert run.plan() == planned
    assert planned.bytes_to_move == summary.bytes_moved
    assert planned.requests == len(sample.log.exchanges("hub"))


def test_dry_run_after_a_run_has_nothing_to_move(run: Run, sample: SampleHub) -> None:
    run(sample)
    run(sample, CloneRequest(dry_run=True))

    assert run.plan().bytes_to_move == 0


def test_listing_is_frozen_with_its_date(run: Run) -> None:
    with SampleHub([package("a/x", downloads=7), package("a/y", downloads=8)]) as hub:
        run(hub)
    [path] = run.home.listings.iterdir()
    head, *rows = [json.loads(line) for line in path.read_text().splitlines()]

    assert path.name == "huggingface-20261120T120000Z-1.jsonl"
    assert (head["format"], head["listed"]) == ("ptmtorrent/listing", "2026-11-20T12:00:00Z")
    assert [row["name"] for row in rows] == ["a/y", "a/x"]
    assert json.loads(rows[0]["raw"])["downloads"] == 8


def test_hub_answers_are_kept_byte_for_byte(run: Run) -> None:
    with SampleHub([package("a/x", *(text_file(f"{name}.txt", name) for name in "abc"))], page=2) as hub:
        run(hub)
    manifest = run.manifests()["hf:a/x"]
    with Store.open(run.home.store) as store:
        kept = {
            answer.name: [store.read(manifest.objects[row][0]) for row in manifest.objects_of(answer.recipe)]
            for answer in manifest.raw
        }

    assert json.loads(kept["model_info"][0])["id"] == "a/x"
    assert [len(json.loads(page)) for page in kept["tree"]] == [2, 1]


def test_capture_holds_what_was_known(run: Run) -> None:
    with SampleHub([package("a/x", downloads=77, licence="openrail")]) as hub:
        run(hub)
    with Store.open(run.home.store) as store:
        [capture] = store.captures()

    assert (capture.package, capture.downloads, capture.licence) == ("hf:a/x", 77, "openrail")
    assert (capture.rights, capture.captured, capture.listed) == ("restricted", *["2026-11-20T12:00:00Z"] * 2)


def test_interrupted_run_is_gone_on_with_and_not_listed_again(run: Run) -> None:
    packages = [package(f"a/{at}", data_file("model.bin", WEIGHTS[at:]), downloads=9 - at) for at in range(5)]

    def stop_at_the_first(event: Event) -> None:
        if isinstance(event, Result):
            run.stop.set()

    with SampleHub(packages) as hub:
        run.emit = stop_at_the_first
        with pytest.raises(Interrupted) as caught:
            run(hub)
        done = len(run.results())
        run.stop, run.emit = threading.Event(), lambda _: None
        hub.log.clear()
        summary = run(hub)
        asked = [each.path for each in hub.log.exchanges("hub") if each.path.startswith("/api")]

    assert "run the same command again" in (caught.value.hint or "")
    assert asked == []
    assert done + len(run.results()) == 5
    assert (summary.packages, summary.failed) == (5, 0)
    assert len(run.manifests()) == 5


def test_failures_of_an_earlier_process_are_said_again(run: Run) -> None:
    packages = [package("a/gone", downloads=999), package("a/x", data_file("model.bin", WEIGHTS))]

    def stop_when_planned(event: Event) -> None:
        if isinstance(event, PlanMade):
            run.stop.set()

    with SampleHub(packages, faults=Faults(vanished=frozenset({"a/gone"}))) as hub:
        run.emit = stop_when_planned
        with pytest.raises(Interrupted):
            run(hub)
        run.stop, run.emit = threading.Event(), lambda _: None
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
            patch.setattr("ptmtorrent.hubs.spool.write_all", full)
            with pytest.raises(NoSpace, match=str(len(WEIGHTS))):
                run(hub)
        summary = run(hub)

    assert (summary.packages, summary.failed) == (1, 0)


def test_second_writer_is_refused(run: Run) -> None:
    with SampleHub([package("a/x")]) as hub, Store.open(run.home.store, write=True), pytest.raises(StoreLocked):
        run(hub)


def test_no_jobs_is_a_usage_error(run: Run) -> None:
    with SampleHub([package("a/x")]) as hub, pytest.raises(UsageError):
        run(hub, CloneRequest(jobs=0))


def test_progress_ends_at_the_total(run: Run, sample: SampleHub) -> None:
    run(sample)
    last = [event for event in run.events if isinstance(event, Progress)][-1]

    assert last.bytes == last.bytes_total == run.plan().bytes
    assert last.packages == last.packages_total


def test_spool_is_empty_after_a_run(run: Run, sample: SampleHub) -> None:
    run(sample)

    assert list(run.home.spool.iterdir()) == []


def test_empty_file_and_case_collisions_survive(run: Run) -> None:
    files = (data_file("empty.bin", b""), text_file("A.txt", "upper"), text_file("a.txt", "lower"))
    with SampleHub([package("a/x", *files)]) as hub:
        assert run(hub).failed == 0

    assert run.data("hf:a/x", "empty.bin") == b""
    assert (run.data("hf:a/x", "A.txt"), run.data("hf:a/x", "a.txt")) == (b"upper", b"lower")


def test_git_ids_are_those_of_git(run: Run) -> None:
    with SampleHub([package("a/x", text_file("README.md", "hello"))]) as hub:
        run(hub)
    [file] = run.manifests()["hf:a/x"].files

    assert file.git_sha1 == git_blob_id(b"hello")


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
    monkeypatch.setattr("ptmtorrent.workflows.clone.work.MAX_DOCUMENT_BYTES", 2000)
    many = package("a/many", *(text_file(f"{number}.txt", f"{number}") for number in range(20)))
    with SampleHub([many, package("a/x")]) as hub:
        run(hub)

    assert run.results() == {"hf:a/many": "error", "hf:a/x": "ok"}
    assert "20 files" in run.reason("hf:a/many")


@pytest.mark.parametrize("answer", ["same", "alternating", "endless"])
def test_listing_that_goes_round_in_circles_is_refused(run: Run, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptmtorrent.workflows.clone.listing.MAX_PAGES", 9)
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
    in_the_way = run.home.spool / f"{hashlib.sha256(WEIGHTS).hexdigest()}.part"
    in_the_way.mkdir()

    with SampleHub([package("a/y", data_file("model.bin", WEIGHTS))]) as hub, pytest.raises(StoreError, match="part"):
        run(hub)
