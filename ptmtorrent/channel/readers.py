"""Read a channel's small files, and ranges of its packs, from a folder or from any static web server.

Nothing read here is trusted; every answer is bounded by a number the caller has reason to believe.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx2
import stamina

from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.errors import IntegrityError, NotFound, TransportError
from ptmtorrent.http import ours
from ptmtorrent.model.names import check_path

OK, PARTIAL, UNSATISFIABLE = 200, 206, 416
MISSING = frozenset({404, 410})
CHUNK_BYTES = 256 << 10
TRIES = 3
MAX_DIGITS = 19

T = TypeVar("T")


class LocalReader:
    """Reads a channel that is a folder here."""

    def __init__(self, folder: Path) -> None:
        self.location = str(folder)
        self._folder = folder

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        data = self._read(path, 0, limit + 1)
        if len(data) > limit:
            raise IntegrityError(f"`{self._folder / path}` is longer than the {limit} bytes it should have")
        return data

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        data = self._read(path, offset, length)
        if len(data) < length:
            raise IntegrityError(f"`{self._folder / path}` ends before byte {offset + length}")
        return data

    def _read(self, path: str, offset: int, length: int) -> bytes:
        check_path(path)
        place = self._folder / path
        try:
            with place.open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFound(f"the channel `{self._folder}` has no file `{path}`") from error
        except OSError as error:
            raise TransportError(f"`{place}` could not be read: {error.strerror or error}") from error


class HttpReader:
    """Reads a channel from a static web server. A server that ignores Range is read from the start of the file."""

    def __init__(self, url: str, client: httpx2.Client) -> None:
        self.location = url.rstrip("/")
        self._client = client

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        url = url_of(self.location, path)
        with ours(f"`{url}`"), self._client.stream("GET", url) as response:
            check_answer(response, url, {OK})
            too_long = IntegrityError(f"`{url}` is longer than the {limit} bytes it should have")
            if stated_length(response) > limit:
                raise too_long
            data = _take(response, limit + 1)
        if len(data) > limit:
            raise too_long
        return data

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        if length == 0:
            return b""
        url = url_of(self.location, path)
        headers = {"Range": spell_range(offset, length)}
        with ours(f"`{url}`"), self._client.stream("GET", url, headers=headers) as response:
            if response.status_code == UNSATISFIABLE or 0 <= stated_total(response) < offset + length:
                raise IntegrityError(f"`{url}` ends before byte {offset + length}")
            check_answer(response, url, {OK, PARTIAL})
            if response.status_code == PARTIAL:
                check_content_range(response, url, offset, length)
            data = _take(response, length, skip=offset if response.status_code == OK else 0)
        if len(data) < length:
            raise IntegrityError(f"`{url}` ends before byte {offset + length}")
        return data


class PatientReader:
    """Asks `reader` again, up to three times in all, when it could not be read; "no such file" is taken at once."""

    def __init__(self, reader: ChannelReader) -> None:
        self.location = reader.location
        self._reader = reader

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        return _patiently(lambda: self._reader.read(path, limit=limit))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        return _patiently(lambda: self._reader.read_range(path, offset, length))


def url_of(base: str, path: str) -> str:
    """Return the URL of the channel's file `path`, quoted."""
    check_path(path)
    return f"{base.rstrip('/')}/{quote(path)}"


def spell_range(offset: int, length: int) -> str:
    """Spell `length` bytes from `offset` on as RFC 9110 section 14.1.2 does."""
    return f"bytes={offset}-{offset + length - 1}"


def check_answer(response: httpx2.Response, url: str, accepted: set[int]) -> None:
    """Refuse an answer that is not the bytes of a file.

    Raises:
        NotFound: the server has no such file.
        TransportError: any other status that is not `accepted`, or a body that is encoded although identity was asked.
    """
    if response.status_code in MISSING:
        raise NotFound(f"there is no `{url}`")
    if response.status_code not in accepted:
        raise TransportError(f"`{url}` answered {response.status_code} {response.reason_phrase}".rstrip())
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise TransportError(f"`{url}` was sent with the encoding `{encoding}`, although none was asked for")


def check_content_range(response: httpx2.Response, url: str, offset: int, length: int) -> None:
    """Refuse a 206 whose `Content-Range` is not what was asked for.

    Raises:
        TransportError: naming the URL.
    """
    said = response.headers.get("content-range", "").strip()
    if said.partition("/")[0] != f"bytes {offset}-{offset + length - 1}":
        raise TransportError(f"`{url}` was asked for {spell_range(offset, length)} and answered `{said}`")


def stated_total(response: httpx2.Response) -> int:
    """Return the size of the whole file as a `Content-Range` states it; -1 where it does not."""
    return _count(response.headers.get("content-range", "").rpartition("/")[2].strip())


def stated_length(response: httpx2.Response) -> int:
    """Return the length of the body as the server states it; -1 where it does not."""
    return _count(response.headers.get("content-length", ""))


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else -1


def _take(response: httpx2.Response, length: int, *, skip: int = 0) -> bytes:
    """Return at most `length` bytes of the body after the first `skip`, and read no further."""
    data = bytearray()
    for part in response.iter_raw(CHUNK_BYTES):
        data += part[skip:]
        skip = max(0, skip - len(part))
        if len(data) >= length:
            break
    return bytes(data[:length])


def _patiently(read: Callable[[], T]) -> T:
    for attempt in stamina.retry_context(on=TransportError, attempts=TRIES, wait_initial=0.1, wait_max=2.0):
        with attempt:
            return read()
    raise AssertionError("a retry ends with a value or an error")
