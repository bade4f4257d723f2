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
USER_AGENT = f"ptmtorrent/{__version__}"


def new_client(*, connections: int = 32, follow_redirects: bool = True) -> httpx2.Client:
    """Return a client that asks for identity encoding, so that sizes, ranges and hashes mean the file's bytes."""
    return httpx2.Client(
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=follow_redirects,
    )


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
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
