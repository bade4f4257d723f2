"""What a clone asks of a hub, counted by the hub: quotas are of requests, and a package has thirteen files."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ptmtorrent.demo.package import Package, PackageFile, data_file, text_file
from ptmtorrent.errors import AuthError
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.huggingface.adapter import HuggingFace
from ptmtorrent.hubs.port import Query
from ptmtorrent.state.clone_journal import Journal
from ptmtorrent.workflows.clone.clone import CloneRequest
from ptmtorrent.workflows.clone.list import list_packages
from tests.simulators.huggingface import OddHub, refuse
from tests.workflows.cloning import WEIGHTS, Run, package

REAL = Path(__file__).parents[2].parent / "shared/data/huggingface/hf-models-2022-02.sample.jsonl.gz"
THIRTEEN = (
    *(text_file(f"{number}.txt", f"text {number}") for number in range(4)),
    *(data_file(f"shards/{number}.bin", WEIGHTS[number:]) for number in range(9)),
)
MANY = 29_000


def spent(hub: OddHub) -> tuple[int, int, int]:
    """How many pages of the listing, other API requests and resolver requests were asked for."""
    paths = [each.path for each in hub.log.exchanges("hub")]
    pages = [path for path in paths if path == "/api/models"]
    api = [path for path in paths if path.startswith("/api/")]
    return len(pages), len(api) - len(pages), len(paths) - len(api)


@pytest.mark.parametrize("xet", [False, True])
def test_package_of_13_files_costs_one_api_request_and_13_of_the_resolver(run: Run, xet: bool) -> None:
    with OddHub([package("a/x", *THIRTEEN)], xet=xet) as hub:
        assert run(hub).failed == 0
        assert spent(hub) == (1, 1, 13)
        assert len(hub.log.exchanges("lfs")) == 9
        assert run.plan().requests == 15


def test_package_asked_for_by_name_costs_one_api_request_more(run: Run) -> None:
    with OddHub([package("a/x", *THIRTEEN)]) as hub:
        run(hub, CloneRequest(ids=("a/x",)))
        assert spent(hub) == (0, 2, 13)


def test_13_files_in_a_tree_of_pages_cost_a_request_a_page_and_file(run: Run) -> None:
    with OddHub([package("a/x", *THIRTEEN)], page=10) as hub:
        run(hub)
        assert spent(hub) == (1, 2, 13)


def made(count: int) -> list[bytes]:
    return [
        json.dumps(
            {"_id": f"{at:024x}", "id": f"a{at % 97}/m{at}", "sha": f"{at:040x}", "downloads": count - at}
        ).encode()
        for at in range(count)
    ]


def real() -> list[bytes]:
    if not REAL.is_file():
        pytest.skip(f"the real records are not here: {REAL}")
    with gzip.open(REAL, "rb") as stream:
        return [line.rstrip(b"\n") for line in stream]


def list_into(journal: Journal, hub: OddHub) -> int:
    """List as one process does, going on where an earlier one stopped; return how many packages are listed."""
    run = journal.unfinished("huggingface", "") or journal.start("huggingface", "", "2026-11-20T12:00:00Z")
    session = Session()
    try:
        list_packages(HuggingFace(hub.endpoint, session=session), Query(), journal, run, lambda _: True)
    finally:
        session.close()
    return journal.tally(run.id, "listed").packages


def test_listing_29_000_packages_costs_one_request_for_each_thousand(tmp_path: Path) -> None:
    with OddHub([], records=made(MANY)) as hub, Journal(tmp_path / "journal.sqlite") as journal:
        assert list_into(journal, hub) == MANY
        assert spent(hub) == (29, 0, 0)


def test_every_real_record_is_listed_with_one_request_for_each_thousand(tmp_path: Path) -> None:
    records = real()
    with OddHub([], records=records) as hub, Journal(tmp_path / "journal.sqlite") as journal:
        assert list_into(journal, hub) == len(records) == 7358
        assert spent(hub) == (8, 0, 0)


def test_listing_that_stopped_goes_on_with_the_page_it_lacks(tmp_path: Path) -> None:
    with OddHub([], records=made(MANY)) as hub, Journal(tmp_path / "journal.sqlite") as journal:
        hub.order(lambda answer: answer, path="/api/models", times=11)
        hub.order(refuse(403), path="/api/models")
        with pytest.raises(AuthError):
            list_into(journal, hub)
        assert spent(hub) == (12, 0, 0)

        assert list_into(journal, hub) == MANY
        assert spent(hub) == (30, 0, 0)


def uploaded_again(name: str, files: Sequence[PackageFile]) -> Package:
    return package(name, text_file("README.md", f"{name} again"), *files)


@pytest.mark.parametrize("xet", [False, True])
@pytest.mark.parametrize("name", ["a/x", "b/copy"])
def test_known_files_of_lfs_uploaded_again_are_not_downloaded(run: Run, name: str, xet: bool) -> None:
    files = [file for file in THIRTEEN if file.is_lfs]
    moved = [data_file(f"moved/{at}.bin", WEIGHTS[at:]) for at in range(len(files))]
    with OddHub([package("a/x", *files)], xet=xet) as hub:
        run(hub)
        hub.add(uploaded_again(name, moved))
        hub.log.clear()
        summary = run(hub, CloneRequest(ids=(name,)))

        assert hub.log.exchanges("lfs") == []
        assert [each.path.split("/")[-1] for each in hub.log.exchanges("hub", "/resolve/")] == ["README.md"]
    assert (summary.failed, summary.bytes_moved) == (0, len(f"{name} again"))
    assert run.plan().bytes_to_move == summary.bytes_moved
    assert run.data(f"hf:{name}", "moved/3.bin") == WEIGHTS[3:]
    files_now = {file.name: file.sha256 for file in run.manifests()[f"hf:{name}"].files}
    assert files_now["moved/3.bin"] == hashlib.sha256(WEIGHTS[3:]).hexdigest()
