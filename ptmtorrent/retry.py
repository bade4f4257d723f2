"""Retries of transient failures. The only module that repeats a call; adapters never do.

A caller wraps a port from outside: `retry` repeats one call, `rounds` repeats work of which parts succeed. Waits double
from one attempt to the next and are given to the caller's `wait`, which may end them early or raise `Interrupted`.
"""

import time
from collections.abc import Callable, Iterator
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
    failures = 0
    reached = progress() if progress else 0

    def policy(error: Exception) -> bool | float:
        nonlocal failures, reached
        if not isinstance(error, on):
            return False
        now = progress() if progress else 0
        failures = 1 if now > reached else failures + 1
        reached = max(now, reached)
        if failures >= attempts:
            return False
        given = given_wait(error)
        return 0.0 if not wait(_wait_before(failures, first_wait) if given is None else given) else False

    try:
        return call()  # most calls succeed, and a context takes longer than a small file
    except on as error:
        if policy(error) is False:
            raise
    for attempt in stamina.retry_context(on=policy, attempts=None, timeout=None):
        with attempt:
            return call()
    raise AssertionError("a retry ends with a value or an error")


def rounds(attempts: int, *, first_wait: float, wait: Wait) -> Iterator[bool]:
    """Yield up to `attempts` times, waiting in between; the value says whether another round may follow."""
    for number in range(1, attempts + 1):
        yield number < attempts
        if number < attempts and wait(_wait_before(number, first_wait)):
            return


def _wait_before(failures: int, first_wait: float) -> float:
    """Return the seconds to wait after a number of failures in a row: `first_wait`, doubled each time."""
    return first_wait * 2.0 ** (failures - 1)
