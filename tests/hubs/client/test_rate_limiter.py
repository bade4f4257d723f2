import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.hubs.client.rate_limiter import MAX_WAIT_SECONDS, SLACK_SECONDS, RateLimiter
from ptmtorrent.state.rate_windows import Budget
from tests.hubs.conftest import Time

API = Budget("hub", "api")


def limits(left: int, seconds: int, quota: int = 500, kind: str = "api") -> dict[str, str]:
    return {
        "ratelimit": f'"{kind}";r={left};t={seconds}',
        "ratelimit-policy": f'"fixed window";"{kind}";q={quota};w=300',
    }


def told(limiter: RateLimiter, headers: dict[str, str] | None, budget: Budget = API, sent: float = 1000.0) -> None:
    assert limiter.take(budget) == 0.0
    limiter.settle(budget, headers, sent=sent)


@pytest.fixture
def limiter(time: Time) -> RateLimiter:
    return RateLimiter(time.monotonic)


def test_first_request_goes_at_once(limiter: RateLimiter) -> None:
    assert limiter.take(API) == 0.0


def test_spent_window_is_waited_out_before_the_hub_refuses(limiter: RateLimiter, time: Time) -> None:
    limiter.take(API)
    limiter.settle(API, limits(0, 55), sent=1000.0)

    assert limiter.take(API) == 55 + SLACK_SECONDS
    time.now += 55 + SLACK_SECONDS
    assert limiter.take(API) == 0.0


def test_requests_in_flight_count_as_spent(limiter: RateLimiter) -> None:
    limiter.take(API)
    limiter.settle(API, limits(2, 60), sent=1000.0)

    assert [limiter.take(API) for _ in range(2)] == [0.0, 0.0]
    assert limiter.take(API) == 60 + SLACK_SECONDS


def test_classes_and_hosts_have_budgets_of_their_own(limiter: RateLimiter) -> None:
    limiter.take(API)
    limiter.settle(API, limits(0, 55), sent=1000.0)

    assert limiter.take(Budget("hub", "resolvers")) == 0.0
    assert limiter.take(Budget("other", "api")) == 0.0


def test_reply_that_was_overtaken_does_not_give_requests_back(limiter: RateLimiter) -> None:
    told(limiter, limits(2, 60))
    limiter.take(API)
    limiter.take(API)
    limiter.settle(API, limits(0, 60), sent=1000.0)
    limiter.settle(API, limits(1, 60), sent=1000.0)

    assert limiter.take(API) == 60 + SLACK_SECONDS


@pytest.mark.parametrize("retry_after", [0.0, 7.0])
def test_retry_after_closes_the_budget(limiter: RateLimiter, retry_after: float) -> None:
    limiter.take(API)
    limiter.settle(API, {}, sent=1000.0, refused=True, retry_after=retry_after)

    assert limiter.take(API) == retry_after + SLACK_SECONDS


def test_absurd_wait_is_bounded(limiter: RateLimiter) -> None:
    limiter.take(API)
    limiter.settle(API, {}, sent=1000.0, refused=True, retry_after=10.0**9)

    assert 0.0 < (limiter.take(API) or 0.0) <= MAX_WAIT_SECONDS + SLACK_SECONDS


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_header_is_survived(limit: str, policy: str) -> None:
    limiter = RateLimiter(lambda: 0.0)
    limiter.take(API)
    limiter.settle(API, {"ratelimit": limit, "ratelimit-policy": policy}, sent=0.0)

    wait = limiter.take(API)
    assert wait is not None
    assert wait >= 0.0


