"""One judgement of ranged replies."""

import httpx2
import pytest

from ptmtorrent.errors import HubError, NotFound, TransportError
from ptmtorrent.http import check_answer, judge_range

URL = "`https://example.org/file`"


def reply(status: int, content_range: str = "", **headers: str) -> httpx2.Response:
    ranged = {"content-range": content_range} if content_range else {}
    return httpx2.Response(status, headers={**ranged, **{key.replace("_", "-"): text for key, text in headers.items()}})


@pytest.mark.parametrize(
    ("response", "first", "last", "size", "skip"),
    [
        (reply(206, "bytes 5-9/100"), 5, 9, None, 0),
        (reply(206, "bytes 5-9/*"), 5, 9, None, 0),
        (reply(206, "bytes 5-99/100"), 5, None, 100, 0),
        (reply(206, "bytes 5-99/100"), 5, None, None, 0),
        (reply(206, "bytes 5-99/*"), 5, None, 100, 0),
        (reply(200), 5, 9, None, 5),
        (reply(200), 0, None, None, 0),
        (reply(416, "bytes */100"), 200, None, 300, None),
    ],
)
def test_right_reply_says_where_the_bytes_are(
    response: httpx2.Response, first: int, last: int | None, size: int | None, skip: int | None
) -> None:
    assert judge_range(response, URL, first=first, last=last, size=size) == skip


@pytest.mark.parametrize(
    ("response", "first", "last", "size"),
    [
        (reply(206, "bytes 0-9/100"), 5, 9, None),
        (reply(206, "bytes 5-8/100"), 5, 9, None),
        (reply(206, "bytes 5-99/100"), 5, None, 101),
        (reply(206, "bytes 0-9/100"), 0, None, None),
        (reply(206), 5, 9, None),
        (reply(206, "bytes */100"), 5, 9, None),
        (reply(200, content_encoding="gzip"), 5, 9, None),
        (reply(500), 5, 9, None),
        (reply(302), 5, 9, None),
    ],
)
def test_other_reply_is_refused_with_the_error_of_the_caller(
    response: httpx2.Response, first: int, last: int | None, size: int | None
) -> None:
    for refused in (TransportError, HubError):
        with pytest.raises(refused, match="example"):
            judge_range(response, URL, first=first, last=last, size=size, refused=refused)


def test_missing_file_is_not_found_whoever_asks() -> None:
    with pytest.raises(NotFound, match="example"):
        judge_range(reply(404), URL, first=0, refused=HubError)


@pytest.mark.parametrize("encoding", ["", " ", "identity", "Identity"])
def test_a_header_that_names_no_encoding_is_none(encoding: str) -> None:
    answer = httpx2.Response(200, headers={"Content-Encoding": encoding}, stream=httpx2.ByteStream(b"x"))
    check_answer(answer, URL, {200})


def test_a_part_without_its_range_is_refused_with_the_reason() -> None:
    with pytest.raises(TransportError, match="no `Content-Range`"):
        judge_range(reply(206), URL, first=0, last=9, size=10)
