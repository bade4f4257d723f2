"""Tries again what may work the next time: wrapped around every call to a hub, so that no adapter loops and sleeps."""

from collections.abc import Callable
from typing import TypeVar

from ptmtorrent.errors import RateLimited
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.status_errors import Unreachable

ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.5
"""Doubled each time: with six attempts a hub that is down is given 15 seconds to come back."""

T = TypeVar("T")


def retry(call: Callable[[], T], session: Session, *, progress: Callable[[], int] | None = None) -> T:
    """Return what `call` returns, calling it up to six times while it raises `RateLimited` or `Unreachable`.

    An attempt after which `progress` has grown does not count: a long download may break as often as it gets on.
    A hub that said how long to wait is waited for by the session's governor, before the next request is sent.

    Raises:
        Interrupted: the session was stopped while waiting; anything else that `call` raises, at once.
    """
    failures = 0
    reached = progress() if progress else 0
    while True:
        try:
            return call()
        except (RateLimited, Unreachable) as error:
            now = progress() if progress else 0
            failures = 1 if now > reached else failures + 1
            reached = max(now, reached)
            if failures >= ATTEMPTS:
                raise
            told = isinstance(error, RateLimited) and error.retry_after is not None
            session.pause(0.0 if told else FIRST_WAIT_SECONDS * 2 ** (failures - 1), session.stop)
