"""The HTTP client: identity encoding, bounded waits, our errors, and the one judgement of ranged replies.

Nothing here retries; callers use `retry`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ssl import SSLContext
from urllib.parse import urljoin

import httpx2

from ptmtorrent import __version__
from ptmtorrent.config import certificate_environment, proxy_environment
from ptmtorrent.errors import AuthError, NotFound, PtmError, TransportError
from ptmtorrent.network import Pace, PacedBackend, PacedStream, check_proxies, is_internal, is_loopback
from ptmtorrent.scrub import Login
from ptmtorrent.stop import Stop

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
PACE = Pace(connect=CONNECT_SECONDS, silent=READ_SECONDS, headers=60.0, window=60.0, least_rate=1024)
"""What every server must keep: a byte a minute, headers within a minute, then 1 KiB a second over any minute."""

DOCUMENT_SECONDS = 300.0
DOCUMENT_RATE = 8192
"""A document of a channel must be complete within five minutes and a second for each 8 KiB of it."""


UNREAD_BYTES = 64 << 10
ASKED_AGAIN = frozenset({401, 403})
OK, PARTIAL, UNSATISFIABLE = 200, 206, 416
MISSING = frozenset({404, 410})
MAX_DIGITS = 19
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
USER_AGENT = f"ptmtorrent/{__version__}"


def new_client(
    *,
    connections: int = 32,
    follow_redirects: bool = True,
    login: Login | None = None,
    stop: Stop | None = None,
    pace: Pace | None = None,
) -> httpx2.Client:
    """Return a client that requests identity encoding, so that sizes, ranges and hashes are those of the file.

    `login` is sent with every request; a redirect to another origin goes without it. A read that waits ends once `stop`
    is set, and when the server does not keep the `pace`. Requests go through the proxies of the environment.

    Raises:
        ConfigError: a proxy cannot be used.
    """
    proxies = proxy_environment()
    check_proxies(proxies)
    guards = [_refuse_internal_redirect] if follow_redirects else []
    client = httpx2.Client(
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=follow_redirects,
        mounts=_direct(proxies),
        verify=_trusted(certificate_environment()),
        auth=None if login is None else httpx2.BasicAuth(login.user, login.password or ""),
        event_hooks={"request": [_refuse_plain_token], "response": [_begin_body, *guards, _cut_short]},
    )
    keep_pace(client, lambda: stop, pace)
    return client


@cache
def _trusted(_: tuple[str, str]) -> SSLContext:
    """Return the trusted certificates of an environment: reading them takes longer than to plan a package."""
    return httpx2.create_ssl_context()


def _direct(proxies: Mapping[str, str]) -> dict[str, None]:
    """Return the hosts of `no_proxy` that the library takes for those below them only: it reads `.host` so."""
    entries = (entry.strip() for entry in proxies.get("no_proxy", "").split(","))
    return {f"all://*{entry.lstrip('.')}": None for entry in entries if entry.startswith(".") and "/" not in entry}


def keep_pace(client: httpx2.Client, stop_now: Callable[[], Stop | None], pace: Pace | None = None) -> None:
    """Let the reads of `client` end once the stop of that moment is set, and when a server does not keep the `pace`."""

    def halt() -> None:
        if (stop := stop_now()) is not None:
            stop.raise_if_set("the transfer")

    # The only private names we touch: the library has no public way to give a client another network backend, nor
    # its own transports to a client that heeds the proxies of the environment. tests/test_network.py pins both.
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        if isinstance(transport, httpx2.HTTPTransport):
            transport._pool._network_backend = PacedBackend(pace or PACE, halt)  # noqa: SLF001


def _begin_body(response: httpx2.Response) -> None:
    stream = response.extensions.get("network_stream")
    if isinstance(stream, PacedStream):
        stream.begin_body()


def _refuse_plain_token(request: httpx2.Request) -> None:
    """Refuse to send a token or password where anyone on the way could read it."""
    url = str(request.url)
    if "authorization" in request.headers and request.url.scheme == "http" and not is_loopback(url):
        raise AuthError(
            f"the login for `{request.url.host}` is not sent over plain http",
            hint="use the https address of the server",
        )


def _refuse_internal_redirect(response: httpx2.Response) -> None:
    """Refuse a redirect from the open network to an address inside the network of this machine."""
    if not response.is_redirect:
        return
    source = str(response.request.url)
    try:
        target = urljoin(source, response.headers.get("location", ""))
    except ValueError:
        return
    if is_internal(target) and not is_internal(source):
        raise TransportError(
            f"`{source[:200]}` redirects to `{target[:200]}`, an address in the network of this machine: refused",
            hint="try another mirror",
        )


class _Beginning(httpx2.SyncByteStream):
    """The first bytes of a body; the rest is not read."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = UNREAD_BYTES
        for part in self._stream:
            yield part[:left]
            left -= len(part)
            if left <= 0:
                return

    def close(self) -> None:
        """Close the connection, because the body was not read to its end."""
        self._stream.close()


