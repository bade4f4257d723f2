"""Retries of transient failures. The only module that repeats a call; adapters never do.

A caller wraps a port from outside: `retry` repeats one call; work of which parts succeed counts the `FailuresInRow` of
each part. Waits double from one attempt to the next and are given to the caller's `wait`, which may end them early or
raise `Interrupted`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina

from ptmtorrent.errors import PtmError

T = TypeVar("T")

Wait = Callable[[float], object]
"""Waits that many seconds. A true result asks to give up, an exception is raised from the retry."""


def retry(  # noqa: PLR0913  # a policy
    call: Callable[[], T],
    *,
    on: type[PtmError] | tuple[type[PtmError], ...],
    attempts: int,
    first_wait: float,
    wait: Wait = time.sleep,
    given_wait: Callable[[PtmError], float | None] = lambda _: None,
    progress: Callable[[], int] | None = None,
) -> T:
    """Return what `call` returns, calling it up to `attempts` times while it raises `on`.

    `given_wait` returns the seconds that an error itself asks to wait, None for the policy's own. An attempt after
    which `progress` has grown starts the count again: a long download may break as often as it advances.

    Raises:
        PtmError: the last error, once the attempts are used up; any other exception of `call`, or of `wait`, at once.
    """
    failures = FailuresInRow(reached=progress() if progress else 0)

    def policy(error: Exception) -> bool | float:
        if not isinstance(error, on):
            return False
        failures.add(progress() if progress else 0)
        if failures.count >= attempts:
            return False
        given = given_wait(error)
        return 0.0 if not wait(wait_before(failures.count, first_wait) if given is None else given) else False

    try:
        return call()  # most calls succeed, and a context takes longer than a small file
    except on as error:
        if policy(error) is False:
            raise
    for attempt in stamina.retry_context(on=policy, attempts=None, timeout=None):
        with attempt:
            return call()
    raise AssertionError("a retry ends with a value or an error")


@dataclass
class FailuresInRow:
    """A count of failed attempts, which starts again after an attempt that got further than any before."""

    count: int = 0
    reached: int = 0

    def add(self, reached: int) -> None:
        """Count a failed attempt; `reached` is how far it and those before it got."""
        self.count = 1 if reached > self.reached else self.count + 1
        self.reached = max(reached, self.reached)


def wait_before(failures: int, first_wait: float) -> float:
    """Return the seconds to wait after a number of failures in a row: `first_wait`, doubled each time."""
    return first_wait * 2.0 ** (failures - 1)
