"""Completes the partly downloaded files of a hub with Range requests, from where `disk/partial` says they are durable.

A file has several addresses: the one of the hub, which may be a local file, another protocol or pieces that are made
here, and the alternates, which are tried in order.
"""

import hashlib
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx2
import msgspec

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.disk.partial import PartialFile
from ptmtorrent.errors import AuthError, HubError, IntegrityError, NotFound, PtmError
from ptmtorrent.http import judge_range
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.status_errors import HostUnreachable, Unreachable
from ptmtorrent.hubs.port import HubFile, Located
from ptmtorrent.model.kinds import file_kind
from ptmtorrent.model.pointers import MAX_POINTER_BYTES, parse_pointer, resembles_pointer
from ptmtorrent.scrub import scrub
from ptmtorrent.stop import Stop

Count = Callable[[int, int], None]
"""Receives `(held, moved)`: by how many bytes the part grew (negative: shrank), and how many were received."""


class PointerServed(IntegrityError):
    """The hub serves a git LFS pointer in place of the file that it points to: the file is missing there."""


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
        with PartialFile(self.part, self.file.size, keep_whole=True) as part:
            self.count(part.position, 0)
            if part.left != 0:
                self._try_addresses(part)

    def _try_addresses(self, part: PartialFile) -> None:
        """Try one address after the other; the last error has the messages of all."""
        failures: list[str] = []
        while True:
            try:
                self.session.retry(lambda: self._attempt(part), progress=lambda: part.position, what=self.what)
            except (AuthError, HubError, NotFound, IntegrityError) as error:
                failures += [self._located.failed] if self._located and self._located.failed else []
                failures.append(self._with_address(error))
                if not self._next_address(part):
                    error.message = "; ".join(dict.fromkeys(failures))
                    if self._has_no_host(error):
                        raise HostUnreachable(error.message) from error
                    raise
            else:
                return

    def _with_address(self, error: PtmError) -> str:
        """Return the message of `error` with the address that was tried, without its query: that may be a signature."""
        located = self._located
        if located is None or located.path is not None or located.pieces is not None:
            return error.message
        url = located.alternates[self._number - 1] if self._number else located.url
        address = scrub(url.partition("?")[0])
        return error.message if address in error.message else f"{error.message} ({address})"

    def _has_no_host(self, error: PtmError) -> bool:
        """Return whether `error` is about the host of this file alone: another than the hub's, without a connection."""
        elsewhere = self._located is not None and self._located.elsewhere
        return elsewhere and isinstance(error, Unreachable) and isinstance(error.__cause__, httpx2.ConnectError)

    def _next_address(self, part: PartialFile) -> bool:
        """Select the next alternate; return whether there is one.

        Bytes from two addresses are combined only if the file has a hash to check them with.
        """
        if self._located is None or self._number >= len(self._located.alternates):
            return False
        self._number += 1
        if self.file.oid is None:
            self._empty(part)
        return True

    def _attempt(self, part: PartialFile) -> None:
        try:
            self._continue(part)
        except AuthError:
            # A signed address may have expired during a wait, so it is requested once more.
            if self._number or self._relocated:
                raise
            self._relocated, self._located = True, None
            self._continue(part)

    def _continue(self, part: PartialFile) -> None:
        located = self._locate()
        if self.file.size is None:
            # The file may have changed since the part was written, so the download starts again.
            self._empty(part)
            part.length = None
        if located.path is not None and not self._number:
            # A change since the listing is detected by length or hash.
            self._write_pieces(_read_rest(located.path, part.position, self.what), part)
            return
        if located.pieces is not None and not self._number:
            self._empty(part)
            self._write_pieces(located.pieces(), part)
            return
        if (
            located.ranged is not None
            and not (self._number or self.first)
            and self._receive_ranged(located, located.ranged(part.position), part)
        ):
            return
        self._request(located, part)

    def _request(self, located: Located, part: PartialFile) -> None:
        url = located.alternates[self._number - 1] if self._number else located.url
        own, budget = ({}, "") if self._number else (located.headers, located.budget)
        headers = {**own, **({"Range": f"bytes={part.position}-"} if part.position else {})}
        with self.session.open(url, headers, budget=budget, what=self.what) as reply:
            skip = judge_range(reply, self.what, first=part.position, size=self.file.size, refused=HubError)
            if skip is None:
                self._restart(part)
            if skip:
                self._empty(part)
            if self.file.size is None:
                part.length = part.position + _length(reply, self.what)
            self._append(reply.iter_raw(), part, "the download")
        self._check_end(part, length_stated="content-length" in reply.headers)

    def _locate(self) -> Located:
        """Return the address of the file; an expired one is requested again."""
        now = self._located
        if now is not None and (now.expires is None or self._number or self.session.clock() < now.expires):
            return now
        self._located = located = self.locate()
        self._number = max(self._number, min(self.first, len(located.alternates)))
        return located

    def _receive_ranged(self, located: Located, pieces: Generator[bytes], part: PartialFile) -> bool:
        """Receive the rest by another protocol, which is not used again if it fails; return whether it succeeded."""
        try:
            self._write_pieces(pieces, part)
        except (AuthError, HubError, NotFound):
            self._located = msgspec.structs.replace(located, ranged=None)
            return False
        return True

    def _write_pieces(self, pieces: Generator[bytes], part: PartialFile) -> None:
        with closing(pieces):
            self._append(pieces, part, "the copy")
        self._check_end(part, length_stated=True)

    def _append(self, pieces: Iterable[bytes], part: PartialFile, activity: str) -> None:
        for piece in pieces:
            self.stop.raise_if_set(activity)
            if part.left is not None and len(piece) > part.left:
                raise IntegrityError(f"{self.what} is longer than the {part.length} bytes that were listed")
            part.write(piece)
            self.count(len(piece), len(piece))

    def _empty(self, part: PartialFile) -> None:
        if held := part.position:
            part.rewind(0)
            self.count(-held, 0)

    def _restart(self, part: PartialFile) -> NoReturn:
        """Empty the part, once, because the hub states fewer bytes than the part holds."""
        held = part.position
        if self._restarted or not held:
            raise HubError(f"{self.what}: the hub refuses to send any byte of it")
        self._restarted = True
        self._empty(part)
        raise Unreachable(f"{self.what}: the hub refused to continue at byte {held}")

    def _check_end(self, part: PartialFile, *, length_stated: bool) -> None:
        end = part.position
        if self.file.size is None or end == self.file.size:
            return
        if not length_stated:
            raise Unreachable(f"{self.what} ended at byte {end} of {self.file.size}")
        _refuse_pointer(self.file, part.read_start(MAX_POINTER_BYTES + 1), self.what)
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


