"""One hub's connections: requests that keep within its limits, follow its redirects and say our errors.

The adapter reads documents through it and the engine downloads files through it, so that both spend from the same
budgets. Redirects are followed here, by hand, because only the origin that was asked may see the credentials.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import httpx2

from ptmtorrent.errors import HubError, TransportError
from ptmtorrent.http import new_client, ours, retry_after_seconds
from ptmtorrent.hubs.client.rate_limiter import Governor
from ptmtorrent.hubs.client.ssrf import refuse_inner
from ptmtorrent.hubs.client.status_errors import Unreachable, error_for
from ptmtorrent.model.moments import Clock, read_clock
from ptmtorrent.state.rate_windows import Budget, credential_id
from ptmtorrent.stop import Stop

MAX_REDIRECTS = 5
MAX_ANSWER_BYTES = 64 << 20
"""No page of a listing and no description of a package is longer (64 MiB); what is longer is not read to its end."""

MAX_ANSWER_SECONDS = 600.0
MAX_PARTS = 4_000_000
"""Values of JSON, counted by the marks between them: each may take a hundred bytes of memory."""

MAX_DRAINED_BYTES = 4096

REPLY_POLL_SECONDS = 0.2
"""Who waits for the reply to somebody else's request looks so often whether the session was stopped."""

_REDIRECTS = {301, 302, 303, 307, 308}
_HARMLESS = {"range", "accept"}
"""What another origin than the one asked may see; any other header may be a credential."""

Pause = Callable[[float, Stop], None]
"""Waits that many seconds. Raises `Interrupted` as soon as the event is set."""


def pause(seconds: float, stop: Stop) -> None:
    """Wait `seconds`, or raise `Interrupted` as soon as `stop` is set."""
    stop.wait(seconds)
    stop.raise_if_set("waiting for the hub")


