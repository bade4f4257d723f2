"""Completes partly downloaded files with Range requests; the next run continues after a kill or a power cut.

A file is written in order, and synced at every multiple of 4 MiB before further bytes are written. So a part of `s`
bytes is durable up to the last multiple of 4 MiB below `s`, where the next run continues without any other record.
"""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx2
import msgspec

from ptmtorrent.disk.durable import disk_errors, write_all
from ptmtorrent.errors import AuthError, HubError, IntegrityError, NotFound
from ptmtorrent.http import judge_range
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.port import HubFile, Located
from ptmtorrent.model.kinds import file_kind
from ptmtorrent.model.pointers import MAX_POINTER_BYTES, parse_pointer, recognise_pointer
from ptmtorrent.stop import Stop

SYNC_BYTES = 4 << 20

Count = Callable[[int, int], None]
"""Receives `(held, moved)`: by how many bytes the part grew (negative: shrank), and how many were received."""


def durable_bytes(size: int) -> int:
    """Return how many bytes of a part of `size` bytes are durable: up to the last multiple of 4 MiB below its end."""
    return max(0, size - 1) // SYNC_BYTES * SYNC_BYTES


@dataclass
class Download:
    """The download of one file into `part`. `locate` returns its address; `count` is called from this thread.

    Addresses are numbered: 0 is the one of the hub, the alternates follow. `first` is the number to start with.
    """

    session: Session
    locate: Callable[[], Located]
    file: HubFile
    what: str
    part: Path
    count: Count
    stop: Stop
    first: int = 0
    _located: Located | None = None
    _number: int = 0
    _relocated: bool = False
    _restarted: bool = False

    def run(self) -> None:
        """Complete the part. Its hash is checked when the file is stored.

        Raises:
            IntegrityError: the hub sends more or fewer bytes than it listed, or a pointer in place of the file.
            HubError: the reply is invalid; `Unreachable` if retries failed.
            AuthError, NotFound, RateLimited: by the status of the reply.
            Interrupted: `stop` was set; the part is kept.
            NoSpace: the disk is full; the part is kept.
        """
        with self._opened() as descriptor:
            held = self._prepare(descriptor)
            if held == self.file.size:
                return
            self._try_addresses(descriptor)

    def _try_addresses(self, descriptor: int) -> None:
        """Try one address after the other; the last error has the messages of all."""
        failures: list[str] = []
        while True:
            try:
                self.session.retry(lambda: self._attempt(descriptor), progress=lambda: _size(descriptor) // SYNC_BYTES)
            except (AuthError, HubError, NotFound, IntegrityError) as error:
                failures += [self._located.failed] if self._located and self._located.failed else []
                failures.append(error.message)
                if not self._next_address(descriptor):
                    error.message = "; ".join(dict.fromkeys(failures))
                    raise
            else:
                return

    def _next_address(self, descriptor: int) -> bool:
        """Select the next alternate; return whether there is one.

        Bytes from two addresses are combined only if the file has a hash to check them with.
        """
        if self._located is None or self._number >= len(self._located.alternates):
            return False
        self._number += 1
        if self.file.oid is None:
            self._empty(descriptor, _size(descriptor))
        return True

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with disk_errors(self.part):
            descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _prepare(self, descriptor: int) -> int:
        """Truncate the part to its durable bytes; keep a part of full length, because its hash is checked later."""
        found, size = _size(descriptor), self.file.size
        keep = 0 if size is None or found > size else found if found == size else durable_bytes(found)
        self._cut(descriptor, keep)
        self.count(keep, 0)
        return keep

    def _cut(self, descriptor: int, length: int) -> None:
        with disk_errors(self.part):
            os.ftruncate(descriptor, length)

    def _attempt(self, descriptor: int) -> None:
        try:
            self._continue(descriptor)
        except AuthError:
            if self._number:
                raise
            # A signed address may have expired during a wait, so it is requested once more.
            if self._relocated:
                raise
            self._relocated, self._located = True, None
            self._continue(descriptor)

    def _continue(self, descriptor: int) -> None:
        located = self._locate()
        if self.file.size is None:
            # The file may have changed since the part was written, so the download starts again.
            self._empty(descriptor, _size(descriptor))
        start = _size(descriptor)
        if located.path is not None and not self._number:
            self._copy(located.path, descriptor, start)
            return
        if located.pieces is not None and not self._number:
            self._empty(descriptor, start)
            self._write_pieces(located.pieces(), descriptor, 0)
            return
        if located.ranged is not None and not (self._number or self.first):
            if self._receive_ranged(located, located.ranged(start), descriptor, start):
                return
            start = _size(descriptor)
        url = located.alternates[self._number - 1] if self._number else located.url
        own, budget = ({}, "") if self._number else (located.headers, located.budget)
        headers = {**own, **({"Range": f"bytes={start}-"} if start else {})}
        with self.session.open(url, headers, budget=budget, what=self.what) as reply:
            skip = judge_range(reply, self.what, first=start, size=self.file.size, refused=HubError)
            if skip is None:
                self._restart(descriptor, start)
            if skip:
                self._empty(descriptor, start)
                start = 0
            end = self._receive(reply, descriptor, start)
        self._check_end(descriptor, end, length_stated="content-length" in reply.headers)

    def _locate(self) -> Located:
        """Return the address of the file; an expired one is requested again."""
        now = self._located
        if now is not None and (now.expires is None or self._number or self.session.clock() < now.expires):
            return now
        self._located = located = self.locate()
        self._number = max(self._number, min(self.first, len(located.alternates)))
        return located

    def _copy(self, source: Path, descriptor: int, start: int) -> None:
        """Copy the rest from a local file. A change since the listing is detected by length or hash."""
        self._write_pieces(_read_rest(source, start, self.what), descriptor, start)

    def _receive_ranged(self, located: Located, pieces: Generator[bytes], descriptor: int, start: int) -> bool:
        """Receive the rest by another protocol, which is not used again if it fails; return whether it succeeded."""
        try:
            self._write_pieces(pieces, descriptor, start)
        except (AuthError, HubError, NotFound):
            self._located = msgspec.structs.replace(located, ranged=None)
            return False
        return True

    def _write_pieces(self, pieces: Generator[bytes], descriptor: int, start: int) -> None:
        """Write `pieces` after `start`."""
        end = start
        with disk_errors(self.part):
            os.lseek(descriptor, start, os.SEEK_SET)
        with closing(pieces):
            for piece in pieces:
                self.stop.raise_if_set("the copy")
                if self.file.size is not None and end + len(piece) > self.file.size:
                    raise IntegrityError(f"{self.what} is longer than the {self.file.size} bytes that were listed")
                with disk_errors(self.part):
                    _append(descriptor, end, piece)
                end += len(piece)
                self.count(len(piece), len(piece))
        self._check_end(descriptor, end, length_stated=True)

    def _empty(self, descriptor: int, held: int) -> None:
        if held:
            self._cut(descriptor, 0)
            self.count(-held, 0)

    def _restart(self, descriptor: int, held: int) -> NoReturn:
        """Empty the part, once, because the hub states fewer bytes than the part holds."""
        if self._restarted or not held:
            raise HubError(f"{self.what}: the hub refuses to send any byte of it")
        self._restarted = True
        self._empty(descriptor, held)
        raise Unreachable(f"{self.what}: the hub refused to continue at byte {held}")

    def _receive(self, reply: httpx2.Response, descriptor: int, start: int) -> int:
        """Write the body after `start`; return the end position."""
        limit = self.file.size if self.file.size is not None else start + _length(reply, self.what)
        end = start
        with disk_errors(self.part, limit - start):
            os.lseek(descriptor, start, os.SEEK_SET)
        for chunk in reply.iter_raw():
            self.stop.raise_if_set("the download")
            if end + len(chunk) > limit:
                raise IntegrityError(f"{self.what} is longer than the {limit} bytes the hub listed")
            with disk_errors(self.part, limit - end):
                _append(descriptor, end, chunk)
            end += len(chunk)
            self.count(len(chunk), len(chunk))
        return end

    def _check_end(self, descriptor: int, end: int, *, length_stated: bool) -> None:
        if self.file.size is None or end == self.file.size:
            return
        if not length_stated:
            raise Unreachable(f"{self.what} ended at byte {end} of {self.file.size}")
        _refuse_pointer(self.file, os.pread(descriptor, MAX_POINTER_BYTES + 1, 0), self.what)
        raise IntegrityError(f"{self.what} has {end} bytes, the hub listed {self.file.size}")


def check_md5(file: HubFile, part: Path) -> bool:
    """Check the MD5 of a file if the hub lists one; return whether it does.

    Raises:
        IntegrityError: the file has another MD5.
    """
    kind, _, listed = (file.oid or "").partition(":")
    if kind != "md5":
        return False
    with disk_errors(part), part.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != listed:
        raise IntegrityError(f"`{file.path}` has the hash `md5:{found}`, but the hub lists `{file.oid}`")
    return True


def check_no_pointer(file: HubFile, part: Path, what: str) -> None:
    """Refuse a git LFS pointer in place of weights, whatever the hub listed.

    Raises:
        IntegrityError: the file is a pointer; the message has the oid of the missing object.
    """
    with disk_errors(part), part.open("rb") as stream:
        _refuse_pointer(file, stream.read(MAX_POINTER_BYTES + 1), what)


def _refuse_pointer(file: HubFile, data: bytes, what: str) -> None:
    pointer = parse_pointer(data)
    if pointer is None and file_kind(file.path, len(data)) == "weights":
        pointer = recognise_pointer(data)
    # An LFS file may itself consist of the text of a pointer; its oid then matches.
    is_itself = file.source in {"lfs", "xet"} and file.oid == f"sha256:{hashlib.sha256(data).hexdigest()}"
    if pointer is None or is_itself:
        return
    raise IntegrityError(
        f"{what} is a git LFS pointer, not the file: the {pointer.size} bytes of `sha256:{pointer.sha256}` are missing"
    )


def _read_rest(source: Path, start: int, what: str) -> Generator[bytes]:
    try:
        # Since the listing, the file may have been replaced by a link or a pipe.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            stream.seek(start)
            while piece := stream.read(1 << 20):
                yield piece
    except OSError as error:
        raise HubError(f"{what} can no longer be read: {error.strerror}") from error


def _append(descriptor: int, at: int, data: bytes) -> None:
    """Write `data` at the position `at`, and sync at each multiple of 4 MiB."""
    rest = memoryview(data)
    while rest:
        piece = rest[: SYNC_BYTES - at % SYNC_BYTES]
        write_all(descriptor, piece)
        at += len(piece)
        rest = rest[len(piece) :]
        if at % SYNC_BYTES == 0:
            os.fdatasync(descriptor)


def _length(reply: httpx2.Response, what: str) -> int:
    text = reply.headers.get("content-length", "")
    if not text.isdigit():
        raise HubError(f"{what}: neither the listing nor the reply of the hub states its length")
    return int(text)


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size
