"""What a second clone makes of a hub that moved on, and what a first one asks for."""

from collections import Counter

import msgspec

from ptmtorrent.demo.package import data_file, text_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.records import Note
from ptmtorrent.workflows.clone import CloneRequest
from ptmtorrent.workflows.clone.captured import other_owner
from tests.workflows.cloning import WEIGHTS, Run, package

SMALL = tuple(text_file(f"{number}.txt", f"text {number}") for number in range(12))


def notes(run: Run) -> list[str]:
    return [event.message for event in run.events if isinstance(event, Note) and "registered again" in event.message]


def test_name_that_was_registered_again_is_said(run: Run) -> None:
    with SampleHub([package("a/x"), package("a/y")]) as hub:
        run(hub)
        hub.add(msgspec.structs.replace(package("a/x", text_file("README.md", "mine now")), registration="second"))
        hub.add(package("a/y", text_file("README.md", "a new version")))
        summary = run(hub)

    assert summary.failed == 0
    [said] = notes(run)
    assert "`hf:a/x`" in said
    assert "hub_id" in said


def test_same_name_with_another_id_or_author_is_another_package() -> None:
    before = Identity(hub="hf", name="a/x", commit="c" * 40, hub_id="1", author="a")

    assert other_owner(before, msgspec.structs.replace(before, commit="d" * 40)) is None
    assert other_owner(before, msgspec.structs.replace(before, hub_id=None)) is None
    assert "`1` then, `2` now" in (other_owner(before, msgspec.structs.replace(before, hub_id="2")) or "")
    assert "author" in (other_owner(before, msgspec.structs.replace(before, hub_id=None, author="b")) or "")


def test_package_of_13_files_costs_one_api_request_and_one_for_each_file(run: Run) -> None:
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS), *SMALL)]) as hub:
        run(hub)
        asked = Counter(each.path.split("/")[1] for each in hub.log.exchanges("hub"))
        trees = [each for each in hub.log.exchanges("hub") if "/tree/" in each.path]
        files = [each for each in hub.log.exchanges("hub") if "/resolve/" in each.path]

    assert (len(trees), len(files)) == (1, 13)
    assert asked["api"] == 2


def test_weights_uploaded_again_under_another_name_are_not_downloaded(run: Run) -> None:
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))]) as hub:
        run(hub)
        hub.add(package("b/copy", data_file("weights.bin", WEIGHTS)))
        hub.log.clear()
        summary = run(hub, CloneRequest(ids=("b/copy",)))

        assert not hub.log.exchanges("lfs")
    assert (summary.failed, summary.bytes_moved) == (0, 0)
    assert run.data("hf:b/copy", "weights.bin") == WEIGHTS
