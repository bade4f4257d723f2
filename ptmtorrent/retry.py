"""Retries of transient failures. The only module that repeats a call; adapters never do.

A caller wraps a port from outside: `retry` repeats one call; work of which parts succeed counts the `FailuresInRow` of
each part. Waits double from one attempt to the next and are given to the caller's `wait`, which may end them early or
raise `Interrupted`. An attempt that got further than those before it is no failure: the next one follows at once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ptmtorrent.errors import PtmError
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.records import Emit, Retry, ignore

VISIBLE_SECONDS = 2.0
"""A retry is reported once the attempts since the last progress, and the waits between them, take this long."""

SLOW_STEP_BYTES = 16 << 10
"""An attempt that a slow server ended is progress if it added this much. With the 15 seconds between six attempts that
makes 1 KiB a second, which is the slowest server that is accepted."""

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
    least_step: Callable[[PtmError], int] = lambda _: 1,
    what: str = "",
    emit: Emit = ignore,
    monotonic: Monotonic = time.monotonic,
) -> T:
    """Return what `call` returns, calling it up to `attempts` times while it raises `on`.

    `given_wait` returns the seconds that an error itself asks to wait, None for the policy's own. An attempt after
    which `progress` has grown by the `least_step` for its error starts the count again: a long download may break as
    often as it advances. Retries that take long are reported to `emit`, with `what` is requested.

    Raises:
        PtmError: the last error, once the attempts are used up; any other exception of `call`, or of `wait`, at once.
    """
    failures = FailuresInRow(reached=progress() if progress else 0, since=monotonic())

    def policy(error: Exception) -> bool | float:
        if not isinstance(error, on):
            return False
        failures.add(progress() if progress else 0, least_step(error), now=monotonic())
        if failures.count >= attempts:
            return False
        given = given_wait(error)
        seconds = wait_before(failures.count, first_wait) if given is None else given
        failures.report(what, attempts, seconds, error, emit)
        return 0.0 if not wait(seconds) else False

    try:
        return call()  # most calls succeed, and a context takes longer than a small file
    except on as error:
        if policy(error) is False:
            raise
    import stamina

    for attempt in stamina.retry_context(on=policy, attempts=None, timeout=None):
        with attempt:
            return call()
    raise AssertionError("a retry ends with a value or an error")


def least_step(error: BaseException) -> int:
    """Return how many bytes an attempt that ended with `error` has to add to count as progress.

    A server that does not keep the pace may send a byte now and then.
    """
    import httpx2

    return SLOW_STEP_BYTES if isinstance(error.__cause__, httpx2.TimeoutException) else 1


@dataclass
class FailuresInRow:
    """A count of attempts that failed without progress, since the last one that got further than any before.

    `since` is the monotonic time of that one's end, or of the start.
    """

    count: int = 0
    reached: int = 0
    since: float = 0.0
    now: float = 0.0

    def add(self, reached: int, least_step: int = 1, *, now: float = 0.0) -> None:
        """Count an attempt that broke `now`; `reached` is how far it and those before it got.

        It is no failure if that is `least_step` further than before.
        """
        self.now = now
        if reached >= self.reached + least_step:
            self.count, self.reached, self.since = 0, reached, now
        else:
            self.count += 1

    def report(self, what: str, attempts: int, seconds: float, error: PtmError, emit: Emit) -> None:
        """Report the retry that follows in `seconds`, if the attempts have taken long by then."""
        if self.now - self.since + seconds < VISIBLE_SECONDS:
            return
        emit(Retry(what=what, attempt=self.count + 1, attempts=attempts, seconds=seconds, reason=error.message))


def wait_before(failures: int, first_wait: float) -> float:
    """Return the seconds to wait after a number of failures in a row: `first_wait`, doubled each time; 0 after none."""
    return first_wait * 2.0 ** (failures - 1) if failures else 0.0
