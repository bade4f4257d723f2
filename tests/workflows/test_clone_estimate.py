"""A dry run of a clone reads the listing of the hub and nothing else, and says what it does not know."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.demo.package import Package, data_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.errors import HubError
from ptmtorrent.hubs.client.session import MAX_REPLY_BYTES
from ptmtorrent.hubs.huggingface.adapter import PAGE_PACKAGES
from ptmtorrent.hubs.huggingface.records import read_foreseen
from ptmtorrent.hubs.port import Foreseen
from ptmtorrent.model.records import Note, PlanMade, Result
from ptmtorrent.workflows.clone.clone import CloneRequest
from tests.simulators.huggingface import OddHub, exchanged
from tests.workflows.cloning import Run, package

REAL = Path(__file__).parents[2].parent / "shared/data/huggingface/hf-models-2022-02.sample.jsonl.gz"
DRY = CloneRequest(dry_run=True)
POPULAR = CloneRequest(dry_run=True, popular=True)


def real_records() -> list[dict[str, Any]]:
    """Return the records of the real hub, the most downloaded first, as it lists them."""
    with gzip.open(REAL) as lines:
        records = [json.loads(line) for line in lines]
    return sorted(records, key=lambda record: (record.get("downloads") is None, -(record.get("downloads") or 0)))


def serve(records: list[dict[str, Any]]) -> OddHub:
    return OddHub([], records=[json.dumps(record).encode() for record in records])


def asked(hub: OddHub | SampleHub) -> list[str]:
    return [exchange.path for exchange in hub.log.exchanges("hub")]


@pytest.mark.skipif(not REAL.is_file(), reason="the records of the real hub are not in ../shared/data")
def test_every_real_record_is_planned_with_a_request_for_a_thousand(run: Run) -> None:
    records = real_records()
    popular = [{**record, "downloads": (record.get("downloads") or 0) + 51} for record in records]
    with serve(popular) as hub:
        summary = run(hub, POPULAR)
        requests = asked(hub)

    assert len(records) == 7358
    assert requests == ["/api/models"] * 8
    assert (summary.packages, summary.failed, run.results()) == (7358, 0, {})
    plan = run.plan()
    assert (plan.packages, plan.files, plan.unknown_files) == (7358, sum(len(each["siblings"]) for each in records), 0)
    assert (plan.bytes, plan.unknown_bytes, plan.requests_to_plan) == (0, 7358, 8)
    trees = 7358 + sum(len(each["siblings"]) > PAGE_PACKAGES for each in records)
    assert plan.hours == pytest.approx((trees / 500 + plan.files / 3000) / 12, rel=0.01)
    assert not run.home.root.exists()


@pytest.mark.skipif(not REAL.is_file(), reason="the records of the real hub are not in ../shared/data")
def test_listing_of_popular_packages_ends_with_the_last_of_them(run: Run) -> None:
    records = real_records()
    with serve(records) as hub:
        run(hub, POPULAR)
        requests = asked(hub)

    popular = [each for each in records if (each.get("downloads") or 0) > 50]
    assert len(requests) == -(-len(popular) // 1000) == 2
    assert run.plan().packages == len(popular) == 1091


def test_dry_run_asks_for_no_tree_and_knows_files_and_parameters(run: Run, sample: SampleHub) -> None:
    sample.log.clear()
    run(sample, DRY)
    requests = asked(sample)
    estimated = run.plan()
    run(sample, CloneRequest(dry_run=True, exact=True))
    exact = run.plan()

    assert requests == ["/api/models"]
    assert (estimated.packages, estimated.files) == (exact.packages, exact.files)
    assert (estimated.estimated, exact.estimated) == (True, False)
    assert 0 < estimated.bytes <= exact.bytes
    assert estimated.unknown_bytes > 0


def test_dry_run_names_what_cannot_be_had(run: Run) -> None:
    closed = Package(name="a/closed", files=(data_file("f", b"1"),), access="gated", downloads=3)
    with SampleHub([package("a/x"), closed]) as hub:
        summary = run(hub, DRY)

    assert (summary.packages, summary.failed) == (2, 1)
    assert run.results() == {"hf:a/closed": "impossible"}
    assert run.plan().packages == 1


def test_dry_run_leaves_out_what_is_here(run: Run) -> None:
    with SampleHub([package("a/x"), package("a/y")]) as hub:
        run(hub, CloneRequest(ids=("a/x",)))
        run(hub, DRY)

    assert run.results() == {"hf:a/x": "notneeded"}
    assert (run.plan().packages, run.plan().files) == (1, 1)


def test_dry_run_honours_the_limits(run: Run) -> None:
    packages = [package(f"a/{at}", data_file("f.bin", bytes(100)), downloads=9 - at) for at in range(4)]
    with SampleHub(packages) as hub:
        run(hub, CloneRequest(dry_run=True, limit=3))
        three = run.plan()
        run(hub, CloneRequest(dry_run=True, ids=("a/0", "a/1", "a/2"), max_bytes=250))

    assert (three.packages, three.files) == (3, 3)
    assert (run.plan().packages, run.plan().bytes) == (2, 200)
    assert any(isinstance(event, Note) and "1 package left out" in event.message for event in run.events)


def test_page_that_is_too_long_is_read_without_the_names_of_files(run: Run) -> None:
    records = [{"id": f"a/{at}", "sha": "c" * 40, "downloads": 9} for at in range(3)]
    with serve(records) as hub:
        hub.order(exchanged(b"[" + b" " * MAX_REPLY_BYTES + b"]"), path="/api/models")
        run(hub, DRY)

    assert (run.plan().packages, run.plan().unknown_files) == (3, 3)
    assert len(asked(hub)) == 2


def test_package_that_moved_to_a_second_page_is_planned_once(run: Run) -> None:
    records = [json.dumps({"id": f"a/{name}", "sha": "c" * 40, "downloads": 9}).encode() for name in "xyxz"]
    with OddHub([], records=records, page=2) as hub:
        run(hub, DRY)

    assert run.plan().packages == 3


def test_record_that_cannot_be_read_costs_its_package_alone(run: Run) -> None:
    sound = [{"id": f"a/{at}", "sha": "c" * 40, "downloads": 9} for at in range(2)]
    odd = [b'{"id": "../a"}', b'{"id": 7}', b'{"id": "a/\\u0007"}', b"{}"]
    with OddHub([], records=[*(json.dumps(each).encode() for each in sound), *odd]) as hub:
        summary = run(hub, DRY)

    failed = {"hf:../a", "hf:a/\x07", "hf:(no name)"}
    assert (summary.packages, summary.failed) == (len(sound) + len(failed), len(failed))
    assert run.results() == dict.fromkeys(failed, "error")
    assert run.plan().packages == len(sound)


def test_listing_that_cannot_be_read_ends_the_dry_run(run: Run) -> None:
    with serve([]) as hub:
        hub.order(exchanged(b"{}"), path="/api/models", times=None)
        with pytest.raises(HubError, match="not a list of records"):
            run(hub, DRY)

    assert [event for event in run.events if isinstance(event, PlanMade | Result)] == []


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, Foreseen()),
        ({"siblings": [{"rfilename": "a"}, {"rfilename": "b"}]}, Foreseen(files=2)),
        ({"siblings": "many"}, Foreseen()),
        ({"usedStorage": 7, "safetensors": {"parameters": {"F32": 2}}}, Foreseen(bytes=7)),
        ({"safetensors": {"parameters": {"F32": 3, "BF16": 5, "F4": 2}}}, Foreseen(bytes=23)),
        ({"safetensors": {"parameters": {"F32": 3, "X9": 5}}}, Foreseen()),
        ({"safetensors": {"parameters": {"F32": -3}}}, Foreseen()),
        ({"safetensors": {"parameters": {"F64": (1 << 50) - 1}}}, Foreseen(bytes=(1 << 50) - 1)),
        ({"gguf": {"total": 5, "totalFileSize": 11}}, Foreseen(bytes=11)),
        ({"safetensors": [], "gguf": 3, "usedStorage": True}, Foreseen()),
    ],
)
def test_record_says_what_it_says(record: dict[str, Any], said: Foreseen) -> None:
    assert read_foreseen(json.dumps(record).encode()) == said
