"""Read small files of a channel and ranges of its packs, from a folder or from any static web server.

The bytes are untrusted, and every read is bounded by a size that the caller has verified. Files that a release lists
are read by one function, which checks them against the listed size and hash.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar
from urllib.parse import quote

import httpx2
from blake3 import blake3

from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import disk_errors, open_regular
from ptmtorrent.errors import IntegrityError, NotFound, TransportError
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
from ptmtorrent.model.ids import check_path
from ptmtorrent.model.release import FileRef, Release
from ptmtorrent.retry import retry

CHUNK_BYTES = 256 << 10
ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.1

T = TypeVar("T")


class LocalReader:
    """Reads a channel that is a local folder."""

    def __init__(self, folder: Path) -> None:
        self.location = str(folder)
        self._folder = folder

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        data = self._read(path, 0, limit + 1)
        if len(data) > limit:
            raise IntegrityError(f"`{self._folder / path}` is longer than the expected {limit} bytes")
        return data

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        data = self._read(path, offset, length)
        if len(data) < length:
            raise IntegrityError(f"`{self._folder / path}` ends before byte {offset + length}")
        return data

    def _read(self, path: str, offset: int, length: int) -> bytes:
        check_path(path)
        file_path = self._folder / path
        try:
            with os.fdopen(open_regular(file_path), "rb") as file:
                file.seek(offset)
                return file.read(length)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFound(f"the channel `{self._folder}` has no file `{path}`") from error
        except OSError as error:
            raise TransportError(f"`{file_path}` could not be read: {error.strerror or error}") from error


class HttpReader:
    """Reads a channel from a static web server. If the server ignores Range, files are read from their start."""

    def __init__(self, url: str, client: httpx2.Client) -> None:
        self.location = url.rstrip("/")
        self._client = client

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        url = url_of(self.location, path)
        with translate_errors(f"`{url}`"), self._client.stream("GET", url) as response:
            check_answer(response, f"`{url}`", {OK})
            too_long = IntegrityError(f"`{url}` is longer than the expected {limit} bytes")
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
        with translate_errors(f"`{url}`"), self._client.stream("GET", url, headers=headers) as response:
            skip = None
            if not 0 <= stated_total(response) < offset + length:
                skip = judge_range(response, f"`{url}`", first=offset, last=offset + length - 1)
            if skip is None:
                raise IntegrityError(f"`{url}` ends before byte {offset + length}")
            data = _take(response, length, skip=skip)
        if len(data) < length:
            raise IntegrityError(f"`{url}` ends before byte {offset + length}")
        return data


class RetryingReader:
    """Retries failed reads of `reader`, three attempts in total; a missing file is not retried."""

    def __init__(self, reader: ChannelReader) -> None:
        self.location = reader.location
        self._reader = reader

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        return _retry(lambda: self._reader.read(path, limit=limit))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        return _retry(lambda: self._reader.read_range(path, offset, length))


class CountingReader:
    """Counts the requests to `reader`, and the bytes that it returned; used from several threads."""

    def __init__(self, reader: ChannelReader) -> None:
        self.location = reader.location
        self.requests = 0
        self.bytes = 0
        self._reader = reader
        self._lock = Lock()

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        return self._count(lambda: self._reader.read(path, limit=limit))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        return self._count(lambda: self._reader.read_range(path, offset, length))

    def _count(self, read: Callable[[], bytes]) -> bytes:
        with self._lock:
            self.requests += 1
        data = read()
        with self._lock:
            self.bytes += len(data)
        return data


def url_of(base: str, path: str) -> str:
    """Return the URL of the channel's file `path`, quoted."""
    check_path(path)
    return f"{base.rstrip('/')}/{quote(path)}"


def _take(response: httpx2.Response, length: int, *, skip: int = 0) -> bytes:
    """Return at most `length` bytes of the body after the first `skip`; read no further."""
    data = bytearray()
    seconds = DOCUMENT_SECONDS + length / DOCUMENT_RATE
    until = time.monotonic() + seconds
    for part in response.iter_raw():
        data += part[skip:]
        skip = max(0, skip - len(part))
        if time.monotonic() > until:
            raise TransportError(f"`{response.url}` took longer than {seconds:.0f} seconds")
        if len(data) >= length:
            break
    return bytes(data[:length])


def _retry(read: Callable[[], T]) -> T:
    return retry(read, on=TransportError, attempts=ATTEMPTS, first_wait=FIRST_WAIT_SECONDS)


COPY_BYTES = 8 << 20
MAX_LISTED_BYTES = 1 << 30
"""Limit of a listed file that is read whole (1 GiB): in an archived release the sizes of tables are unsigned."""


def read_listed(reader: ChannelReader, release: Release, ref: FileRef) -> bytes:
    """Return the bytes of a file that `release` lists; never reads more than its listed size.

    Raises:
        IntegrityError: the file has another size or hash.
        NotFound: this channel does not hold the file; a mirror may hold any part.
        TransportError, StoreError: the reader's own error.
    """
    path = _check_listed(release, ref)
    data = reader.read(path, limit=ref.size)
    if len(data) != ref.size or blake3(data).hexdigest() != ref.blake3:
        raise _wrong(reader, release, path)
    return data


def copy_listed(reader: ChannelReader, release: Release, ref: FileRef, target: Path) -> None:
    """Write a file that `release` lists to `target`, part by part.

    Raises:
        As `read_listed`; NoSpace: the disk is full.
    """
    path, hasher = _check_listed(release, ref), blake3()
    with disk_errors(target), target.open("wb") as file:
        for offset in range(0, ref.size, COPY_BYTES):
            data = reader.read_range(path, offset, min(COPY_BYTES, ref.size - offset))
            hasher.update(data)
            file.write(data)
    if hasher.hexdigest() != ref.blake3:
        raise _wrong(reader, release, path)


def _check_listed(release: Release, ref: FileRef) -> str:
    path = ref.path
    if ref.size > MAX_LISTED_BYTES:
        raise IntegrityError(
            f"release `{release.name}` lists `{path}` with {ref.size} bytes, which exceeds {MAX_LISTED_BYTES}"
        )
    return path


def _wrong(reader: ChannelReader, release: Release, path: str) -> IntegrityError:
    return IntegrityError(
        f"`{path}` of channel `{reader.location}` is not the file that release `{release.name}` lists",
        hint="use another mirror; this one is damaged",
    )
