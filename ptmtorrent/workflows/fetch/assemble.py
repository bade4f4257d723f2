"""Writes verified objects into the unfinished files that want them.

A file gets its name only when its whole BLAKE3 is the manifest's: its hashes are taken while its parts are written, and
what did not come in order is read back, in threads. `naming` makes complete files durable and names them, in groups.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

from ptmtorrent.disk.durable import disk_errors, open_regular, read_at, write_all
from ptmtorrent.errors import IntegrityError
from ptmtorrent.layouts.folders import remove_shared
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.wanted import Lacking, ObjectTable
from ptmtorrent.workflows.fetch.assembly import Assembly
from ptmtorrent.workflows.fetch.naming import Naming, keep_error

HASH_BYTES = 4 << 20
READERS = 2
"""Threads that read back what was not hashed while it was written."""


class Wanted(Protocol):
    """What the assembler needs of a selection: objects, and the files that they belong in."""

    objects: ObjectTable

    @property
    def found_unfinished(self) -> bool:
        """Whether earlier runs left anything unfinished."""
        ...

    def lacking(self) -> Numbers:
        """Return the rows of the objects that unfinished files lack."""
        ...

    def place_of(self, part: int) -> tuple[int, int]:
        """Return the row of the file that has a row of the objects, and the number of that part in it."""
        ...

    def assembly(self, row: int) -> Assembly:
        """Return the file in a row."""
        ...


class Assembler:
    """Writes objects into every unfinished file that wants them, verifies complete files and has them named.

    `announce` is called before a file is written, and `written` with the bytes that were. With `force`, files in the
    place of links are replaced.
    """

    def __init__(  # noqa: PLR0913  # what is written, where, and who hears of it
        self,
        layout: Layout,
        wanted: "Wanted",
        announce: Callable[[Assembly], None],
        written: Callable[[int], None],
        monotonic: Monotonic,
        *,
        force: bool = False,
    ) -> None:
        self._written = written
        self._wanted = wanted
        self._announce = announce
        self._naming = Naming(layout, monotonic, force=force)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read-back")
        self._reading: deque[Future[Assembly]] = deque()
        self._prepared: set[int] = set()
        self._lacking = Lacking(wanted.objects.objects, wanted.lacking())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._naming.close()

    @property
    def lacking(self) -> Lacking:
        """The objects that unfinished files lack."""
        return self._lacking

    def put(self, identifier: ObjectId, data: bytes) -> None:
        """Write the object, whose hash the caller has checked; start to finish the files that are now complete.

        Raises:
            NoSpace: the disk is full, naming the bytes needed.
            StoreError: a file cannot be written, or something that cannot be removed is in its place.
        """
        for part in self._lacking.take(identifier):
            row, number = self._wanted.place_of(part)
            file = self._wanted.assembly(row)
            self._prepare(file)
            self._write(file, number, data)
            if not file.missing:
                self.finish(file)

    def _prepare(self, file: Assembly) -> None:
        """Announce a file before it is written to, once."""
        if file.row not in self._prepared:
            self._prepared.add(file.row)
            self._announce(file)
            self._naming.begin()
            if self._wanted.found_unfinished:
                remove_shared(file.incoming)

    def finish(self, file: Assembly) -> None:
        """Start to verify and name a complete file; `finished` returns it."""
        self._prepare(file)
        if not file.size:
            keep_error(file, _write_empty)
        if file.error is None and file.hashes.bytes < file.size:
            self._reading.append(self._readers.submit(_read_back, file))
        else:
            self._verified(file)

    def finished(self, *, wait: bool = False) -> Iterator[Assembly]:
        """Yield the files that are finished, or whose `error` says why not; with `wait`, all that were started.

        Raises:
            NoSpace: the disk is full.
        """
        while self._reading and (wait or self._reading[0].done()):
            self._verified(self._reading.popleft().result())
        yield from self._naming.finished(wait=wait)

    def link(self, file: Assembly) -> None:
        """Make the links to a file that an earlier run finished; an error goes to its `error`.

        Raises:
            NoSpace: the disk is full.
        """
        self._naming.link(file)

    def _verified(self, file: Assembly) -> None:
        if file.error is None:
            keep_error(file, _verify)
        self._naming.add(file)

    def _write(self, file: Assembly, number: int, data: bytes) -> None:
        """Write a part of a file.

        Raises:
            NoSpace, StoreError: it cannot be written.
        """
        _, offset, length = file.parts[number]
        if length != file.size or file.is_new or not _write_new(file, data):
            _write_part(file, offset, data)
        file.wrote(number, data)
        if file.missing:
            _catch_up(file)
        self._written(len(data))


def _write_empty(file: Assembly) -> None:
    if not _write_new(file, b""):
        _write_part(file, 0, b"")


def _write_new(file: Assembly, data: bytes) -> bool:
    """Create an unfinished file with all its bytes; return False, and write nothing, where one is there."""
    with disk_errors(file.incoming, file.size):
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(file.incoming, flags, 0o666)
        except FileExistsError:
            return False
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
    file.is_new = True
    return True


def _write_part(file: Assembly, offset: int, data: bytes) -> None:
    """Write bytes at their place in an unfinished file, which gets its full length."""
    with disk_errors(file.incoming, file.size - file.allocated):
        descriptor = os.open(file.incoming, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            if os.fstat(descriptor).st_size != file.size:
                os.ftruncate(descriptor, file.size)
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, offset)
                offset, view = offset + written, view[written:]
        finally:
            os.close(descriptor)


def _catch_up(file: Assembly) -> None:
    """Hash parts that came before those in front of them, a few megabytes at a time."""
    left = HASH_BYTES
    while left > 0 and (part := file.next_written()) is not None:
        _, offset, length = part
        with disk_errors(file.incoming):
            descriptor = open_regular(file.incoming, os.O_NOFOLLOW)
            try:
                data = read_at(descriptor, offset, length)
            finally:
                os.close(descriptor)
        if len(data) != length:
            return  # `_read_back` finds out
        file.catch_up(data)
        left -= length


def _read_back(file: Assembly) -> Assembly:
    """Hash what was not hashed while it was written; an error goes to its `error`."""
    keep_error(file, _hash_rest)
    return file


def _hash_rest(file: Assembly) -> None:
    with disk_errors(file.incoming):
        descriptor = open_regular(file.incoming, os.O_NOFOLLOW)
        try:
            while data := read_at(descriptor, file.hashes.bytes, HASH_BYTES):
                file.hashes.take(data)
        finally:
            os.close(descriptor)


def _verify(file: Assembly) -> None:
    """Compare the hashes of a file with what they should be.

    Raises:
        IntegrityError: its objects are right, and yet it is not the file of the manifest.
        StoreError: it cannot be removed then.
    """
    if (fault := file.hashes.fault(file)) is not None:
        with disk_errors(file.incoming):
            file.incoming.unlink()
        raise IntegrityError(fault)
