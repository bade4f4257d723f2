import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.hubs.governor import MAX_WAIT_SECONDS, SLACK_SECONDS, Governor
from tests.hubs.conftest import Time


def limits(left: int, seconds: int, quota: int = 500, kind: str = "api") -> dict[str, str]:
    return {
        "ratelimit": f'"{kind}";r={left};t={seconds}',
        "ratelimit-policy": f'"fixed window";"{kind}";q={quota};w=300',
    }


@pytest.fixture
def governor(time: Time) -> Governor:
    return Governor(time.monotonic)


def test_first_request_goes_at_once(governor: Governor) -> None:
    assert governor.take("hub", "api") == 0.0


def test_spent_window_is_waited_out_before_the_hub_refuses(governor: Governor, time: Time) -> None:
    governor.take("hub", "api")
    governor.settle("hub", "api", limits(0, 55))

    assert governor.take("hub", "api") == 55 + SLACK_SECONDS
    time.now += 55 + SLACK_SECONDS
    assert governor.take("hub", "api") == 0.0


def test_requests_in_flight_count_as_spent(governor: Governor) -> None:
    governor.take("hub", "api")
    governor.settle("hub", "api", limits(2, 60))

    assert [governor.take("hub", "api") for _ in range(2)] == [0.0, 0.0]
    assert governor.take("hub", "api") > 0.0


def test_classes_and_hosts_have_budgets_of_their_own(governor: Governor) -> None:
    governor.take("hub", "api")
    governor.settle("hub", "api", limits(0, 55))

    assert governor.take("hub", "resolvers") == 0.0
    assert governor.take("other", "api") == 0.0


def test_reply_that_was_overtaken_does_not_give_requests_back(governor: Governor) -> None:
    for _ in range(3):
        governor.take("hub", "api")
    governor.settle("hub", "api", limits(0, 60))
    governor.settle("hub", "api", limits(1, 60))

    assert governor.take("hub", "api") > 0.0


@pytest.mark.parametrize("retry_after", [0.0, 7.0])
def test_retry_after_alone_closes_the_budget(governor: Governor, retry_after: float) -> None:
    governor.take("hub", "api")
    governor.settle("hub", "api", {}, retry_after)

    assert governor.take("hub", "api") == retry_after + SLACK_SECONDS


def test_absurd_wait_is_not_believed(governor: Governor) -> None:
    governor.take("hub", "api")
    governor.settle("hub", "api", {}, 10.0**9)

    assert governor.take("hub", "api") <= MAX_WAIT_SECONDS + SLACK_SECONDS


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_header_is_survived(limit: str, policy: str) -> None:
    governor = Governor(lambda: 0.0)
    governor.take("hub", "api")
    governor.settle("hub", "api", {"ratelimit": limit, "ratelimit-policy": policy})

    assert governor.take("hub", "api") >= 0.0


@given(st.integers(1, 20), st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_hub_with_a_fixed_window_never_has_to_refuse(quota: int, pauses: list[int]) -> None:
    time = Time()
    governor = Governor(time.monotonic)
    window, start, used = 30.0, time.now, 0
    for seconds in pauses:
        time.now += seconds
        while wait := governor.take("hub", "api"):
            time.now += wait
        if time.now >= start + window:
            start, used = start + (time.now - start) // window * window, 0
        used += 1
        governor.settle("hub", "api", limits(quota - used, int(start + window - time.now), quota))

        assert used <= quota


def test_hub_that_gives_no_quota_at_all_is_asked_again_after_its_window(governor: Governor, time: Time) -> None:
    governor.take("hub", "api")
    governor.settle("hub", "api", limits(0, 5, quota=0))
    time.now += 5 + SLACK_SECONDS

    assert governor.take("hub", "api") == 0.0


@pytest.mark.parametrize("left", ["0", "9" * 5000])
def test_number_without_end_is_waited_for_no_longer_than_any_other(governor: Governor, left: str) -> None:
    governor.take("hub", "api")
    governor.settle("hub", "api", {"ratelimit": f'"api";r={left};t={"9" * 5000}'})

    assert governor.take("hub", "api") <= MAX_WAIT_SECONDS + SLACK_SECONDS
