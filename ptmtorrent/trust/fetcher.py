"""Adapts a `ChannelReader` to the fetcher interface of python-tuf."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model.bounds import TooManyParts, check_json
from ptmtorrent.trust.metadata import MAX_METADATA_MEMORY


class ReaderFetcher(FetcherInterface):
    """Fetches the files of one channel; URLs are paths below the root of the channel.

    The length limit of the TUF client bounds the read. Other errors of the reader pass through it and the client.
    """

    def __init__(self, reader: ChannelReader) -> None:
        self._reader = reader

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self._read(url, UpdaterConfig().targets_max_length)

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the whole file at `url`, at most `max_length` bytes."""
        yield BytesIO(self._read(url, max_length))

    def _read(self, path: str, limit: int) -> bytes:
        try:
            data = self._reader.read(path, limit=limit)
            check_json(data, MAX_METADATA_MEMORY)
        except TooManyParts as error:
            raise DownloadLengthMismatchError(f"`{path}` is refused: {error}") from error
        except NotFound as error:
            # A 404 for the next root tells the client that it has the newest one.
            raise DownloadHTTPError(f"`{path}` is missing", 404) from error
        except IntegrityError as error:
            raise DownloadLengthMismatchError(f"`{path}` is longer than {limit} bytes") from error
        return data