@dataclass
class Session:
    """The client, the budgets, and what time is.

    `stop` ends waits and downloads, and `on_wait` hears of the host and the seconds before a budget is waited for; a
    workflow puts its own there. A `guarded` session asks no machine inside the network of this one.
    """

    client: httpx2.Client = field(default_factory=lambda: new_client(follow_redirects=False))
    monotonic: Callable[[], float] = time.monotonic
    clock: Clock = read_clock
    pause: Pause = pause
    stop: Stop = field(default_factory=Stop)
    on_wait: Callable[[str, float], None] = lambda _host, _seconds: None
    guarded: bool = False

    def __post_init__(self) -> None:
        self.governor = Governor(self.monotonic)

    def is_stopped(self) -> bool:
        """Tell whether the `stop` of now is set."""
        return self.stop.is_set()

    def check_place(self, url: str, what: str) -> None:
        """Refuse an address that a guarded session may not ask.

        Raises:
            HubError: naming it.
        """
        if self.guarded:
            refuse_inner(url, what)

    def close(self) -> None:
        """Close all connections; the session is of no use afterwards."""
        self.client.close()

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str], *, budget: str, what: str) -> Iterator[httpx2.Response]:
        """Send a GET and give the reply, its body unread, redirects followed. `what` names it in errors.

        The budgets hold for the host of `url`; hosts it redirects to are counted apart.

        Raises:
            AuthError, NotFound, RateLimited, HubError: what `error_for` makes of the reply.
            Unreachable: the connection failed, also while the body is read.
            Interrupted: `stop` was set while waiting for a budget.
        """
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            own = dict(headers) if _origin(url) == origin else _without_credentials(headers)
            with self._send(url, own, budget if _origin(url) == origin else "", what) as reply:
                if reply.status_code not in _REDIRECTS:
                    if error := error_for(reply.status_code, reply.headers, what, self.clock()):
                        _drain(reply)
                        raise error
                    yield reply
                    return
                _drain(reply)
                url = next_url(url, reply.headers.get("location", ""), what)
        raise HubError(f"{what} could not be read: the hub redirects more than {MAX_REDIRECTS} times")

    def read(self, url: str, headers: Mapping[str, str], *, budget: str, what: str) -> tuple[bytes, Mapping[str, str]]:
        """Return a JSON document and the headers it came with.

        Raises:
            HubError: it is not JSON (a login page, say), is encoded, or is longer, fuller or slower than any; else as
                `open`.
        """
        with self.open(url, headers, budget=budget, what=what) as reply:
            kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise HubError(
                    f"{what} could not be read: `{url}` answered with `{kind or 'no type'}`, not with JSON",
                    hint="check --endpoint; a login page or a proxy may have answered in the hub's place",
                )
            refuse_encoding(reply, what)
            return refuse_crowded(self._whole(reply, what), what), reply.headers

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, budget: str, what: str) -> bytes:
        """Send `body` and return the answer, whatever its type. Redirects are refused: no server may move a POST.

        Raises:
            HubError: a redirect, an encoded body or one longer, fuller or slower than any; else as `open`.
        """
        with self._send(url, headers, budget, what, body) as reply:
            if error := error_for(reply.status_code, reply.headers, what, self.clock()):
                _drain(reply)
                raise error
            if reply.status_code != 200:
                raise HubError(f"{what} could not be read: the hub answered {reply.status_code}")
            refuse_encoding(reply, what)
            return refuse_crowded(self._whole(reply, what), what)

    def _whole(self, reply: httpx2.Response, what: str) -> bytes:
        body, until = bytearray(), self.monotonic() + MAX_ANSWER_SECONDS
        for chunk in reply.iter_raw():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise HubError(f"{what} could not be read: the answer is longer than {MAX_ANSWER_BYTES} bytes")
            if self.monotonic() > until:
                raise HubError(f"{what} could not be read: the answer takes more than {MAX_ANSWER_SECONDS:.0f} seconds")
            self.stop.raise_if_set(f"reading {what}")
        return bytes(body)

    @contextmanager
    def _send(
        self, url: str, headers: Mapping[str, str], budget: str, what: str, body: bytes | None = None
    ) -> Iterator[httpx2.Response]:
        self.check_place(url, what)
        counted = Budget(urlsplit(url).netloc, budget, credential_id(_authorization(headers)))
        self._wait_for(counted)
        sent = self.monotonic()
        with ExitStack() as stack:
            stack.enter_context(_transient(what))
            try:
                reply = stack.enter_context(
                    self.client.stream("GET" if body is None else "POST", url, headers=headers, content=body)
                )
            except BaseException:
                self.governor.settle(counted, None, sent=sent)
                raise
            refused = reply.status_code in {429, 503}
            wait = retry_after_seconds(reply.headers, self.clock()) if refused else None
            self.governor.settle(counted, reply.headers, sent=sent, refused=refused, retry_after=wait)
            yield reply

    def _wait_for(self, budget: Budget) -> None:
        """Wait until the governor lets a request through."""
        while (seconds := self.governor.take(budget)) != 0.0:
            if seconds is not None:
                self.on_wait(budget.host, seconds)
                self.pause(seconds, self.stop)
                continue
            self.stop.raise_if_set("waiting for the hub")
            self.governor.await_reply(REPLY_POLL_SECONDS)


@contextmanager
def _transient(what: str) -> Iterator[None]:
    try:
        with ours(what):
            yield
    except TransportError as error:
        raise Unreachable(error.message) from error.__cause__


def refuse_encoding(reply: httpx2.Response, what: str) -> None:
    """Refuse a body that is not the bytes themselves: a few of them may unfold to more than there is memory for.

    Raises:
        HubError: naming the encoding.
    """
    encoding = reply.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise HubError(f"{what} came encoded as `{encoding}`, though identity was asked for")


def refuse_crowded(body: bytes, what: str) -> bytes:
    """Return a document, unless it has so many parts that reading it would take gigabytes.

    Raises:
        HubError: it has.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_PARTS:
        raise HubError(f"{what} could not be read: the answer has more than {MAX_PARTS} parts")
    return body


def _drain(reply: httpx2.Response) -> None:
    """Read a short body that nobody wants, so that its connection can be used again."""
    length = reply.headers.get("content-length", "")
    if length.isdigit() and int(length) <= MAX_DRAINED_BYTES:
        for _ in reply.iter_raw():
            pass


def _without_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() in _HARMLESS}


def _authorization(headers: Mapping[str, str]) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == "authorization"), None)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def next_url(url: str, location: str, what: str) -> str:
    """Return where a redirect from `url` leads.

    Raises:
        HubError: nowhere, to what is not HTTP, or from https down to http.
    """
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        target = scheme = ""
    if not location or scheme not in {"http", "https"}:
        raise HubError(f"{what} could not be read: the hub redirects to {location!r}")
    if urlsplit(url).scheme == "https" and scheme == "http":
        raise HubError(f"{what} could not be read: the hub redirects from https to http")
    return target
