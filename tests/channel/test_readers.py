import httpx2
import pytest

from ptmtorrent.http import stated_length, stated_total


@pytest.mark.parametrize(
    ("stated", "total"),
    [("bytes 0-1/10", 10), ("bytes 0-1/*", -1), ("bytes 0-1/" + "9" * 5000, -1), ("bytes 0-1/²", -1), ("", -1)],
)
def test_a_stated_total_is_a_number_or_none(stated: str, total: int) -> None:
    response = httpx2.Response(206, headers=[(b"content-range", stated.encode("latin-1"))])
    assert stated_total(response) == total


def test_an_absurd_length_is_none() -> None:
    response = httpx2.Response(200, headers=[(b"content-length", b"9" * 5000)])
    assert stated_length(response) == -1
