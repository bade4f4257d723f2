import hashlib
import json

import pytest

from ptmtorrent.demo.hub.faults import Quota
from ptmtorrent.demo.package import data_file, text_file
from ptmtorrent.demo.sample_hub import TOKEN, SampleHub
from ptmtorrent.errors import UsageError
from ptmtorrent.model.pointers import git_blob_id
from ptmtorrent.model.records import Note, Progress
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.clone import CloneRequest
from tests.workflows.cloning import WEIGHTS, Run, lines_of, package


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
    assert any(isinstance(event, Note) and "2 packages left out" in event.message for event in run.events)


def test_exact_dry_run_plans_what_the_run_does_and_writes_nothing(run: Run, sample: SampleHub) -> None:
    run(sample, CloneRequest(dry_run=True, exact=True))
    planned = run.plan()
    assert not run.home.root.exists()

    sample.log.clear()
    summary = run(sample)

    assert run.plan() == planned
    assert planned.bytes_to_move == summary.bytes_moved
    assert planned.requests == len(sample.log.exchanges("hub"))


def test_exact_dry_run_after_a_run_has_nothing_to_move(run: Run, sample: SampleHub) -> None:
    run(sample)
    run(sample, CloneRequest(dry_run=True, exact=True))

    assert run.plan().bytes_to_move == 0


def test_listing_is_frozen_with_its_date(run: Run) -> None:
    with SampleHub([package("a/x", downloads=7), package("a/y", downloads=8)]) as hub:
        run(hub)
    [path] = run.home.listings.iterdir()
    head, *rows = lines_of(path)

    assert path.name == "huggingface-20261120T120000Z-1.jsonl.zst"
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

    assert list(run.home.spool.glob("*.part")) == []


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
