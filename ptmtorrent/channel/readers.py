"""Read small files of a channel and ranges of its packs: from a folder, with retries, and counted.

The bytes are untrusted, and every read is bounded by a size that the caller has verified. Files that a release lists
are read by one function, which checks them against the listed size and hash.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from urllib.parse import quote

from blake3 import blake3

from ptmtorrent.channel.paths import METADATA
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import disk_errors, open_regular
from ptmtorrent.errors import IntegrityError, NotFound, TransportError
from ptmtorrent.model.ids import check_path
from ptmtorrent.model.records import Emit, ignore
from ptmtorrent.model.release import FileRef, Release
from ptmtorrent.retry import least_step, retry

ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.1


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


class Broken(TransportError):
    """A read that ended early: what it received from where it was to begin, and the size of the file (-1: unknown)."""

    def __init__(self, message: str, *, hint: str | None = None, received: bytes = b"", total: int = -1) -> None:
        super().__init__(message, hint=hint)
        self.received = received
        self.total = total


class RetryingReader:
    """Retries failed reads of `reader`, three attempts in total; a missing file is not retried.

    An attempt that brings a byte more does not count: a read that broke continues where it ended. Retries that take
    long are reported to `emit`.
    """

    def __init__(self, reader: ChannelReader, emit: Emit = ignore) -> None:
        self.location = reader.location
        self._reader = reader
        self._emit = emit

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        return self._retry(path, lambda: self._reader.read(path, limit=limit), 0, None)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        return self._retry(path, lambda: self._reader.read_range(path, offset, length), offset, length)

    def _retry(self, path: str, read: Callable[[], bytes], offset: int, length: int | None) -> bytes:
        """Return what `read` returns. Once a part of it and its `length` are known, only the rest is requested."""
        received = bytearray()

        def attempt() -> bytes:
            nonlocal length
            try:
                if received and length is not None:
                    at = offset + len(received)
                    return bytes(received) + self._reader.read_range(path, at, length - len(received))
                return read()
            except Broken as broken:
                received.extend(broken.received)
                length = broken.total if length is None and broken.total >= 0 else length
                if length is None:
                    received.clear()
                raise

        return retry(
            attempt,
            on=TransportError,
            attempts=ATTEMPTS,
            first_wait=FIRST_WAIT_SECONDS,
            progress=lambda: len(received),
            least_step=least_step,
            what=f"`{path}` of `{self.location}`",
            emit=self._emit,
        )


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


def url_of(base: str, path: str, *, quoted: bool = False) -> str:
    """Return the URL of the channel's file `path`, which may be `quoted` already.

    The names of TUF documents have the name of a role in them, which TUF has quoted already: `metadata/1.a%2Fb.json`.
    """
    check_path(path)
    safe = "/%" if quoted or path.startswith(f"{METADATA}/") else "/"
    return f"{base.rstrip('/')}/{quote(path, safe=safe)}"


COPY_BYTES = 8 << 20
MAX_LISTED_BYTES = 1 << 30
"""Limit of a listed file that is read whole (1 GiB): in an archived release the sizes of tables are unsigned."""


def read_listed(reader: ChannelReader, release: Release, ref: FileRef) -> bytes:
    """Return the bytes of a file that `release` lists; never reads more than its listed size.

    A wrong answer may be the only one of its kind, so the file is read once more.

    Raises:
        IntegrityError: the file has another size or hash.
        NotFound: this channel does not hold the file; a mirror may hold any part.
        TransportError, StoreError: the reader's own error.
    """
    path = _check_listed(release, ref)
    for last in (False, True):
        try:
            data = reader.read(path, limit=ref.size)
        except IntegrityError:
            if last:
                raise
            continue
        if len(data) == ref.size and blake3(data).hexdigest() == ref.blake3:
            return data
    raise _wrong(reader, release, path)


def copy_listed(reader: ChannelReader, release: Release, ref: FileRef, target: Path) -> None:
    """Write a file that `release` lists to `target`, part by part; twice if its bytes are wrong.

    Raises:
        As `read_listed`; NoSpace: the disk is full.
    """
    path = _check_listed(release, ref)
    for last in (False, True):
        try:
            if _copy(reader, path, ref.size, target) == ref.blake3:
                return
        except IntegrityError:
            if last:
                raise
    raise _wrong(reader, release, path)


def _copy(reader: ChannelReader, path: str, size: int, target: Path) -> str:
    """Write a file of a channel to `target`; return its hash."""
    hasher = blake3()
    with disk_errors(target), target.open("wb") as file:
        for offset in range(0, size, COPY_BYTES):
            data = reader.read_range(path, offset, min(COPY_BYTES, size - offset))
            hasher.update(data)
            file.write(data)
    return hasher.hexdigest()


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
