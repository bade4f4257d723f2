"""Files in Xet storage, by its own protocol, from the storage that the unmodified hf_xet reads too."""

import hashlib
import json
import re
import time

import msgspec
import pytest

from ptmtorrent.demo.hub.exchange import Response
from ptmtorrent.demo.package import data_file, text_file
from ptmtorrent.demo.sample_hub import TOKEN
from ptmtorrent.errors import HubError, Interrupted
from ptmtorrent.hubs.client import ssrf
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.huggingface import xet
from tests.faults.hostile import Inside, listening
from tests.program import ptmtorrent
from tests.simulators.huggingface import Bend, OddHub, exchanged, redirect, refuse
from tests.workflows.cloning import WEIGHTS, Run, package

LONG = WEIGHTS * 20
ENOUGH_SECONDS = 15.0
MODEL = package("a/x", text_file("README.md", "x"), data_file("model.bin", LONG), data_file("more.bin", WEIGHTS))


@pytest.fixture(autouse=True)
def by_xet(run: Run) -> None:
    run.xet = True


def test_files_come_from_the_storage_for_one_token_and_no_resolver(run: Run) -> None:
    with OddHub([MODEL], xet=True) as hub:
        run(hub)
        asked = [each.path for each in hub.log.exchanges("hub")]
        assert hub.log.exchanges("lfs") == []
        assert hub.log.sent("/xorbs/") >= len(LONG) + len(WEIGHTS)

    assert run.results() == {"hf:a/x": "ok"}
    assert run.data("hf:a/x", "model.bin") == LONG
    assert [path for path in asked if "resolve" in path] == [path for path in asked if path.endswith("README.md")]
    assert len([path for path in asked if "xet-read-token" in path]) == 1


def test_token_of_the_hub_is_never_sent_to_the_storage(run: Run) -> None:
    run.token = TOKEN
    with OddHub([MODEL], xet=True) as hub:
        run(hub)
        assert {each.authorized for each in hub.log.exchanges("hub")} == {True}
        assert {each.authorized for each in hub.log.exchanges("cas", "/xorbs/")} == {False}
        assert hub.store.tokens == {"xet_sample"}


def test_long_file_is_asked_for_a_range_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xet, "RANGE_BYTES", 1_500_000)
    with OddHub([package("a/x", data_file("model.bin", LONG))], xet=True) as hub:
        run(hub)
        ranges = [each.range for each in hub.log.exchanges("cas", "/v1/reconstructions")]

    assert ranges == ["bytes=0-1499999", "bytes=1500000-2999999", "bytes=3000000-3999999"]
    assert run.data("hf:a/x", "model.bin") == LONG


def test_token_that_is_over_is_asked_for_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xet, "RANGE_BYTES", 2_000_000)
    with OddHub([package("a/x", data_file("model.bin", LONG))], xet=True) as hub:
        hub.store.seconds = xet.MIN_TOKEN_SECONDS - 1
        run(hub)
        assert len(hub.log.exchanges("hub", "xet-read-token")) == 2

    assert run.data("hf:a/x", "model.bin") == LONG


def test_plain_http_serves_what_the_storage_does_not(run: Run) -> None:
    with OddHub([MODEL], xet=True) as hub:
        hub.order(refuse(404), path="/cas/", times=None)
        run(hub)
        assert len(hub.log.exchanges("lfs")) == 2

    assert run.results() == {"hf:a/x": "ok"}
    assert run.data("hf:a/x", "model.bin") == LONG


@pytest.mark.parametrize("answer", [b"{}", b"<html>", b'{"casUrl":"file:///etc","accessToken":"t","exp":4000000000}'])
def test_token_that_makes_no_sense_is_not_used(run: Run, answer: bytes) -> None:
    with OddHub([MODEL], xet=True) as hub:
        hub.order(exchanged(answer), path="xet-read-token", times=None)
        run(hub)
        assert hub.log.exchanges("cas") == []

    assert run.data("hf:a/x", "model.bin") == LONG


@pytest.mark.parametrize("place", ["http://storage.invalid", "file:///etc", "ftp://storage.invalid", "//storage"])
def test_storage_of_a_hub_by_https_is_asked_by_https(place: str) -> None:
    token = json.dumps({"casUrl": place, "accessToken": "t", "exp": 4_000_000_000}).encode()
    storage = xet.XetStorage(lambda _url, _what: token, Session())
    with pytest.raises(HubError, match=r"names .*: refused"):
        next(storage.pieces("https://hub.invalid/token", "0" * 64, 10, 0, "`m`"))


def test_wrong_bytes_of_the_storage_are_found_out_and_replaced(run: Run) -> None:
    with OddHub([package("a/x", data_file("model.bin", WEIGHTS))], xet=True) as hub:
        hub.store.flipped = True
        run(hub)
        assert len(hub.log.exchanges("cas", "/xorbs/")) == len(hub.log.exchanges("lfs")) == 1

    assert run.results() == {"hf:a/x": "ok"}
    assert run.data("hf:a/x", "model.bin") == WEIGHTS


