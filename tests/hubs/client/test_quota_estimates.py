import pytest

from ptmtorrent.hubs.client.rate_limiter import Limit, file_limit


def test_popular_packages_of_hugging_face_take_two_and_a_half_hours_with_a_free_account() -> None:
    limit = file_limit("huggingface", {"api": (1_000, 300)})

    assert limit == Limit(requests=5_000, seconds=300)
    assert limit.hours(146_000) == pytest.approx(2.43, abs=0.01)


def test_stated_limits_take_precedence_over_documented_ones() -> None:
    assert file_limit("huggingface", {"api": (500, 300), "resolvers": (7, 60)}) == Limit(requests=7, seconds=60)


@pytest.mark.parametrize("quotas", [{}, {"api": (501, 300)}])
def test_hub_without_stated_limits_has_no_known_limit(quotas: dict[str, tuple[int, int]]) -> None:
    assert file_limit("huggingface", quotas) is None
    assert file_limit("onnx", quotas) is None
