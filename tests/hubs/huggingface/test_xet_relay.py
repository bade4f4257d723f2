"""The relay to Xet storage passes on what may be asked of it, and refuses what else a storage or hf-xet may name."""

import json
import socket
from collections.abc import Iterator

import pytest

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.huggingface import xet_relay
from ptmtorrent.hubs.huggingface.xet_relay import BASE, MAX_XORB_BYTES, XetRelay, _hidden, _shown
from tests.hubs.peer import Reply, json_reply, serving

DATA = bytes(range(200))
PATH = f"/v1/reconstructions/{'a' * 64}"


@pytest.fixture
def relay(session: Session) -> Iterator[XetRelay]:
    made = XetRelay(session, ("http",))
    yield made
    made.close()


def asked(relay: XetRelay, path: str, *headers: str) -> tuple[int, bytes]:
    """Ask the relay by its socket; return the status and the body."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(20)
        stream.connect(relay.socket)
        lines = (f"GET {path} HTTP/1.1", "Host: xet", *headers, "", "")
        stream.sendall("\r\n".join(lines).encode())
        data = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_a_description_comes_with_addresses_of_the_relay(relay: XetRelay) -> None:
    with serving(lambda _: Reply()) as peer:
        peer.answer = lambda _: json_reply(json.dumps({"parts": [{"url": f"{peer.base}/x", "n": [1]}], "url": 3}))
        path = relay.address(f"{peer.base}/cas/").removeprefix(BASE)
        status, body = asked(relay, f"{path}{PATH}", "Authorization: Bearer x", "Range: bytes=0-1", "X-Other: y")
        part = f"{BASE}/part/{_hidden(f'{peer.base}/x')}"

    assert (status, json.loads(body)) == (200, {"parts": [{"url": part, "n": [1]}], "url": 3})
    assert peer.asked[0].path == f"/cas{PATH}"
    assert peer.asked[0].headers["authorization"] == "Bearer x"
    assert "x-other" not in peer.asked[0].headers


def test_a_part_is_the_range_that_was_asked_for_without_the_login(relay: XetRelay) -> None:
    found = Reply(206, body=DATA[10:20], headers={"Content-Range": "bytes 10-19/200"})
    with serving(lambda _: found) as peer:
        path = f"/part/{_hidden(f'{peer.base}/x')}"
        assert asked(relay, path, "Range: bytes=10-19", "Authorization: Bearer x") == (206, DATA[10:20])
        peer.answer = lambda _: Reply(body=DATA)
        assert asked(relay, path, "Range: bytes=10-19") == (206, DATA[10:20])

    assert "authorization" not in peer.asked[0].headers


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({}, "hf-xet asks for the range ''"),
        ({"Range": "bytes=5-"}, "hf-xet asks for the range 'bytes=5-'"),
        ({"Range": "bytes=0-1,3-4"}, "hf-xet asks for the range"),
        ({"Range": "bytes=5-4"}, "it names a part of 0 bytes"),
        ({"Range": f"bytes=1-{MAX_XORB_BYTES + 1}"}, "it names a part of 134,217,729 bytes"),
    ],
)
def test_a_range_that_no_xorb_has_is_refused_unasked(relay: XetRelay, wanted: dict[str, str], reason: str) -> None:
    with (
        serving(lambda _: Reply(body=DATA)) as peer,
        pytest.raises(HubError, match=reason),
        relay.part(f"{peer.base}/x", wanted),
    ):
        pass
    assert peer.asked == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(416),
        Reply(body=DATA[:15]),
        Reply(206, body=DATA[10:15], headers={"Content-Range": "bytes 10-19/200"}),
        Reply(body=DATA, length=False),
    ],
)
def test_a_part_with_fewer_bytes_than_were_asked_for_is_refused(relay: XetRelay, reply: Reply) -> None:
    with (
        serving(lambda _: reply) as peer,
        pytest.raises(HubError, match="it has fewer bytes than it says"),
        relay.part(f"{peer.base}/x", {"Range": "bytes=10-19"}),
    ):
        pass


@pytest.mark.parametrize("body", ["{", "nan", "[" * 1000])
def test_a_description_that_is_no_json_is_refused(relay: XetRelay, body: str) -> None:
    with (
        serving(lambda _: json_reply(body)) as peer,
        pytest.raises(HubError, match="Xet storage could not be read: "),
        relay.reconstruction(peer.base, PATH, {}),
    ):
        pass


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://host/x", "//host/x", "x", "http://[", ""])
def test_an_address_of_another_scheme_is_refused_where_it_stands(relay: XetRelay, url: str) -> None:
    with pytest.raises(HubError, match=r"Xet storage leads to .*: refused"), relay.part(url, {"Range": "bytes=0-1"}):
        pass
    with (
        serving(lambda _: json_reply(json.dumps({"url": url}))) as peer,
        pytest.raises(HubError, match=r"Xet storage leads to .*: refused"),
        relay.reconstruction(peer.base, PATH, {}),
    ):
        pass


@pytest.mark.parametrize(
    "path", ["/", "/part/x", "/part/é", f"/{_hidden('http://h')}/v1/other", f"/!{PATH}", f"/x{PATH}"]
)
def test_what_hf_xet_never_asks_for_is_not_found(relay: XetRelay, path: str) -> None:
    assert asked(relay, path, "Range: bytes=0-1") == (404, b"")


@pytest.mark.parametrize(("status", "code"), [(404, 404), (403, 403), (500, 503), (429, 429), (418, 404)])
def test_errors_of_the_storage_become_a_status_that_hf_xet_tries_again_only_if_that_may_help(
    relay: XetRelay, status: int, code: int
) -> None:
    with serving(lambda _: Reply(status)) as peer:
        assert asked(relay, f"/part/{_hidden(f'{peer.base}/x')}", "Range: bytes=0-1") == (code, b"")


@pytest.mark.parametrize("text", ["a", "/w==", "é"])
def test_an_address_that_the_relay_did_not_make_is_not_found(text: str) -> None:
    assert _shown(_hidden("http://host/é")) == "http://host/é"
    with pytest.raises(NotFound, match="Xet storage is not asked for"):
        _shown(text)


def test_a_socket_that_cannot_be_opened_leaves_no_folder(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("a" * 120)
    monkeypatch.setattr(xet_relay.tempfile, "mkdtemp", lambda **_: str(folder))
    with pytest.raises(OSError, match="AF_UNIX path too long"):
        XetRelay(session, ("http",))
    assert not folder.exists()
