"""Wait for a task: until it has succeeded, and for nothing else.

The SDK's own `task_wait` returns true for a task that failed and for one that waits for a person, and a task may stay
ACTIVE for ever while it retries the same fault (docs/guides/globus.md names the reports). So the state is checked here,
what keeps a task is told, and one that stands still for too long ends the wait. Only more files or bytes than ever
before are progress: faults are none, nor is a file that begins again.
"""

import time
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.service import TaskStatus

FIRST_SECONDS = 0.25
GROWTH = 1.4
MAX_SECONDS = 30.0

End = Literal["succeeded", "failed", "inactive", "stuck", "stopped"]


class Clerk(Protocol):
    """Who is asked about tasks: `TransferService`."""

    def task(self, task: str) -> TaskStatus:
        """Return how a task is."""
        ...


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How to wait: `seconds` without any progress are too long; `pause` waits, and tells whether to stop."""

    seconds: float
    pause: Callable[[Stop, float], bool] = Stop.wait
    monotonic: Callable[[], float] = time.monotonic


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a wait ended, and how the task was then."""

    end: End
    status: TaskStatus


def wait_for(clerk: Clerk, task: str, stop: Stop, patience: Patience, told: Callable[[TaskStatus], None]) -> Ended:
    """Wait for `task`; `told` hears of every change.

    Raises:
        AuthError, TransportError: the service could not be asked; the task goes on.
    """
    seconds = FIRST_SECONDS
    seen: TaskStatus | None = None
    most = (0, 0)
    since = patience.monotonic()
    while True:
        status = clerk.task(task)
        if status != seen:
            told(status)
        if seen is None or status.files > most[0] or status.bytes > most[1]:
            since, seconds = patience.monotonic(), FIRST_SECONDS
        seen, most = status, (max(most[0], status.files), max(most[1], status.bytes))
        if (end := _end(status)) is not None:
            return Ended(end=end, status=status)
        if patience.monotonic() - since >= patience.seconds:
            return Ended(end="stuck", status=status)
        if patience.pause(stop, min(seconds, MAX_SECONDS, patience.seconds)) or stop.is_set():
            return Ended(end="stopped", status=status)
        seconds *= GROWTH


def _end(status: TaskStatus) -> End | None:
    match status.status:
        case "SUCCEEDED":
            return "succeeded"
        case "FAILED":
            return "failed"
        case "INACTIVE":
            return "inactive"
        case _:
            return None