def test_part_is_gone_on_with(run: Run) -> None:
    with OddHub([package("a/x", data_file("model.bin", LONG * 2))], xet=True) as hub:
        run.home.spool.mkdir(parents=True)
        (run.home.spool / f"{hashlib.sha256(LONG * 2).hexdigest()}-{len(LONG * 2)}.part").write_bytes(
            (LONG * 2)[: 5 << 20]
        )
        run(hub)
        assert hub.log.exchanges("cas", "/v1/reconstructions")[0].range == f"bytes={4 << 20}-{2 * len(LONG) - 1}"

    assert run.data("hf:a/x", "model.bin") == LONG * 2


def test_hub_without_such_storage_is_refused(run: Run) -> None:
    said = ptmtorrent(run.home.root, "clone", "kaggle", "--xet", code=2)
    assert "has no Xet storage" in said[-1]["message"]


QUICK = msgspec.structs.replace(xet.PACE, silent=0.5, window=1.0, least_rate=4_000_000)
LIMITS = {
    "silence": msgspec.structs.replace(QUICK, window=1000.0),
    "rate": msgspec.structs.replace(QUICK, silent=1000.0),
}
"""One limit of the pace each; the other one is too far away to be reached."""


@pytest.mark.parametrize(
    ("path", "habit", "limit"),
    [
        ("/cas/xorbs/", "silent", "silence"),
        ("/cas/v1/", "silent", "silence"),
        ("/cas/xorbs/", "stall", "silence"),
        ("/cas/xorbs/", "drip", "rate"),
    ],
)
def test_storage_that_does_not_keep_the_pace_is_left_for_plain_http(
    run: Run, monkeypatch: pytest.MonkeyPatch, path: str, habit: str, limit: str
) -> None:
    monkeypatch.setattr(xet, "PACE", LIMITS[limit])
    with OddHub([package("a/x", data_file("model.bin", LONG))], xet=True) as hub:
        bends = {"silent": hub.silent, "stall": hub.slow(70_000, 30), "drip": hub.slow(70_000, 0.2)}
        hub.order(bends[habit], path=path, times=None)
        began = time.monotonic()
        run(hub)
        assert time.monotonic() - began < ENOUGH_SECONDS
        assert len(hub.log.exchanges("lfs")) == 1

    assert run.data("hf:a/x", "model.bin") == LONG


@pytest.mark.parametrize("path", ["/cas/xorbs/", "/cas/v1/", "xet-read-token"])
def test_stop_is_heard_while_the_storage_is_waited_for(run: Run, path: str) -> None:
    with OddHub([package("a/x", data_file("model.bin", LONG))], xet=True) as hub:
        asked = hub.heard(path, run.stop)
        with pytest.raises(Interrupted):
            run(hub)
        assert time.monotonic() - asked[0] < 1


def test_storage_that_stalls_again_and_again_is_not_asked_any_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xet, "PACE", QUICK)
    monkeypatch.setattr(xet, "MAX_STALLS", 1)
    with OddHub([MODEL], xet=True) as hub:
        hub.order(hub.silent, path="/cas/v1/", times=None)
        run(hub)
        assert len(hub.log.exchanges("lfs")) == 2
    assert run.results() == {"hf:a/x": "ok"}


def test_address_of_a_part_inside_the_network_is_not_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Inside()
    with OddHub([MODEL], xet=True) as hub, listening(inner.serve) as port:
        monkeypatch.setattr(ssrf, "is_internal", lambda url: f":{port}/" in url)
        answer = _with_address(b"http://127.0.0.1:%d/latest" % port)
        hub.order(answer, path="/reconstructions/", times=None)
        run.guarded = True
        run(hub)

    assert inner.asked == []
    assert run.results() == {"hf:a/x": "ok"}
    assert run.data("hf:a/x", "model.bin") == LONG


def test_redirect_of_the_storage_leads_to_no_internal_address(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Inside()
    with OddHub([MODEL], xet=True) as hub, listening(inner.serve) as port:
        monkeypatch.setattr(ssrf, "is_internal", lambda url: f":{port}/" in url)
        hub.order(redirect(f"http://127.0.0.1:{port}/latest"), path="/xorbs/", times=None)
        run.guarded = True
        run(hub)

    assert inner.asked == []
    assert run.data("hf:a/x", "model.bin") == LONG


def _with_address(address: bytes) -> Bend:
    def bend(response: Response) -> Response:
        data = b"".join(response.content.chunks(0, response.content.size))
        return exchanged(re.sub(rb'"url": ?"[^"]+"', b'"url":"%s"' % address, data))(response)

    return bend