@given(st.integers(1, 20), st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_hub_with_a_fixed_window_never_has_to_refuse(quota: int, pauses: list[int]) -> None:
    time = Time()
    limiter = RateLimiter(time.monotonic)
    window, start, used = 30.0, time.now, 0
    for seconds in pauses:
        time.now += seconds
        while wait := limiter.take(API):
            time.now += wait
        if time.now >= start + window:
            start, used = start + (time.now - start) // window * window, 0
        used += 1
        limiter.settle(API, limits(quota - used, int(start + window - time.now), quota), sent=time.now)

        assert used <= quota


def test_hub_with_a_quota_of_zero_gets_a_request_after_its_window(limiter: RateLimiter, time: Time) -> None:
    limiter.take(API)
    limiter.settle(API, limits(0, 5, quota=0), sent=1000.0)
    time.now += 5 + SLACK_SECONDS

    assert limiter.take(API) == 0.0


@pytest.mark.parametrize("left", ["0", "9" * 5000])
def test_endless_number_does_not_extend_the_wait(limiter: RateLimiter, left: str) -> None:
    limiter.take(API)
    limiter.settle(API, {"ratelimit": f'"api";r={left};t={"9" * 5000}'}, sent=1000.0)

    assert (limiter.take(API) or 0.0) <= MAX_WAIT_SECONDS + SLACK_SECONDS


def test_one_request_is_in_flight_until_a_reply_states_what_is_left(limiter: RateLimiter) -> None:
    before = [limiter.take(API), limiter.take(API)]
    limiter.settle(API, limits(10, 60), sent=1000.0)

    assert before == [0.0, None]
    assert [limiter.take(API), limiter.take(API)] == [0.0, 0.0]


def test_each_window_starts_with_one_request(limiter: RateLimiter, time: Time) -> None:
    told(limiter, limits(10, 60))
    time.now += 60 + SLACK_SECONDS

    assert [limiter.take(API), limiter.take(API)] == [0.0, None]


def test_lost_reply_states_nothing_and_counts(limiter: RateLimiter) -> None:
    told(limiter, None)
    assert [limiter.take(API), limiter.take(API)] == [0.0, None]
    limiter.settle(API, limits(1, 60), sent=1000.0)
    told(limiter, None)

    assert limiter.take(API) == 60 + SLACK_SECONDS


def test_hub_without_stated_limits_is_not_limited(limiter: RateLimiter) -> None:
    told(limiter, {})

    assert [limiter.take(API) for _ in range(5)] == [0.0] * 5


def test_refusal_without_limits_admits_one_request(limiter: RateLimiter) -> None:
    told(limiter, {})
    limiter.take(API)
    limiter.settle(API, {}, sent=1000.0, refused=True)

    assert [limiter.take(API), limiter.take(API)] == [0.0, None]


def test_short_retry_after_does_not_reset_a_spent_window(limiter: RateLimiter, time: Time) -> None:
    limiter.take(API)
    limiter.settle(API, limits(0, 200), sent=1000.0, refused=True, retry_after=1.0)
    time.now += 1 + SLACK_SECONDS

    assert limiter.take(API) == 199.0


def test_reply_of_an_ended_window_changes_nothing(limiter: RateLimiter, time: Time) -> None:
    told(limiter, limits(10, 5))
    assert [limiter.take(API), limiter.take(API)] == [0.0, 0.0]
    time.now += 5
    limiter.settle(API, limits(0, 300), sent=time.now)
    limiter.settle(API, limits(400, 1), sent=1004.0)

    assert limiter.take(API) == 301.0


def test_reply_to_a_request_of_the_last_window_does_not_apply_to_the_next(limiter: RateLimiter, time: Time) -> None:
    told(limiter, limits(10, 5))
    assert limiter.take(API) == 0.0
    time.now += 5 + SLACK_SECONDS
    early = limiter.take(API)
    limiter.settle(API, limits(9, 1), sent=1005.0)

    assert early is None
    assert [limiter.take(API), limiter.take(API)] == [0.0, None]


def test_slow_reply_does_not_override_a_newer_one(limiter: RateLimiter, time: Time) -> None:
    told(limiter, limits(9, 100))
    limiter.take(API)
    limiter.take(API)
    time.now += 10
    limiter.settle(API, limits(0, 90), sent=time.now)
    limiter.settle(API, limits(8, 100), sent=1000.0)

    assert limiter.take(API) == 91.0


def test_accounts_have_budgets_of_their_own(limiter: RateLimiter) -> None:
    told(limiter, limits(0, 55))

    assert limiter.take(Budget("hub", "api", "somebody")) == 0.0


@given(workers=st.integers(1, 40), quota=st.integers(1, 500))
def test_workers_that_share_a_window_never_send_more_than_its_quota(workers: int, quota: int) -> None:
    time, sent = Time(), 0
    for each in (RateLimiter(time.monotonic, share=workers) for _ in range(workers)):
        while each.take(API) == 0.0:
            sent += 1
            each.settle(API, limits(max(0, quota - sent), 60, quota), sent=time.now)
            if sent > quota:  # the first request of each finds out about the window
                break
    assert sent <= max(quota, workers)
