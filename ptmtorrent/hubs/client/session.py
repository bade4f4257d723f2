"""The HTTP session of one hub: keeps within its limits, follows redirects and raises errors of this project.

Documents and downloads use the same session, and so the same budgets. Redirects are followed here, because credentials
may be sent only to the origin of the first request.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2

from ptmtorrent.errors import HubError, PtmError, RateLimited, TransportError
from ptmtorrent.http import (
    PARTIAL,
    judge_range,
    keep_pace,
    new_client,
    retry_after_seconds,
    translate_errors,
)
from ptmtorrent.hubs.client.rate_limiter import RateLimiter
from ptmtorrent.hubs.client.ssrf import refuse_internal
from ptmtorrent.hubs.client.status_errors import Unreachable, error_for
from ptmtorrent.model.moments import Clock, Monotonic, read_clock
from ptmtorrent.model.records import Emit, ignore
from ptmtorrent.retry import least_step, retry
from ptmtorrent.scrub import scrub_bytes, split_login
from ptmtorrent.state.rate_windows import Budget, NoWindows, Windows, credential_id
from ptmtorrent.stop import Stop

ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.5
"""Doubled for each attempt; the waits between six attempts add up to 15 seconds."""

MAX_REDIRECTS = 5
FIRST_ERROR = 400
MAX_REPLY_BYTES = 16 << 20
"""Limit of a listing page or the description of a package (16 MiB)."""

MAX_REPLY_SECONDS = 600.0
MAX_JSON_VALUES = 4_000_000
"""Limit of JSON values in a document, counted by their separators; a value may take 100 bytes of memory."""

MAX_BROKEN_BYTES = 64 << 20
"""Bytes of documents that are kept in memory for their next request."""

MAX_DRAINED_BYTES = 4096

REPLY_POLL_SECONDS = 0.2
"""Interval at which a waiting thread polls the stop flag."""

_REDIRECTS = {301, 302, 303, 307, 308}
_HARMLESS = {"range", "if-range", "accept"}
"""Headers that are sent on to another origin; any other header may be a credential."""

OnWait = Callable[[str, float, float], None]
Pause = Callable[[float, Stop], None]
"""Waits for that many seconds. Raises `Interrupted` as soon as the stop is set."""

T = TypeVar("T")


def pause(seconds: float, stop: Stop) -> None:
    """Wait `seconds`, or raise `Interrupted` as soon as `stop` is set."""
    stop.wait(seconds)
    stop.raise_if_set("waiting for the hub")


@dataclass(frozen=True)
class _Begun:
    """The first bytes of a document, and the entity tag of the whole."""

    tag: str
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The headers that ask for the rest of it; all of it if it has changed."""
        return {"Range": f"bytes={len(self.body)}-", "If-Range": self.tag}


class _BrokenReplies:
    """What arrived of documents whose replies broke, by address: the next request asks for the rest of them.

    Only an entity tag proves that a document is still the same (`If-Range`, RFC 9110 section 13.1.5), so one without a
    strong tag is read again from its first byte. Used from several threads.
    """

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()

    def take(self, url: str) -> _Begun | None:
        """Return what arrived of a document, once."""
        with self._lock:
            return self._begun.pop(url, None)

    def keep(self, url: str, headers: Mapping[str, str], body: bytes, before: int) -> None:
        """Keep what arrived of a document if it can be continued; `before` bytes of it were here before."""
        tag = headers.get("etag", "")
        if not body or not tag.startswith('"'):
            return
        with self._lock:
            if sum(len(begun.body) for begun in self._begun.values()) + len(body) > MAX_BROKEN_BYTES:
                return
            self._begun[url] = _Begun(tag, body)
        self._thread.kept = self.kept() + len(body) - before

    def kept(self) -> int:
        """Return how many bytes this thread has received and kept so far."""
        return int(getattr(self._thread, "kept", 0))


