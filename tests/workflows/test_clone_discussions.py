"""A clone of Hugging Face keeps commits and discussions when told to, and only then."""

import json
from typing import Any

import msgspec
import pytest

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.clone import CloneRequest
from tests.simulators.huggingface import OddHub, exchanged, refuse
from tests.workflows.cloning import Run, package

BOTH = CloneRequest(also=frozenset({"history", "discussions"}))


def discussion(number: int) -> dict[str, Any]:
    return {"num": number, "title": f"Q {number}", "events": [{"raw": f"said {number}, a@hub.invalid"}]}


@pytest.fixture
def hub() -> OddHub:
    hub = OddHub([package("a/x")])
    hub.commits["a/x"] = [{"id": f"{number:040x}", "title": f"Change {number}"} for number in range(5)]
    hub.discussions["a/x"] = [discussion(number) for number in range(1, 6)]
    return hub


def kept(run: Run, name: str) -> list[Any]:
    """The answers kept under `name`, one JSON after the other."""
    manifest = run.manifests()["hf:a/x"]
    found: list[Any] = []
    with Store.open(run.home.store) as store:
        for answer in (answer for answer in manifest.raw if answer.name == name):
            rows = [row for first, count in answer.recipe for row in range(first, first + count)]
            text = b"".join(store.read(ObjectId(manifest.objects[row][0])) for row in rows).decode()
            while text:
                value, end = json.JSONDecoder().raw_decode(text)
                found.append(value)
                text = text[end:]
    return found


def test_every_commit_and_discussion_is_kept_without_addresses(run: Run, hub: OddHub) -> None:
    with hub:
        assert run(hub, BOTH).failed == 0

    assert [each["title"] for page in kept(run, "history") for each in page] == [f"Change {at}" for at in range(5)]
    pages = [each for each in kept(run, "discussions") if "count" in each]
    said = [each["events"][0]["raw"] for each in kept(run, "discussions") if "events" in each]
    assert len(pages) == 3
    assert said == [f"said {number}, " for number in range(1, 6)]


def test_nothing_is_asked_of_it_unless_told_nor_twice(run: Run, hub: OddHub) -> None:
    def asked() -> int:
        return sum("/discussions" in each.path or "/commits" in each.path for each in hub.log.exchanges())

    with hub:
        run(hub)
        assert asked() == 0
        run(hub, BOTH)
        assert asked() == 3 + 3 + 5
        run(hub, BOTH)
        assert asked() == 3 + 3 + 5


def test_package_whose_discussions_are_switched_off_is_no_failure(run: Run, hub: OddHub) -> None:
    with hub:
        hub.order(refuse(403, "", "Discussions are disabled for this repo"), path="/discussions", times=None)
        assert run(hub, BOTH).failed == 0

    assert kept(run, "discussions") == [None]


def test_discussion_deleted_meanwhile_is_left_out(run: Run, hub: OddHub) -> None:
    with hub:
        hub.order(refuse(404, "", "No such discussion."), path="/discussions/2$", times=None)
        assert run(hub, BOTH).failed == 0

    assert [each["num"] for each in kept(run, "discussions") if "events" in each] == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"[]", "could not be read"),
        (b"<html>", "could not be read"),
        (msgspec.json.encode({"discussions": [{"num": 1}], "count": 9, "start": 0}), "more than"),
    ],
)
def test_list_that_is_none_or_does_not_end_is_a_record(run: Run, hub: OddHub, answer: bytes, why: str) -> None:
    with hub:
        hub.order(exchanged(answer), path="/discussions$", times=None)
        assert run(hub, BOTH).failed == 1

    assert why in run.reason("hf:a/x")
