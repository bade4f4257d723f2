"""What a second clone makes of a hub that moved on."""

import msgspec

from ptmtorrent.demo.package import text_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.owners import describe_owner_change
from ptmtorrent.model.records import Note
from tests.workflows.cloning import Run, package


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

    assert describe_owner_change(before, msgspec.structs.replace(before, commit="d" * 40)) is None
    assert describe_owner_change(before, msgspec.structs.replace(before, hub_id=None)) is None
    assert "`1` then, `2` now" in (describe_owner_change(before, msgspec.structs.replace(before, hub_id="2")) or "")
    assert "author" in (describe_owner_change(before, msgspec.structs.replace(before, hub_id=None, author="b")) or "")