@dataclass
class Session:
    """The HTTP client, the request budgets and the clocks of one hub.

    `stop` ends waits and downloads. `on_wait` is called with the host, the seconds and the time of `monotonic` before
    the session waits for a budget. `windows` keeps the budgets, of which `share` processes take an equal part. A
    `guarded` session sends no requests to addresses in the network of this machine. `logins` are
    `Authorization` headers by address, for requests to the origin of that address that have none. Retries that take
    long are reported to `emit`.
    """

    monotonic: Monotonic = time.monotonic
    clock: Clock = read_clock
    pause: Pause = pause
    stop: Stop = field(default_factory=Stop)
    on_wait: OnWait = lambda _host, _seconds, _now: None
    windows: Windows = field(default_factory=NoWindows)
    share: int = 1
    guarded: bool = False
    logins: dict[str, str] = field(default_factory=dict, repr=False)
    emit: Emit = ignore

    def __post_init__(self) -> None:
        self.rate_limiter = RateLimiter(self.monotonic, self.windows, self.share)
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()
        self._broken = _BrokenReplies()

    @property
    def client(self) -> httpx2.Client:
        """The HTTP client, which is made for the first request: a hub in a folder needs none."""
        with self._lock:
            if self._client is None:
                self._client = new_client(follow_redirects=False)
                keep_pace(self._client, lambda: self.stop)  # `halting` replaces the stop
            return self._client

    def is_stopped(self) -> bool:
        """Return whether the stop is set."""
        return self.stop.is_set()

    @contextmanager
    def halting(self) -> Iterator[Stop]:
        """Yield the stop that ends waits and downloads during the block, in place of the session's own."""
        own, self.stop = self.stop, Stop()
        try:
            yield self.stop
        finally:
            self.stop = own

    def retry(self, call: Callable[[], T], *, what: str = "", progress: Callable[[], int] | None = None) -> T:
        """Return what `call` returns, retrying `RateLimited` and `Unreachable` up to six times.

        An attempt after which `progress` (None: what arrived of documents) has grown does not count, unless the server
        was too slow. When a hub states how long to wait, the rate limiter waits before the next request is sent. `what`
        is requested.

        Raises:
            Interrupted: the stop was set while waiting; anything else that `call` raises, at once.
        """
        return retry(
            call,
            on=(RateLimited, Unreachable),
            attempts=ATTEMPTS,
            first_wait=FIRST_WAIT_SECONDS,
            wait=lambda seconds: self.pause(seconds, self.stop),
            given_wait=_given_wait,
            progress=progress or self._broken.kept,
            least_step=least_step,
            what=what,
            emit=self.emit,
            monotonic=self.monotonic,
        )

    def check_address(self, url: str, what: str) -> None:
        """Refuse a URL that a guarded session must not request.

        Raises:
            HubError: the address is internal.
        """
        if self.guarded:
            refuse_internal(url, what)

    def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.close()

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str], *, budget: str, what: str) -> Iterator[httpx2.Response]:
        """Send a GET, follow redirects and yield the reply with its body unread. `what` names it in errors.

        The budget is that of the host of `url`; hosts it redirects to are counted separately.

        Raises:
            AuthError, NotFound, RateLimited, HubError: by the status, see `error_for`.
            Unreachable: the connection failed, also while the body is read.
            Interrupted: `stop` was set while waiting for a budget.
        """
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            own = dict(headers) if _origin(url) == origin else _without_credentials(headers)
            with self._send(url, own, budget if _origin(url) == origin else "", what) as reply:
                if reply.status_code not in _REDIRECTS:
                    if error := self._error_of(reply, what):
                        _drain(reply)
                        raise error
                    yield reply
                    return
                _drain(reply)
                url = next_url(url, reply.headers.get("location", ""), what)
        raise HubError(f"{what} could not be read: the hub redirects more than {MAX_REDIRECTS} times")

    def read(self, url: str, headers: Mapping[str, str], *, budget: str, what: str) -> tuple[bytes, Mapping[str, str]]:
        """Return a JSON document, without registered secrets that it repeats, and the headers it came with.

        Raises:
            HubError: it is not JSON (a login page, say), is encoded, or exceeds a limit of size, values or time; else
                as `open`.
        """
        begun = self._broken.take(url)
        asked = headers if begun is None else {**headers, **begun.headers}
        with self.open(url, asked, budget=budget, what=what) as reply:
            kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise HubError(
                    f"{what} could not be read: `{url}` returned `{kind or 'no type'}` instead of JSON",
                    hint="check --endpoint; the reply may come from a login page or a proxy",
                )
            refuse_encoding(reply, what)
            body = bytearray(begun.body if begun is not None and (reply.status_code == PARTIAL) else b"")
            if reply.status_code == PARTIAL:
                judge_range(reply, what, first=len(body), refused=HubError)
            self._continue(body, reply, url, what)
            return scrub_bytes(refuse_too_many_values(bytes(body), what)), reply.headers

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, budget: str, what: str) -> bytes:
        """Send `body` and return the body of the reply, of any type. Redirects are refused.

        Raises:
            HubError: a redirect, an encoded body, or one that exceeds a limit of size, values or time; else as `open`.
        """
        with self._send(url, headers, budget, what, body) as reply:
            if error := self._error_of(reply, what):
                _drain(reply)
                raise error
            if reply.status_code != 200:
                raise HubError(f"{what} could not be read: the hub returned {reply.status_code}")
            refuse_encoding(reply, what)
            received = bytearray()
            self._receive(received, reply, what)
            return refuse_too_many_values(bytes(received), what)

    def _error_of(self, reply: httpx2.Response, what: str) -> PtmError | None:
        if reply.status_code < FIRST_ERROR:
            return None
        return error_for(reply.status_code, reply.headers, what, self.clock())

    def _continue(self, body: bytearray, reply: httpx2.Response, url: str, what: str) -> None:
        """Append the reply to `body`; keep it for the next request if the connection breaks."""
        before = len(body)
        try:
            self._receive(body, reply, what)
        except (httpx2.TransportError, httpx2.StreamError):
            self._broken.keep(url, reply.headers, bytes(body), before)
            raise

    def _receive(self, body: bytearray, reply: httpx2.Response, what: str) -> None:
        until = self.monotonic() + MAX_REPLY_SECONDS
        for chunk in reply.iter_raw():
            body += chunk
            if len(body) > MAX_REPLY_BYTES:
                raise HubError(f"{what} could not be read: the reply is longer than {MAX_REPLY_BYTES} bytes")
            if self.monotonic() > until:
                raise HubError(f"{what} could not be read: the reply takes more than {MAX_REPLY_SECONDS:.0f} seconds")
            self.stop.raise_if_set(f"reading {what}")

    @contextmanager
    def _send(
        self, url: str, headers: Mapping[str, str], budget: str, what: str, body: bytes | None = None
    ) -> Iterator[httpx2.Response]:
        self.check_address(url, what)
        headers = self._with_login(url, headers)
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
                self.rate_limiter.settle(counted, None, sent=sent)
                raise
            refused = reply.status_code in {429, 503}
            wait = retry_after_seconds(reply.headers, self.clock()) if refused else None
            self.rate_limiter.settle(counted, reply.headers, sent=sent, refused=refused, retry_after=wait)
            yield reply

    def _with_login(self, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        if not self.logins or _authorization(headers) is not None:
            return headers
        own = [(address, value) for address, value in self.logins.items() if _origin(address) == _origin(url)]
        # The login of the longest address that the request is below; else any of that origin.
        best = max(own, key=lambda login: (url.startswith(login[0]), len(login[0])), default=None)
        return headers if best is None else {**headers, "Authorization": best[1]}

    def _wait_for(self, budget: Budget) -> None:
        """Wait until the rate limiter admits a request."""
        while (seconds := self.rate_limiter.take(budget)) != 0.0:
            if seconds is not None:
                self.on_wait(budget.host, seconds, self.monotonic())
                self.pause(seconds, self.stop)
                continue
            self.stop.raise_if_set("waiting for the hub")
            self.rate_limiter.await_reply(REPLY_POLL_SECONDS)


def _given_wait(error: PtmError) -> float | None:
    return 0.0 if isinstance(error, RateLimited) and error.retry_after is not None else None


@contextmanager
def _transient(what: str) -> Iterator[None]:
    try:
        with translate_errors(what):
            yield
    except TransportError as error:
        raise Unreachable(error.message) from error.__cause__


def refuse_encoding(reply: httpx2.Response, what: str) -> None:
    """Refuse an encoded body: a few bytes could decode to more than fits in memory.

    Raises:
        HubError: the body is encoded.
    """
    encoding = reply.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise HubError(f"{what} is encoded as `{encoding}`, but identity was requested")


def refuse_too_many_values(body: bytes, what: str) -> bytes:
    """Return a document, unless decoding it would take gigabytes of memory.

    Raises:
        HubError: the document has too many values.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_JSON_VALUES:
        raise HubError(f"{what} could not be read: the reply has more than {MAX_JSON_VALUES} values")
    return body


def _drain(reply: httpx2.Response) -> None:
    """Read a short unused body, so that its connection can be reused."""
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
    """Return the target of a redirect from `url`.

    Raises:
        HubError: it is missing, is not HTTP, or leads from https to http.
    """
    try:
        target, _ = split_login(urljoin(url, location))
        scheme = urlsplit(target).scheme
    except ValueError:
        target = scheme = ""
    if not location or scheme not in {"http", "https"}:
        raise HubError(f"{what} could not be read: the hub redirects to {location!r}")
    if urlsplit(url).scheme == "https" and scheme == "http":
        raise HubError(f"{what} could not be read: the hub redirects from https to http")
    return target