def _cut_short(response: httpx2.Response) -> None:
    """Limit the body of a reply that the library reads whole before it repeats the request: it may be endless."""
    again = response.is_redirect or response.status_code in ASKED_AGAIN
    if again and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Beginning(response.stream)


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Translate the library's exceptions into `TransportError`; `what` names what was read."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, UnicodeError) as error:
        # UnicodeError: a redirect to a host name with an empty or too long label.
        reason = str(error) or type(error).__name__
        raise TransportError(f"{what} could not be read: {reason}") from error


def spell_range(offset: int, length: int) -> str:
    """Return the `Range` header for `length` bytes from `offset` on (RFC 9110 section 14.1.2)."""
    return f"bytes={offset}-{offset + length - 1}"


def check_answer(
    response: httpx2.Response, what: str, accepted: set[int], refused: type[PtmError] = TransportError
) -> None:
    """Refuse a reply that is not the bytes of a file.

    Raises:
        NotFound: the server has no such file.
        refused: any other status that is not `accepted`, or an encoded body.
    """
    if response.status_code in MISSING:
        raise NotFound(f"there is no {what}")
    if response.status_code not in accepted:
        raise refused(f"{what} answered {response.status_code} {response.reason_phrase}".rstrip())
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise refused(f"{what} was sent with the encoding `{encoding}`, although identity was requested")


def is_whole(response: httpx2.Response) -> bool:
    """Return whether the body is a whole file: 200, unless a `Content-Range` says that it is a part of one."""
    return response.status_code == OK and not _CONTENT_RANGE.fullmatch(_given_range(response))


def _given_range(response: httpx2.Response) -> str:
    return response.headers.get("content-range", "").strip()


def judge_range(  # noqa: PLR0913  # the request that the reply is judged by
    response: httpx2.Response,
    what: str,
    *,
    first: int,
    last: int | None = None,
    size: int | None = None,
    refused: type[PtmError] = TransportError,
) -> int | None:
    """Return how many bytes of the body precede byte `first` of the file; None when the server has no such byte (416).

    `what` names the file in errors. `last` is the last byte that was requested, None for the rest of the file; the
    `size` of the file is checked when it is known.

    Raises:
        NotFound: the server has no such file.
        refused: another status, another range than was requested, or an encoded body.
    """
    if response.status_code == UNSATISFIABLE:
        return None
    check_answer(response, what, {OK, PARTIAL}, refused)
    if is_whole(response):
        return first
    given = _given_range(response)
    match = _CONTENT_RANGE.fullmatch(given)
    fits = match is not None and int(match[1]) == first and last in {None, int(match[2])}
    # Without a known size only a range that reaches the stated end of the file can be the rest of it.
    ends = last is not None or size is not None or match is None or match[3] in {"*", str(int(match[2]) + 1)}
    if match is None or not fits or not ends or (size is not None and match[3] not in {"*", str(size)}):
        through = "on" if last is None else f"to {last}"
        sent = f"`{given}`" if given else "a part without saying which (no `Content-Range`)"
        raise refused(f"{what}: asked for the bytes from {first} {through}, the server sent {sent}")
    return 0


def stated_total(response: httpx2.Response) -> int:
    """Return the size of the whole file that `Content-Range` states; -1 when it states none."""
    return _count(response.headers.get("content-range", "").rpartition("/")[2].strip())


def stated_length(response: httpx2.Response) -> int:
    """Return the length of the body that the server states; -1 when it states none."""
    return _count(response.headers.get("content-length", ""))


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else -1


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the wait that `Retry-After` asks for, in seconds or as a date; None when it is missing or malformed."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, OverflowError):
        return None
