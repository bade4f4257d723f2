"""A later clone touches what changed, and flags what was withdrawn, renamed or registered again; nothing goes."""

import msgspec
import pytest

from ptmtorrent.demo.package import data_file, text_file
from ptmtorrent.demo.sample_hub import TOKEN
from ptmtorrent.model.records import Note
from ptmtorrent.state.upstream_flags import read_flags
from ptmtorrent.workflows.clone import upstream_changes
from ptmtorrent.workflows.clone.clone import CloneRequest
from tests.simulators.huggingface import OddHub, exchanged, refuse
from tests.workflows.cloning import WEIGHTS, Run, package

MODEL = package("a/x", data_file("model.bin", WEIGHTS), downloads=70)
OTHERS = [package(f"a/{name}", downloads=60) for name in ("p", "q", "r")]


def flagged(run: Run) -> dict[str, str]:
    return {flag.package: flag.flag for flag in read_flags(run.home.flags)}


def warnings(run: Run) -> list[str]:
    return [event.message for event in run.events if isinstance(event, Note) and event.warning]


def asked(hub: OddHub) -> list[str]:
    return [each.path for each in hub.log.exchanges()]


def again(hub: OddHub, name: str = "a/x", registration: str = "second") -> None:
    """Have the name registered again by others."""
    hub.withdraw(name)
    mine = package(name, text_file("README.md", "mine now"), downloads=70)
    hub.add(msgspec.structs.replace(mine, registration=registration))


