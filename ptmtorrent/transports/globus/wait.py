"""Wait for a transfer task until it has succeeded, failed, or needs attention.

The SDK's own `task_wait` returns true for a task that failed and for one that is inactive, and a task may stay ACTIVE
without end while it retries the same fault (docs/guides/globus.md names the reports). Therefore the state is checked
here, changes are reported, and a task without progress for too long ends the wait. Progress means more files or
bytes than ever before: neither a fault nor a restarted file counts.
"""

import time
from collections.abc import Callable
from typing import Literal

import msgspec

from ptmtorrent.model.moments import Monotonic
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.service import TaskStatus, TransferService

FIRST_SECONDS = 0.25
GROWTH = 1.4
MAX_SECONDS = 30.0

End = Literal["succeeded", "failed", "inactive", "stuck", "stopped"]


class WaitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How to wait: at most `stall_seconds` without progress; `pause` sleeps, and returns whether to stop."""

    stall_seconds: float
    pause: Callable[[Stop, float], bool] = Stop.wait
    monotonic: Monotonic = time.monotonic


class WaitResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a wait ended, and the final status of the task."""

    end: End
    status: TaskStatus


def wait_for_task(
    service: TransferService, task: str, stop: Stop, policy: WaitPolicy, on_change: Callable[[TaskStatus], None]
) -> WaitResult:
    """Return how the wait for `task` ended; `on_change` receives every new status.

    Raises:
        AuthError, TransportError: the service could not be queried; the task continues.
    """
    seconds = FIRST_SECONDS
    seen: TaskStatus | None = None
    best = (0, 0)
    since = policy.monotonic()
    while True:
        status = service.task(task)
        if status != seen:
            on_change(status)
        if seen is None or status.files > best[0] or status.bytes > best[1]:
            since, seconds = policy.monotonic(), FIRST_SECONDS
        seen, best = status, (max(best[0], status.files), max(best[1], status.bytes))
        if (end := _end(status)) is not None:
            return WaitResult(end=end, status=status)
        if policy.monotonic() - since >= policy.stall_seconds:
            return WaitResult(end="stuck", status=status)
        if policy.pause(stop, min(seconds, MAX_SECONDS, policy.stall_seconds)) or stop.is_set():
            return WaitResult(end="stopped", status=status)
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
