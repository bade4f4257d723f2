"""What a clone makes of a hub that goes wrong: it ends complete, or with a record; what is stored is never wrong.

The faults are those of tests/simulators/huggingface.py.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import msgspec
import pytest

from ptmtorrent.demo.package import Package, data_file, text_file
from ptmtorrent.demo.sample_hub import TOKEN
from ptmtorrent.errors import Interrupted
from ptmtorrent.hubs.client.rate_limiter import SLACK_SECONDS
from ptmtorrent.model.pointers import git_blob_id
from ptmtorrent.workflows.clone.clone import CloneRequest
from tests.simulators.huggingface import (
    Bend,
    OddHub,
    cut,
    exchanged,
    gzipped,
    login_page,
    promising,
    redirect,
    refuse,
    resized,
    whole,
)
from tests.workflows.cloning import NOW, WEIGHTS, Run, package

OID = hashlib.sha256(WEIGHTS).hexdigest()
TEXT = "a model\n" * 40
MODEL = package("a/x", data_file("model.bin", WEIGHTS), text_file("README.md", TEXT))
OTHER = package("a/other")


def assert_complete(run: Run) -> None:
    assert run.results() == {"hf:a/x": "ok", "hf:a/other": "ok"}
    assert run.data("hf:a/x", "model.bin") == WEIGHTS
    assert run.data("hf:a/x", "README.md") == TEXT.encode()


def assert_recorded(run: Run, path: str, oid: str) -> None:
    """The failure names package, path and oid; the other package is there, and of this one nothing."""
    assert_named(run, path, oid)
    assert set(run.manifests()) == {"hf:a/other"}


def assert_captured_without(run: Run, path: str, oid: str) -> None:
    """The failure names package, path and oid; both packages are there, this one without the file."""
    assert_named(run, path, oid)
    assert [(file.name, file.oid) for file in run.manifests()["hf:a/x"].missing] == [(path, oid)]


def assert_named(run: Run, path: str, oid: str) -> None:
    assert run.results() == {"hf:a/x": "error", "hf:a/other": "ok"}
    assert [word for word in ("`hf:a/x`", f"`{path}`", oid) if word not in run.reason("hf:a/x")] == []


@pytest.mark.parametrize("path", ["/api/models$", "/tree/", "README", "model.bin", "/lfs/"])
@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": format_datetime(NOW + timedelta(seconds=9), usegmt=True)}, None),
        ({}, None),
    ],
)
def test_storm_of_429_is_waited_out(run: Run, path: str, headers: dict[str, str], waited: float | None) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(refuse(429, **headers), path=path, times=4)
        run(hub, CloneRequest(jobs=1))
        refused = [each for each in hub.log.exchanges() if each.status == 429]

    assert_complete(run)
    assert len(refused) == 4
    if waited is not None:
        assert [seconds for seconds in run.time.waits if seconds >= waited] == [waited + SLACK_SECONDS] * 4


def test_storm_of_429_without_end_is_a_record_of_its_package(run: Run) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(refuse(429), path="/lfs/", times=None)
        run(hub, CloneRequest(jobs=1))

    assert_recorded(run, "model.bin", OID)


@pytest.mark.parametrize("at", [0, 1, 65_536, len(WEIGHTS) - 1])
def test_connection_cut_at_any_byte_is_gone_on_with(run: Run, at: int) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(cut(at), path="/lfs/")
        run(hub)
        ranges = [each.range for each in hub.log.exchanges("lfs")]

    assert_complete(run)
    assert ranges[0] is None
    assert len(ranges) == 2


@pytest.mark.parametrize("path", ["/api/models$", "/tree/", "README"])
def test_document_that_is_cut_is_asked_for_again(run: Run, path: str) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(cut(20), path=path, times=2)
        run(hub)

    assert_complete(run)


def test_whole_file_in_answer_to_a_range_begins_anew(run: Run) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(cut(150_000), path="/lfs/")
        hub.order(whole, path="/lfs/")
        run(hub)
        answers = [(each.range is None, each.status) for each in hub.log.exchanges("lfs")]

    assert_complete(run)
    assert answers == [(True, 200), (False, 200)]


SPOILED: dict[str, Bend] = {
    "longer": resized(9),
    "shorter": resized(-9),
    "empty": exchanged(b""),
    "promises less": promising(-9),
    "promises more": promising(9),
    "other bytes": exchanged(bytes(len(WEIGHTS))),
    "gzip": gzipped,
    "login page": login_page(),
    "login page as long as the file": login_page(padded=True),
    "redirect to itself": redirect("/lfs/round-and-round"),
    "redirect to nowhere": redirect(""),
    "redirect to no web page": redirect("file:///etc/passwd"),
}


@pytest.mark.parametrize("bend", SPOILED.values(), ids=SPOILED)
def test_wrong_answer_for_weights_is_a_record_that_names_them(run: Run, bend: Bend) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(bend, path="/lfs/", times=None)
        summary = run(hub)
        assert len(hub.log.exchanges("lfs")) < 20

    assert summary.failed == 1
    assert_recorded(run, "model.bin", OID)


@pytest.mark.parametrize("bend", SPOILED.values(), ids=SPOILED)
def test_wrong_answer_for_a_small_file_is_a_record_that_names_it(run: Run, bend: Bend) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(bend, path="a/x/resolve/.*README", times=None)
        summary = run(hub)

    assert summary.failed == 1
    leads_to_404 = bend is SPOILED["redirect to itself"]
    check = assert_captured_without if leads_to_404 else assert_recorded
    check(run, "README.md", f"git:{git_blob_id(TEXT.encode())}")


@pytest.mark.parametrize("name", ["longer", "shorter", "other bytes", "login page", "login page as long as the file"])
def test_wrong_bytes_that_come_once_are_fetched_again(run: Run, name: str) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(SPOILED[name], path="/lfs/")
        run(hub)

    assert_complete(run)


@pytest.mark.parametrize("bend", [login_page(), gzipped, redirect("/login"), exchanged(b"[{}]")])
@pytest.mark.parametrize("times", [1, None])
def test_wrong_answer_for_a_tree_is_a_record(run: Run, bend: Bend, times: int | None) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(bend, path="a/x/tree/", times=times)
        run(hub)

    assert run.results() == {"hf:a/x": "error", "hf:a/other": "ok"}
    assert "`hf:a/x`" in run.reason("hf:a/x")


def test_every_request_may_need_an_address_of_its_own(run: Run) -> None:
    with OddHub([MODEL, OTHER], sign=True) as hub:
        hub.order(cut(50_000), path="/lfs/", times=3)
        run(hub)
        statuses = [each.status for each in hub.log.exchanges("lfs")]

    assert_complete(run)
    assert statuses == [200, 206, 206, 206]


def test_expired_address_is_asked_for_anew(run: Run) -> None:
    with OddHub([MODEL, OTHER], sign=True, stale=1) as hub:
        run(hub)
        statuses = [each.status for each in hub.log.exchanges("lfs")]

    assert_complete(run)
    assert statuses == [403, 200]


def test_addresses_that_never_open_cost_the_file_alone(run: Run) -> None:
    with OddHub([MODEL, OTHER], sign=True, stale=99) as hub:
        run(hub)
        assert len(hub.log.exchanges("lfs")) == 2

    assert_captured_without(run, "model.bin", f"sha256:{OID}")


def before_the_first_tree(hub: OddHub, do: Callable[[], None]) -> None:
    """Have something happen on the hub once the listing was read."""
    hub.order(lambda answer: (do(), answer)[1], path="/api/models$")


def test_commit_that_moves_after_the_listing_is_captured_as_it_was_listed(run: Run) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        listed = hub.catalogue.find("a/x")
        before_the_first_tree(hub, lambda: hub.add(package("a/x", text_file("README.md", "moved on"))))
        run(hub)
        assert listed is not None

        assert_complete(run)
        assert run.manifests()["hf:a/x"].package.commit == listed.commit
        run(hub)

    assert run.results() == {"hf:a/x": "ok", "hf:a/other": "notneeded"}
    assert run.data("hf:a/x", "README.md") == b"moved on"


def test_commit_that_is_gone_after_the_listing_is_a_record_and_the_next_run_has_the_new_one(run: Run) -> None:
    def squash() -> None:
        hub.add(package("a/x", text_file("README.md", "squashed")))
        hub.squash("a/x")

    with OddHub([MODEL, OTHER]) as hub:
        before_the_first_tree(hub, squash)
        run(hub)
        assert run.results() == {"hf:a/x": "error", "hf:a/other": "ok"}
        run(hub)

    assert run.data("hf:a/x", "README.md") == b"squashed"


def test_name_registered_again_after_the_listing_never_gives_the_bytes_of_another(run: Run) -> None:
    def take_over() -> None:
        hub.withdraw("a/x")
        hub.add(msgspec.structs.replace(package("a/x", text_file("README.md", "mine")), registration="2"))

    with OddHub([MODEL, OTHER]) as hub:
        before_the_first_tree(hub, take_over)
        run(hub)

    assert run.results() == {"hf:a/x": "error", "hf:a/other": "ok"}
    assert set(run.manifests()) == {"hf:a/other"}


def test_package_withdrawn_while_its_files_are_fetched_is_a_record(run: Run) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(lambda answer: (hub.withdraw("a/x"), answer)[1], path="a/x/tree/")
        run(hub)

    assert run.results() == {"hf:a/x": "error", "hf:a/other": "ok"}
    assert "does not exist" in run.reason("hf:a/x")


@pytest.mark.parametrize(("status", "token"), [(401, None), (403, TOKEN)])
def test_gate_that_the_listing_does_not_show_is_a_record_and_the_rest_goes_on(
    run: Run, status: int, token: str | None
) -> None:
    run.token = token
    with OddHub([MODEL, OTHER]) as hub:
        hub.order(refuse(status, "GatedRepo", "Access is restricted."), path="a/x/resolve/", times=None)
        summary = run(hub)

    assert summary.failed == 1
    assert run.results() == {"hf:a/x": "impossible", "hf:a/other": "ok"}
    assert "it is gated" in run.reason("hf:a/x")
    assert "HF_TOKEN" in run.reason("hf:a/x")


def test_old_name_leads_to_the_package_as_it_is_called_now(run: Run) -> None:
    with OddHub([MODEL, OTHER]) as hub:
        hub.rename("a/x", "b/y")
        run(hub, CloneRequest(ids=("a/x",)))

    assert run.results() == {"hf:b/y": "ok"}
    assert run.data("hf:b/y", "model.bin") == WEIGHTS


def test_package_without_a_namespace_is_captured(run: Run) -> None:
    oldest = Package(name="gpt2", files=MODEL.files, downloads=9)
    with OddHub([oldest, OTHER]) as hub:
        run(hub)
        assert run.results() == {"hf:a/other": "ok", "hf:gpt2": "ok"}
        run(hub, CloneRequest(ids=("gpt2",)))

    assert run.results() == {"hf:gpt2": "notneeded"}
    assert run.data("hf:gpt2", "model.bin") == WEIGHTS


def test_files_of_xet_come_over_plain_http(run: Run) -> None:
    with OddHub([MODEL, OTHER], xet=True) as hub:
        run(hub)
        asked = {each.path for each in hub.log.exchanges()}

    assert_complete(run)
    [file] = [file for file in run.manifests()["hf:a/x"].files if file.name == "model.bin"]
    assert (file.source, file.sha256) == ("xet", OID)
    assert not any("xet" in path for path in asked)


@pytest.mark.parametrize("path", ["/api/models$", "/tree/", "/resolve/", "/lfs/"])
def test_stop_is_heard_while_the_hub_is_waited_for(run: Run, path: str) -> None:
    with OddHub([MODEL]) as hub:
        asked = hub.heard(path, run.stop)
        with pytest.raises(Interrupted):
            run(hub)
        assert time.monotonic() - asked[0] < 1
