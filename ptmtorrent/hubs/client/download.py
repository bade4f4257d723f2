"""Half-downloaded files, and how they are completed: by Range, across processes, never past what is durable.

A file is written from its start to its end, and the disk is waited for at every multiple of 4 MiB before a byte is
written beyond it. So a part of `s` bytes is durable up to the last multiple of 4 MiB below `s`, whatever happened to
the process or the power, and nothing needs to be written down: the next run goes on from there.
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
"""Told of bytes as they come: `(held, moved)`, how many more the part holds (fewer when negative) and were received."""


def durable_bytes(size: int) -> int:
    """Return how many bytes of a part of `size` bytes are certain: the last multiple of 4 MiB below its end."""
    return max(0, size - 1) // SYNC_BYTES * SYNC_BYTES


@dataclass
class Download:
    """One file being downloaded into `part`. `locate` returns its address; `count` is called from this thread.

    The first address is number `first`: 0 is the hub's own, then the alternates follow, as far as there are any.
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
    _turn: int = 0
    _relocated: bool = False
    _refused: bool = False

    def run(self) -> None:
        """Complete the part. Its hash is checked when the file is stored.

        Raises:
            IntegrityError: the hub gives more or fewer bytes than it listed, or a pointer in place of the file.
            HubError: an answer that makes no sense; `Unreachable` when trying again did not help.
            AuthError, NotFound, RateLimited: as the hub says.
            Interrupted: `stop` was set; the part is kept.
            NoSpace: the disk is full; the part is kept.
        """
        with self._opened() as descriptor:
            held = self._prepare(descriptor)
            if held == self.file.size:
                return
            self._try_addresses(descriptor)

    def _try_addresses(self, descriptor: int) -> None:
        """Go from one address to the next while the file cannot be had; the last error tells of all of them."""
        failures: list[str] = []
        while True:
            try:
                self.session.retry(lambda: self._attempt(descriptor), progress=lambda: _size(descriptor) // SYNC_BYTES)
            except (AuthError, HubError, NotFound, IntegrityError) as error:
                failures += [self._located.failed] if self._located and self._located.failed else []
                failures.append(error.message)
                if not self._turn_to_next(descriptor):
                    error.message = "; ".join(dict.fromkeys(failures))
                    raise
            else:
                return

    def _turn_to_next(self, descriptor: int) -> bool:
        """Turn to the next alternate, if there is one. Bytes of two places are joined only where a hash will tell."""
        if self._located is None or self._turn >= len(self._located.alternates):
            return False
        self._turn += 1
        if self.file.oid is None:
            self._empty(descriptor, _size(descriptor))
        return True

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with disk_errors(self.part):
            descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _prepare(self, descriptor: int) -> int:
        """Keep what is certain; a part that has its full length is kept whole, because its hash will tell."""
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
            if self._turn:
                raise
            # A signed address may have expired while we waited; one that the hub refuses twice is refused.
            if self._relocated:
                raise
            self._relocated, self._located = True, None
            self._continue(descriptor)

    def _continue(self, descriptor: int) -> None:
        located = self._locate()
        if self.file.size is None:
            # Nothing says that what is there now is what was begun, so it is begun again.
            self._empty(descriptor, _size(descriptor))
        start = _size(descriptor)
        if located.path is not None and not self._turn:
            self._copy(located.path, descriptor, start)
            return
        if located.pieces is not None and not self._turn:
            self._empty(descriptor, start)
            self._take(located.pieces(), descriptor, 0)
            return
        if located.ranged is not None and not (self._turn or self.first):
            if self._take_ranged(located, located.ranged(start), descriptor, start):
                return
            start = _size(descriptor)
        url = located.alternates[self._turn - 1] if self._turn else located.url
        own, budget = ({}, "") if self._turn else (located.headers, located.budget)
        headers = {**own, **({"Range": f"bytes={start}-"} if start else {})}
        with self.session.open(url, headers, budget=budget, what=self.what) as reply:
            skip = judge_range(reply, self.what, first=start, size=self.file.size, refused=HubError)
            if skip is None:
                self._begin_again(descriptor, start)
            if skip:
                self._empty(descriptor, start)
                start = 0
            end = self._receive(reply, descriptor, start)
        self._check_end(descriptor, end, said_so="content-length" in reply.headers)

    def _locate(self) -> Located:
        """Return where the file is, asking anew when the answer has expired."""
        now = self._located
        if now is not None and (now.expires is None or self._turn or self.session.clock() < now.expires):
            return now
        self._located = located = self.locate()
        self._turn = max(self._turn, min(self.first, len(located.alternates)))
        return located

    def _copy(self, source: Path, descriptor: int, start: int) -> None:
        """Take the rest from a local file. One that was changed since it was listed shows by its length or its hash."""
        self._take(_rest_of(source, start, self.what), descriptor, start)

    def _take_ranged(self, located: Located, pieces: Generator[bytes], descriptor: int, start: int) -> bool:
        """Take the rest by another protocol; tell whether that worked. What did not is not tried again."""
        try:
            self._take(pieces, descriptor, start)
        except (AuthError, HubError, NotFound):
            self._located = msgspec.structs.replace(located, ranged=None)
            return False
        return True

    def _take(self, pieces: Generator[bytes], descriptor: int, start: int) -> None:
        """Write what comes from this machine after `start`."""
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
        self._check_end(descriptor, end, said_so=True)

    def _empty(self, descriptor: int, held: int) -> None:
        if held:
            self._cut(descriptor, 0)
            self.count(-held, 0)

    def _begin_again(self, descriptor: int, held: int) -> NoReturn:
        """The hub says it has fewer bytes than we hold: drop them, once."""
        if self._refused or not held:
            raise HubError(f"{self.what}: the hub refuses to give any byte of it")
        self._refused = True
        self._empty(descriptor, held)
        raise Unreachable(f"{self.what}: the hub refused to go on at byte {held}")

    def _receive(self, reply: httpx2.Response, descriptor: int, start: int) -> int:
        """Write what comes after `start`; return where it ended."""
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

    def _check_end(self, descriptor: int, end: int, *, said_so: bool) -> None:
        if self.file.size is None or end == self.file.size:
            return
        if not said_so:
            raise Unreachable(f"{self.what} ended at byte {end} of {self.file.size}")
        _refuse_pointer(self.file, os.pread(descriptor, MAX_POINTER_BYTES + 1, 0), self.what)
        raise IntegrityError(f"{self.what} has {end} bytes, the hub listed {self.file.size}")


def check_md5(file: HubFile, part: Path) -> bool:
    """Check a file that was promised with its MD5; tell whether it was.

    Raises:
        IntegrityError: it has another.
    """
    sort, _, promised = (file.oid or "").partition(":")
    if sort != "md5":
        return False
    with disk_errors(part), part.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != promised:
        raise IntegrityError(f"`{file.path}` hashes to `md5:{found}`, `{file.oid}` was promised")
    return True


def check_no_pointer(file: HubFile, part: Path, what: str) -> None:
    """Refuse a git LFS pointer where its weights should be, however the hub listed it.

    Raises:
        IntegrityError: naming the file and the oid that is missing.
    """
    with disk_errors(part), part.open("rb") as stream:
        _refuse_pointer(file, stream.read(MAX_POINTER_BYTES + 1), what)


def _refuse_pointer(file: HubFile, data: bytes, what: str) -> None:
    pointer = parse_pointer(data)
    if pointer is None and file_kind(file.path, len(data)) == "weights":
        pointer = recognise_pointer(data)
    # An LFS file may be the text of a pointer to something else: its hash then says that this is what it is.
    is_itself = file.source in {"lfs", "xet"} and file.oid == f"sha256:{hashlib.sha256(data).hexdigest()}"
    if pointer is None or is_itself:
        return
    raise IntegrityError(
        f"{what} is a git LFS pointer, not the file: the {pointer.size} bytes of `sha256:{pointer.sha256}` are missing"
    )


def _rest_of(source: Path, start: int, what: str) -> Generator[bytes]:
    try:
        # What was a file when it was listed may be a link or a pipe by now.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            stream.seek(start)
            while piece := stream.read(1 << 20):
                yield piece
    except OSError as error:
        raise HubError(f"{what} cannot be read any more: {error.strerror}") from error


def _append(descriptor: int, at: int, data: bytes) -> None:
    """Write `data` at the position `at`, waiting for the disk at each multiple of 4 MiB."""
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
        raise HubError(f"{what}: neither the listing nor the hub's answer says how long it is")
    return int(text)


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size
