"""Every read of a channel or hub keeps a least rate and a deadline, and hears a stop; redirects lead nowhere inside."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpcore2
import httpx2
import pytest

from ptmtorrent import http, network
from ptmtorrent.channel import web_reader
from ptmtorrent.channel.web_reader import HttpReader
from ptmtorrent.errors import AuthError, Interrupted, TransportError
from ptmtorrent.http import new_client, translate_errors
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.network import BODY_READ_BYTES, Pace, PacedBackend, PacedStream
from ptmtorrent.stop import Stop
from ptmtorrent.transports.http import HttpTransport
from tests.deadline import deadline
from tests.transports.requests import whole

QUICK = Pace(connect=2, silent=0.5, headers=1, window=0.6, least_rate=1000)
ENOUGH_SECONDS = 10.0
"""Long enough for a loaded machine; without the check, each of these reads would take minutes."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
Habit = Callable[[socket.socket], None]


def drip(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def stall(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"x")
    time.sleep(60)


def silent(_: socket.socket) -> None:
    time.sleep(60)


def endless_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x: y\r\n")
        time.sleep(0.1)


def endless_continue(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def dripping_chunks(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\nx\r\n")
        time.sleep(0.05)


HABITS = [drip, stall, silent, endless_headers, endless_continue, dripping_chunks]


@contextmanager
def serving(habit: Habit) -> Iterator[str]:
    """Serve every connection by `habit`, once its request has come."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(65536)
            habit(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("habit", HABITS)
def test_server_that_does_not_keep_the_pace_is_a_transport_error_within_its_deadline(habit: Habit) -> None:
    began = time.monotonic()
    with deadline(), serving(habit) as url, new_client(pace=QUICK) as client, pytest.raises(TransportError):
        HttpReader(url, client).read("x", limit=2_000_000)
    assert time.monotonic() - began < ENOUGH_SECONDS


@pytest.mark.parametrize("habit", HABITS)
def test_stop_is_heard_by_a_read_that_waits(habit: Habit) -> None:
    stop = Stop()
    with deadline(), serving(habit) as url, new_client(stop=stop) as client:
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            HttpReader(url, client).read("x", limit=2_000_000)
    assert time.monotonic() - began < 0.3 + 1


def test_stop_is_heard_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object) -> None:
        time.sleep(3)
        raise OSError

    stop = Stop()
    monkeypatch.setattr(network.httpcore2.SyncBackend, "connect_tcp", look_up)
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with new_client(stop=stop) as client, pytest.raises(Interrupted):
        HttpReader("http://127.0.0.1:9", client).read("x", limit=9)
    assert time.monotonic() - began < 0.3 + 1


def test_pack_that_drips_fails_within_its_deadline(tmp_path: Path) -> None:
    with serving(drip) as url, new_client(pace=QUICK) as client:
        [failed] = HttpTransport(url, client).deliver([whole("a" * 64, bytes(1_000_000))], tmp_path, Stop())
    assert isinstance(failed.error, TransportError)


def test_hub_that_drips_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PACE", QUICK)
    session = Session()
    with (
        serving(drip) as url,
        pytest.raises(Unreachable),
        session.open(url, {}, budget="", what="the list") as reply,
    ):
        list(reply.iter_raw())
    session.close()


def test_document_must_be_complete_within_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_reader, "DOCUMENT_SECONDS", 0.3)
    monkeypatch.setattr(web_reader, "DOCUMENT_RATE", 1e9)
    with deadline(), serving(drip) as url, new_client() as client, pytest.raises(TransportError, match="took longer"):
        HttpReader(url, client).read("x", limit=2_000_000)


def test_reader_that_takes_its_time_is_not_blamed_on_the_server() -> None:
    def in_two_parts(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n1234")
        time.sleep(0.1)
        connection.sendall(b"5678")
        time.sleep(5)

    with serving(in_two_parts) as url, new_client(pace=QUICK) as client, client.stream("GET", url) as response:
        parts = response.iter_raw()
        first = next(parts)
        time.sleep(1.5)
        assert first + b"".join(parts) == b"12345678"


class Endless(httpcore2.NetworkStream):
    """A connection that has bytes without end; it keeps how many were asked for at a time."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  # of the port
        self.asked.append(max_bytes)
        return bytes(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        pass


def test_bodies_are_read_in_larger_parts_than_headers() -> None:
    inner = Endless()
    stream = PacedStream(inner, QUICK, lambda: None)

    stream.write(b"GET / HTTP/1.1\r\n\r\n")
    stream.read(65536)
    stream.begin_body()
    stream.read(65536)

    assert inner.asked == [65536, BODY_READ_BYTES]


def test_library_takes_the_backend_for_every_connection_also_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with new_client() as client:
        pools = [transport._pool for transport in (client._transport, *client._mounts.values()) if transport]
        assert len(pools) > 1
        assert all(isinstance(pool._network_backend, PacedBackend) for pool in pools)


def reply(status: int, **headers: str) -> Habit:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return lambda connection: connection.sendall(
        f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n{lines}\r\n".encode()
    )


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://10.1.2.3/", "//localhost/x"])
def test_redirect_from_the_open_network_leads_to_no_internal_address(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = network.is_internal
    with serving(reply(302, Location=target)) as url, new_client(pace=QUICK) as client:
        monkeypatch.setattr(http, "is_internal", lambda address: not address.startswith(url) and inner(address))
        with pytest.raises(TransportError, match="in the network of this machine"):
            HttpReader(url, client).read("x", limit=9)


def test_redirect_from_loopback_to_loopback_is_followed() -> None:
    with serving(reply(200)) as other, serving(reply(302, Location=other)) as url, new_client() as client:
        assert HttpReader(url, client).read("x", limit=9) == b""


def test_login_is_not_sent_over_plain_http_off_loopback() -> None:
    with new_client(pace=QUICK) as client, translate_errors("x"), pytest.raises(AuthError, match="plain http"):
        client.get("http://192.0.2.1/x", headers={"Authorization": "Bearer secret"})
    with serving(reply(200)) as url, new_client() as client:
        assert client.get(url, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_login_does_not_follow_a_redirect_to_another_host() -> None:
    asked: list[bytes] = []

    def record(connection: socket.socket) -> None:
        asked.append(b"asked")
        reply(200)(connection)

    with serving(record) as other, serving(reply(302, Location=other)) as url, new_client() as client:
        seen: list[httpx2.Headers] = []
        client.event_hooks["request"].append(lambda request: seen.append(request.headers))
        client.get(url, headers={"Authorization": "Bearer secret"})
    assert asked == [b"asked"]
    assert "authorization" in seen[0]
    assert "authorization" not in seen[1]


def test_limits_of_headers_do_not_apply_to_the_body() -> None:
    size = 2 * network.MAX_HEADER_BYTES

    def large(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    with serving(large) as url, new_client(pace=QUICK) as client:
        assert len(HttpReader(url, client).read("x", limit=size)) == size
