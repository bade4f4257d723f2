"""Discussions and pull requests of a Hugging Face package, as the hub's API returns them.

Source: Hugging Face Hub API, `/api/models/{id}/discussions` (a list in pages) and `.../discussions/{number}`.
"""

from collections.abc import Callable, Iterator

import msgspec

from ptmtorrent.errors import AuthError, HubError, NotFound
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.text import count

MAX_PAGES = 1000
SWITCHED_OFF = b"null"
"""The answer that is kept for a package with discussions disabled: the hub refuses to list them."""


class _Brief(msgspec.Struct):
    num: int


class _Page(msgspec.Struct):
    discussions: list[_Brief]
    count: int
    start: int


def read_discussions(read: Callable[[str, str], bytes], address: str, what: str) -> Iterator[bytes]:
    """Yield the pages of the list at `address`, then each discussion with all its events.

    `read` is called with an address and a description of it for messages. Discussions that are deleted after their page
    was read are left out.

    Raises:
        HubError: an answer is not a list of discussions, or the list has too many pages.
    """
    numbers: list[int] = []
    for index in range(MAX_PAGES):
        try:
            body = read(f"{address}?p={index}", what)
        except AuthError:
            if index:
                raise
            yield SWITCHED_OFF
            return
        yield body
        page = _decode(body, what)
        numbers += [each.num for each in page.discussions]
        if not page.discussions or page.start + len(page.discussions) >= page.count:
            break
    else:
        raise HubError(f"{what} could not be listed: more than {count(MAX_PAGES, 'page')}")
    for number in dict.fromkeys(numbers):
        try:
            yield read(f"{address}/{number}", f"{what}, number {number},")
        except NotFound:
            continue


def _decode(body: bytes, what: str) -> _Page:
    try:
        return decode_json(body, _Page)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"{what} could not be read: {error}") from error
