"""Tokens sent to the HTTPS server of a collection, and its refusals."""

from collections.abc import Callable, Iterator

import httpx2
import pytest

from ptmtorrent.channel.web_reader import HttpReader
from ptmtorrent.errors import AuthError, NotFound, PtmError
from ptmtorrent.http import UNREAD_BYTES
from ptmtorrent.transports.globus.https import collection_client

COLLECTION = "22222222-2222-4222-8222-222222222222"
HOST = "g-1.data.example:8443"
TOKEN = "Bearer of-a-user"  # noqa: S105  # nobody's
LOGIN = "https://auth.globus.org/v2/oauth2/authorize?client_id=x"

Handler = Callable[[httpx2.Request], httpx2.Response]


class Server:
    """Replies with `handler`; records requests and their headers."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.url.host, request.headers.get("Authorization")))
        return self._handler(request)

    def read(self, *tokens: str | None, host: str = HOST) -> bytes:
        given = iter(tokens)
        with collection_client(COLLECTION, host, lambda _: next(given, None)) as client:
            client._transport = httpx2.MockTransport(self)
            return HttpReader(f"https://{host}/ptm", client).read("a", limit=9)


def answer(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(b"right"))


def wants(token: str, refusal: Callable[[], httpx2.Response]) -> Handler:
    return lambda request: answer(200) if request.headers.get("Authorization") == token else refusal()


REFUSALS = [lambda: answer(401), lambda: answer(403), lambda: answer(302, location=LOGIN)]


def test_no_token_is_sent_without_a_refusal() -> None:
    server = Server(lambda _: answer(200))
    assert server.read(TOKEN) == b"right"
    assert server.asked == [("g-1.data.example", None)]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["401", "403", "login page"])
def test_a_refusal_is_answered_with_the_token(refusal: Callable[[], httpx2.Response]) -> None:
    server = Server(wants(TOKEN, refusal))
    assert server.read(TOKEN) == b"right"
    assert [header for _, header in server.asked] == [None, TOKEN]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["401", "403", "login page"])
def test_a_refusal_without_a_login_names_it(refusal: Callable[[], httpx2.Response]) -> None:
    with pytest.raises(AuthError) as caught:
        Server(wants(TOKEN, refusal)).read()
    assert caught.value.code == 11
    assert caught.value.hint is not None
    assert f"ptmtorrent auth login globus --collection {COLLECTION}" in caught.value.hint


def test_an_expired_token_is_renewed_once() -> None:
    server = Server(wants(TOKEN, lambda: answer(401)))
    assert server.read("Bearer expired", TOKEN) == b"right"
    server = Server(lambda _: answer(401))
    with pytest.raises(AuthError):
        server.read(*(f"Bearer {number}" for number in range(9)))
    assert len(server.asked) == 3


@pytest.mark.parametrize("target", ["https://evil.example/a", "http://g-1.data.example:8443/a"])
def test_a_redirect_does_not_take_the_token_along(target: str) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if str(request.url) == target:
            return answer(200)
        return answer(302, location=target) if "Authorization" in request.headers else answer(401)

    server = Server(handler)
    assert server.read(TOKEN) == b"right"
    assert [header for _, header in server.asked] == [None, TOKEN, None]


def test_a_refusal_of_another_server_gives_it_no_token() -> None:
    server = Server(
        lambda request: answer(401 if request.url.host == "evil.example" else 302, location="//evil.example/")
    )
    with pytest.raises(PtmError):
        server.read(TOKEN)
    assert {header for _, header in server.asked} == {None}


@pytest.mark.parametrize("host", ["g-1.data.example:443", "G-1.data.example"])
def test_the_server_is_known_however_it_is_spelled(host: str) -> None:
    server = Server(wants(TOKEN, lambda: answer(401)))
    assert server.read(TOKEN, host=host) == b"right"


@pytest.mark.parametrize("status", [302, 401, 403])
def test_the_body_of_a_refusal_is_not_read_to_its_end(status: int) -> None:
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        while sum(sent) < 100 * UNREAD_BYTES:
            sent.append(4096)
            yield bytes(4096)

    class Endless(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return endless()

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/end" or "Authorization" in request.headers:
            return answer(404)
        return httpx2.Response(status, headers={"location": "/end"}, stream=Endless())

    with pytest.raises(NotFound):
        Server(handler).read(TOKEN)
    assert sum(sent) <= 2 * UNREAD_BYTES
