"""What may be passed on is what the hub lets everybody have, now: not what a login or a claim made possible."""

import hashlib
import json

import msgspec
import pytest

from ptmtorrent.demo.package import Package, data_file
from ptmtorrent.demo.sample_hub import TOKEN, SampleHub
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Note, Result, ignore
from ptmtorrent.store.store import Store
from ptmtorrent.trust.keys import init_keys, load_keys
from ptmtorrent.workflows.clone.clone import CloneRequest
from ptmtorrent.workflows.release.release import release
from tests.hubs.peer import Reply, json_reply, ranged, serving
from tests.workflows.captured import Listener, TickingClock
from tests.workflows.cloning import WEIGHTS, Run

MODEL = Package(name="org/m", files=(data_file("model.bin", WEIGHTS),), downloads=100, licence="mit")
ONE = CloneRequest(ids=("org/m",))


def rights(run: Run) -> dict[str, tuple[str, str | None]]:
    with Store.open(run.home.store) as store:
        return {capture.package: (capture.rights, capture.licence) for capture in store.captures()}


def test_package_that_only_a_login_may_see_is_not_open(run: Run) -> None:
    run.token = TOKEN
    with SampleHub([msgspec.structs.replace(MODEL, access="private")]) as hub:
        run(hub, ONE)

    assert rights(run) == {"hf:org/m": ("gated", "mit")}


def test_package_that_was_gated_since_is_captured_again_without_its_bytes(run: Run) -> None:
    run.token = TOKEN
    with SampleHub([MODEL]) as hub:
        run(hub, ONE)
        before = rights(run)
        hub.add(msgspec.structs.replace(MODEL, access="gated", licence="cc-by-nc-4.0"))
        hub.log.clear()
        run(hub, ONE)
        assert hub.log.exchanges("lfs") == []
        run(hub, ONE)

    assert before == {"hf:org/m": ("open", "mit")}
    assert rights(run) == {"hf:org/m": ("gated", "cc-by-nc-4.0")}
    assert run.results() == {"hf:org/m": "notneeded"}


def test_package_that_was_opened_since_is_left_as_it_was(run: Run) -> None:
    run.token = TOKEN
    with SampleHub([msgspec.structs.replace(MODEL, access="gated")]) as hub:
        run(hub, ONE)
        hub.add(MODEL)
        run(hub, ONE)

    assert run.results() == {"hf:org/m": "notneeded"}


def test_public_package_that_names_the_hash_of_gated_bytes_does_not_get_them(run: Run) -> None:
    oid = hashlib.sha256(WEIGHTS).hexdigest()
    lfs = {"oid": oid, "size": len(WEIGHTS)}
    tree = [{"type": "file", "path": "model.bin", "oid": "a" * 40, "size": len(WEIGHTS), "lfs": lfs}]

    def record(name: str, downloads: int, *, gated: bool) -> dict[str, object]:
        return {"id": name, "sha": "c" * 40, "downloads": downloads, "gated": gated, "tags": ["license:mit"]}

    def answer(question: object) -> Reply:
        path = question.path  # type: ignore[attr-defined]
        if "/tree/" in path:
            return json_reply(json.dumps(tree))
        if "/resolve/" in path:
            return ranged(WEIGHTS, question) if "a/gated/" in path else Reply(404)  # type: ignore[arg-type]
        return json_reply(json.dumps([record("a/gated", 200, gated=True), record("a/claims", 100, gated=False)]))

    run.token = TOKEN
    with serving(answer) as peer:
        run(peer)

    assert run.results() == {"hf:a/gated": "ok", "hf:a/claims": "error"}
    with Store.open(run.home.store) as store:
        assert store.known_file(f"sha256:{oid}", "open") is None
        assert store.known_file(f"sha256:{oid}", "gated") is not None


@pytest.mark.parametrize("access", ["gated", "private"])
def test_package_that_was_closed_since_is_left_out_of_the_next_release(run: Run, access: str) -> None:
    other = msgspec.structs.replace(MODEL, name="org/other", files=(data_file("model.bin", WEIGHTS[1:]),))
    init_keys(run.home.keys, None)
    keys = load_keys(run.home.keys, lambda: None)
    with SampleHub([MODEL, other]) as hub:
        run(hub)
        first = release(ReleaseName("r1"), run.home, keys, clock=TickingClock(), emit=ignore)
        hub.add(msgspec.structs.replace(MODEL, access=access))
        run(hub)
        heard = Listener()
        second = release(ReleaseName("r2"), run.home, keys, clock=TickingClock(), emit=heard)

    assert (first.totals.packages, second.totals.packages) == (2, 1)
    [left_out] = [event for event in heard.of(Result) if event.status == "impossible"]
    assert left_out.id == "hf:org/m"
    assert f"{access} on its hub since" in left_out.reason
    assert any("`hf:org/m` is in release `r1`" in event.message for event in heard.of(Note))
