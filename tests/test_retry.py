"""The one retry: counts attempts, waits twice as long each time, resets on progress, and hears a stop."""

import pytest

from ptmtorrent.errors import Interrupted, NotFound, RateLimited, TransportError
from ptmtorrent.model.records import Event, Retry
from ptmtorrent.retry import FailuresInRow, retry
from ptmtorrent.stop import Stop


class Failing:
    """Fails `times` times, then returns how often it was called."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise TransportError("the server is away")
        return self.calls


def test_retry_waits_twice_as_long_each_time() -> None:
    waits: list[float] = []
    assert retry(Failing(3), on=TransportError, attempts=4, first_wait=0.5, wait=waits.append) == 4
    assert waits == [0.5, 1.0, 2.0]


def test_retry_ends_with_the_last_error() -> None:
    call, waits = Failing(9), []
    with pytest.raises(TransportError, match="away"):
        retry(call, on=TransportError, attempts=3, first_wait=0.5, wait=waits.append)
    assert (call.calls, waits) == (3, [0.5, 1.0])


def test_other_errors_are_raised_at_once() -> None:
    call = Failing(1)
    with pytest.raises(TransportError):
        retry(call, on=NotFound, attempts=3, first_wait=0.5, wait=lambda _: pytest.fail("it waited"))
    assert call.calls == 1


def test_attempts_that_advance_do_not_count() -> None:
    call, waits = Failing(6), []
    reached = retry(call, on=TransportError, attempts=2, first_wait=1.0, wait=waits.append, progress=lambda: call.calls)
    assert (reached, waits) == (7, [0.0] * 6)


def test_error_that_states_a_wait_is_waited_for_as_long() -> None:
    calls, waits = [0], []

    def call() -> int:
        calls[0] += 1
        if calls[0] == 1:
            raise RateLimited("too many", retry_after=7.0)
        return calls[0]

    def given(error: object) -> float | None:
        return error.retry_after if isinstance(error, RateLimited) else None

    assert retry(call, on=RateLimited, attempts=2, first_wait=0.5, wait=waits.append, given_wait=given) == 2
    assert waits == [7.0]


def test_stop_while_waiting_ends_the_retry() -> None:
    stop, call = Stop(), Failing(9)

    def wait(_: float) -> None:
        stop.set()
        stop.raise_if_set("waiting")

    with pytest.raises(Interrupted, match="waiting was interrupted"):
        retry(call, on=TransportError, attempts=9, first_wait=0.5, wait=wait)
    assert call.calls == 1


def test_failures_in_a_row_start_again_with_an_attempt_that_gets_further() -> None:
    failures, counts = FailuresInRow(), []
    for reached in (0, 0, 5, 3, 5, 6):
        failures.add(reached)
        counts.append(failures.count)
    assert counts == [1, 2, 0, 1, 2, 0]


def test_attempt_of_a_slow_server_has_to_get_a_least_step_further() -> None:
    failures, counts = FailuresInRow(), []
    for reached in (1, 16, 17, 33):
        failures.add(reached, 16)
        counts.append(failures.count)
    assert counts == [1, 0, 1, 0]


def test_retries_are_reported_once_they_take_two_seconds() -> None:
    events: list[Event] = []
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    call = Failing(4)
    retry(
        call,
        on=TransportError,
        attempts=5,
        first_wait=0.5,
        wait=wait,
        what="`table`",
        emit=events.append,
        monotonic=lambda: now[0],
    )
    assert events == [
        Retry(what="`table`", attempt=number, attempts=5, seconds=seconds, reason="the server is away")
        for number, seconds in ((4, 2.0), (5, 4.0))
    ]


def test_progress_makes_retries_short_again() -> None:
    events: list[Event] = []
    now = [0.0]

    def call() -> int:
        now[0] += 1.5
        if now[0] < 9:
            raise TransportError("the server is away")
        return 1

    retry(
        call,
        on=TransportError,
        attempts=2,
        first_wait=0.5,
        wait=lambda _: None,
        progress=lambda: int(now[0]),
        emit=events.append,
        monotonic=lambda: now[0],
    )
    assert events == []


def test_a_single_attempt_is_not_repeated() -> None:
    call = Failing(1)
    with pytest.raises(TransportError, match="away"):
        retry(call, on=TransportError, attempts=1, first_wait=0.5, wait=lambda _: pytest.fail("it waited"))
    assert call.calls == 1


def test_a_wait_that_gives_up_ends_the_retry_with_the_error() -> None:
    call = Failing(9)
    with pytest.raises(TransportError, match="away"):
        retry(call, on=TransportError, attempts=9, first_wait=0.5, wait=lambda _: True)
    assert call.calls == 1
