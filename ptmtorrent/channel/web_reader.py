"""Read small files of a channel and ranges of its packs from any static web server."""

import time

import httpx2

from ptmtorrent.channel.readers import Broken, url_of
from ptmtorrent.errors import IntegrityError, TransportError
from ptmtorrent.http import (
    DOCUMENT_RATE,
    DOCUMENT_SECONDS,
    OK,
    check_answer,
    judge_range,
    spell_range,
    stated_length,
    stated_total,
    translate_errors,
)


class HttpReader:
    """Reads a channel from a static web server. If the server ignores Range, files are read from their start.

    A read that ends early raises `Broken`. With `quoted`, all paths are quoted already, not only those of metadata.
    """

    def __init__(self, url: str, client: httpx2.Client, *, quoted: bool = False) -> None:
        self.location = url.rstrip("/")
        self._client = client
        self._quoted = quoted

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        url = url_of(self.location, path, quoted=self._quoted)
        with translate_errors(f"`{url}`"), self._client.stream("GET", url) as response:
            check_answer(response, f"`{url}`", {OK})
            if judge_range(response, f"`{url}`", first=0):
                raise IntegrityError(f"`{url}` was sent without its first bytes")
            too_long = IntegrityError(f"`{url}` is longer than the expected {limit} bytes")
            if stated_length(response) > limit:
                raise too_long
            data = _take(response, limit + 1, total=stated_length(response))
        if len(data) > limit:
            raise too_long
        return data

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        if length == 0:
            return b""
        url = url_of(self.location, path, quoted=self._quoted)
        headers = {"Range": spell_range(offset, length)}
        with translate_errors(f"`{url}`"), self._client.stream("GET", url, headers=headers) as response:
            skip = None
            if not 0 <= stated_total(response) < offset + length:
                skip = judge_range(response, f"`{url}`", first=offset, last=offset + length - 1)
            if skip is None:
                raise IntegrityError(f"`{url}` ends before byte {offset + length}")
            total = stated_total(response)
            data = _take(response, length, skip=skip, total=total)
        if len(data) < length and total >= offset + length:
            raise Broken(f"`{url}` ended {length - len(data)} bytes early", received=data, total=total)
        if len(data) < length:
            raise IntegrityError(f"`{url}` ends before byte {offset + length}")
        return data


def _take(response: httpx2.Response, length: int, *, skip: int = 0, total: int) -> bytes:
    """Return at most `length` bytes of the body after the first `skip`; read no further.

    Raises:
        Broken: the body ended early, of a file of `total` bytes.
    """
    data = bytearray()
    seconds = DOCUMENT_SECONDS + length / DOCUMENT_RATE
    until = time.monotonic() + seconds
    try:
        for part in response.iter_raw():
            data += part[skip:]
            skip = max(0, skip - len(part))
            if time.monotonic() > until:
                raise TransportError(f"`{response.url}` took longer than {seconds:.0f} seconds")
            if len(data) >= length:
                break
    except (httpx2.TransportError, httpx2.StreamError) as error:
        message = f"`{response.url}` could not be read: {str(error) or type(error).__name__}"
        raise Broken(message, received=bytes(data[:length]), total=total) from error
    return bytes(data[:length])