def test_later_clone_asks_for_what_changed_alone(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.add(package("a/x", data_file("model.bin", WEIGHTS), text_file("README.md", "new"), downloads=70))
        hub.log.clear()
        summary = run(hub)
        commit = run.manifests()["hf:a/x"].package.commit

        assert asked(hub) == ["/api/models", f"/api/models/a/x/tree/{commit}", f"/a/x/resolve/{commit}/README.md"]
    assert summary.bytes_moved == len("new")
    assert summary.flagged == {}


def test_withdrawn_package_is_flagged_said_once_and_kept(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.withdraw("a/x")
        hub.log.clear()
        summary = run(hub)
        assert asked(hub) == ["/api/models", "/api/models/a/x"]
        assert (summary.failed, summary.flagged) == (0, {"withdrawn": 1})
        assert "`hf:a/x`" in warnings(run)[0]

        hub.log.clear()
        assert run(hub).flagged == {}
        assert asked(hub) == ["/api/models"]
    assert flagged(run) == {"hf:a/x": "withdrawn"}
    assert run.data("hf:a/x", "model.bin") == WEIGHTS


def test_withdrawn_package_that_comes_back_is_flagged_no_longer(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.withdraw("a/x")
        run(hub)
        hub.add(MODEL)
        run(hub)

    assert flagged(run) == {}
    assert run.results()["hf:a/x"] == "notneeded"


def test_withdrawn_package_asked_for_by_name_is_flagged_and_an_error(run: Run) -> None:
    request = CloneRequest(ids=("a/x", "a/never"))
    with OddHub([MODEL]) as hub:
        run(hub)
        hub.withdraw("a/x")
        summary = run(hub, request)
        assert (summary.failed, summary.flagged) == (2, {"withdrawn": 1})
        assert run(hub, request).flagged == {}

    assert flagged(run) == {"hf:a/x": "withdrawn"}


@pytest.mark.parametrize(
    ("record", "flag"),
    [({"private": True}, "private"), ({"gated": "auto"}, "gated"), ({"disabled": True}, "withdrawn")],
)
def test_package_that_is_closed_now_is_flagged(run: Run, record: dict[str, object], flag: str) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.order(exchanged(msgspec.json.encode({"id": "a/x", "sha": "a" * 40, **record})), path="/api/models/a/x$")
        run(hub, CloneRequest(ids=("a/x",)))

    assert flagged(run) == {"hf:a/x": flag}


def test_package_that_a_listing_shows_as_gated_is_flagged_until_it_is_open_again(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.add(msgspec.structs.replace(MODEL, access="gated"))
        for request in (CloneRequest(limit=1), CloneRequest(min_downloads=65), CloneRequest(min_downloads=1000)):
            run(hub, request)
            assert flagged(run) == {"hf:a/x": "gated"}
        hub.add(MODEL)
        run(hub, CloneRequest(limit=1))

    assert flagged(run) == {}


def test_package_whose_files_the_hub_refuses_is_flagged_as_gated(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.add(package("a/x", data_file("model.bin", WEIGHTS[1:]), downloads=70))
        hub.order(refuse(403), path="/a/x/resolve/", times=None)
        summary = run(hub)

    assert (summary.failed, summary.flagged) == (1, {"gated": 1})
    assert flagged(run) == {"hf:a/x": "gated"}


def test_package_that_was_captured_behind_its_gate_is_not_flagged(run: Run) -> None:
    run.token = TOKEN
    with OddHub([msgspec.structs.replace(MODEL, access="gated")]) as hub:
        run(hub)
        assert run(hub).flagged == {}

    assert flagged(run) == {}


def test_package_below_the_popularity_asked_for_is_not_withdrawn(run: Run) -> None:
    request = CloneRequest(popular=True)
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub, request)
        hub.add(msgspec.structs.replace(MODEL, downloads=3))
        hub.withdraw("a/q")
        summary = run(hub, request)

    assert summary.flagged == {"withdrawn": 1}
    assert flagged(run) == {"hf:a/q": "withdrawn"}


def test_clone_of_some_packages_tells_nothing_of_the_others(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.withdraw("a/r")
        for request in (CloneRequest(limit=1), CloneRequest(ids=("a/x",)), CloneRequest(min_downloads=65)):
            hub.log.clear()
            run(hub, request)
            assert not [path for path in asked(hub) if "a/r" in path]

    assert flagged(run) == {}


def test_package_the_hub_cannot_be_asked_about_is_not_flagged(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.withdraw("a/x")
        hub.order(refuse(500), path="/api/models/a/x$", times=None)
        assert run(hub).failed == 0

    assert flagged(run) == {}


def test_another_hub_of_this_kind_withdraws_nothing(run: Run) -> None:
    with OddHub([MODEL]) as hub:
        run(hub)
    with OddHub(OTHERS) as hub:
        run(hub)
        assert not [path for path in asked(hub) if "a/x" in path]

    assert flagged(run) == {}


def test_too_many_missing_packages_are_asked_for_in_turns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_changes, "MAX_QUERIES", 2)
    monkeypatch.setattr(upstream_changes, "MAX_NOTES", 1)
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        for name in ("a/p", "a/q", "a/r"):
            hub.withdraw(name)
        assert run(hub).flagged == {"withdrawn": 2}
        assert any("1 captured package missing" in message for message in warnings(run))
        assert run(hub).flagged == {"withdrawn": 1}

    assert len(flagged(run)) == 3


def test_name_that_was_registered_again_is_flagged_and_both_are_kept(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        first = run.manifests()["hf:a/x"]
        again(hub)
        summary = run(hub)

        assert (summary.failed, summary.flagged) == (0, {"registered-again": 1})
        assert run(hub).flagged == {}
    assert flagged(run) == {"hf:a/x": "registered-again"}
    assert first.package.hub_id != run.manifests()["hf:a/x"].package.hub_id


def test_name_registered_again_with_the_very_same_commit_is_flagged(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.withdraw("a/x")
        hub.add(msgspec.structs.replace(MODEL, registration="second"))
        summary = run(hub)

    assert summary.flagged == {"registered-again": 1}
    assert summary.bytes_moved == 0
    assert run.results()["hf:a/x"] == "ok"


def test_renamed_package_is_flagged_under_its_old_name_and_captured_under_the_new(run: Run) -> None:
    with OddHub([MODEL, *OTHERS]) as hub:
        run(hub)
        hub.rename("a/x", "b/y")
        summary = run(hub)

    assert summary.flagged == {"renamed": 1}
    assert summary.bytes_moved == 0
    assert flagged(run) == {"hf:a/x": "renamed"}
    assert "`hf:b/y`" in warnings(run)[0]
    assert run.data("hf:b/y", "model.bin") == WEIGHTS


def test_renamed_package_asked_for_by_its_old_name_is_flagged(run: Run) -> None:
    with OddHub([MODEL]) as hub:
        run(hub)
        hub.rename("a/x", "b/y")
        summary = run(hub, CloneRequest(ids=("a/x",)))

    assert (summary.failed, summary.flagged) == (0, {"renamed": 1})
    assert run.results() == {"hf:b/y": "ok"}


@pytest.mark.parametrize("exact", [True, False])
def test_dry_run_flags_nothing_for_good(run: Run, exact: bool) -> None:
    with OddHub([MODEL]) as hub:
        run(hub)
        again(hub)
        assert run(hub, CloneRequest(dry_run=True, exact=exact)).flagged == {"registered-again": 1}

    assert flagged(run) == {}