def check_source(file: HubFile, source: Path, what: str) -> int:
    """Refuse a file of this machine that is not what was listed, as far as that can be seen now; return its size.

    Raises:
        IntegrityError: it has another size, or is a git LFS pointer (`PointerServed`).
        HubError: it can no longer be read.
    """
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            size, data = os.fstat(descriptor).st_size, stream.read(MAX_POINTER_BYTES + 1)
    except OSError as error:
        raise gone(what, error) from error
    _refuse_pointer(file, data, what)
    if file.size not in {None, size}:
        raise IntegrityError(f"{what} has {size} bytes, the hub listed {file.size}")
    return size


def gone(what: str, error: OSError) -> HubError:
    """Return the error for a file of this machine that cannot be read any more."""
    return HubError(f"{what} can no longer be read: {error.strerror}")


def check_no_pointer(file: HubFile, part: Path, what: str) -> None:
    """Refuse a git LFS pointer in place of weights, whatever the hub listed.

    Raises:
        PointerServed: the file is a pointer; the message has the oid of the missing object.
    """
    with disk_errors(part), part.open("rb") as stream:
        _refuse_pointer(file, stream.read(MAX_POINTER_BYTES + 1), what)


def _refuse_pointer(file: HubFile, data: bytes, what: str) -> None:
    # An LFS file may itself be the text of a pointer; its oid then matches, which for a longer one is seen later.
    if file.source in {"lfs", "xet"} and (
        len(data) > MAX_POINTER_BYTES or file.oid == f"sha256:{hashlib.sha256(data).hexdigest()}"
    ):
        return
    if pointer := parse_pointer(data):
        raise PointerServed(
            f"{what} is a git LFS pointer, not the file: the {pointer.size} bytes of `sha256:{pointer.sha256}` are"
            " missing"
        )
    if file_kind(file.path, len(data)) == "weights" and resembles_pointer(data):
        raise PointerServed(f"{what} resembles a git LFS pointer, which git-lfs does not read: the file is missing")


def _read_rest(source: Path, start: int, what: str) -> Generator[bytes]:
    try:
        # Since the listing, the file may have been replaced by a link or a pipe.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            stream.seek(start)
            while piece := stream.read(1 << 20):
                yield piece
    except OSError as error:
        raise gone(what, error) from error


def _length(reply: httpx2.Response, what: str) -> int:
    text = reply.headers.get("content-length", "")
    if not text.isdigit():
        raise HubError(f"{what}: neither the listing nor the reply of the hub states its length")
    return int(text)
