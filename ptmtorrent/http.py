"""The one way we speak HTTP: identity encoding, bounded waits, our errors.

Retrying is not done here; a caller wraps what it calls (STYLE: nothing inside an adapter loops and sleeps).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from ptmtorrent import __version__
from ptmtorrent.errors import TransportError

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
UNREAD_BYTES = 64 << 10
ASKED_AGAIN = frozenset({401, 403})
USER_AGENT = f"ptmtorrent/{__version__}"


def new_client(*, connections: int = 32, follow_redirects: bool = True) -> httpx2.Client:
    """Return a client that asks for identity encoding, so that sizes, ranges and hashes mean the file's bytes."""
    return httpx2.Client(
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=follow_redirects,
        event_hooks={"response": [_cut_short]},
    )


class _Beginning(httpx2.SyncByteStream):
    """The first bytes of a body; the rest is never asked for."""

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
        """Close the connection, as the body was not read to its end."""
        self._stream.close()


def _cut_short(response: httpx2.Response) -> None:
    """End the body of an answer that the library itself reads whole before it asks again: it may never end."""
    again = response.is_redirect or response.status_code in ASKED_AGAIN
    if again and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Beginning(response.stream)


@contextmanager
def ours(what: str) -> Iterator[None]:
    """Turn the library's exceptions into `TransportError`, saying `what` was being read."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, UnicodeError) as error:
        # UnicodeError: a host name with an empty or an endless label, as a redirect may give it.
        reason = str(error) or type(error).__name__
        raise TransportError(f"{what} could not be read: {reason}") from error


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how long the server asks us to wait: `Retry-After` in seconds or as a date; None when it does not say."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, OverflowError):
        return None
