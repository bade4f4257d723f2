"""Writes verified objects into the unfinished files that want them, and names the files that are complete.

::

    object -> parts of files, hashed -> files of a group -> sync -> names -> sync, with the next group -> `finished`

A file gets its name only when its whole BLAKE3 is the manifest's: its hashes are taken while its parts are written, and
what did not come in order is read back, in threads. A file is durable before it has its name, and its name is before
anything refers to it: `finished` yields a file after the second sync. A crash between the two leaves the whole file
under one of its names, or under both. The disk is waited for once a group, not several times a file.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from ptmtorrent.disk.durable import disk_errors, open_regular, read_at, read_regular, sync_dir, sync_each
from ptmtorrent.errors import IntegrityError, NoSpace, PtmError
from ptmtorrent.layouts.folders import clear, ensure_real_dir, refuse_changed, remove_shared, survey
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.wanted import Lacking, ObjectTable
from ptmtorrent.workflows.fetch.assembly import LINK, Assembly, set_mode

if TYPE_CHECKING:
    from ptmtorrent.disk.barrier import Barrier

HASH_BYTES = 4 << 20
READERS = 2
"""Threads that read back what was not hashed while it was written."""

GROUP_FILES = 64
GROUP_BYTES = 64 << 20
GROUP_SECONDS = 1.0
"""A group ends with this many files or bytes, or when its first file is that old and the next object arrives."""
MAX_WAITING = 4
"""Groups that wait for the disk while more objects are written."""


class Wanted(Protocol):
    """What the assembler needs of a selection: objects, and the files that they belong in."""

    objects: ObjectTable

    @property
    def has_many(self) -> bool:
        """Whether the files are enough to be worth being synced together."""
        ...

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
        self._naming = Naming(layout, monotonic, has_many=wanted.has_many, force=force)
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
            _write_at(descriptor, 0, data)
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
            _write_at(descriptor, offset, data)
        finally:
            os.close(descriptor)


def _write_at(descriptor: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset, view = offset + written, view[written:]


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


class Naming:
    """Names verified files, in a thread. With `force`, files in the place of links are replaced."""

    def __init__(self, layout: Layout, monotonic: Monotonic, *, has_many: bool, force: bool) -> None:
        self._layout = layout
        self._has_many = has_many
        self._monotonic = monotonic
        self._force = force
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="name")
        self._barrier: Barrier | None = None
        self._group: list[Assembly] = []
        self._bytes = 0
        self._since = 0.0
        self._running: deque[Future[list[Assembly]]] = deque()
        self._named: list[Assembly] = []
        self._folders: set[Path] = set()

    def begin(self) -> None:
        """Watch the disk for errors of writing; call it before the first file is written."""
        if self._barrier is None and self._has_many:
            from ptmtorrent.disk.barrier import Barrier  # of large groups

            self._barrier = Barrier(self._layout.incoming())

    def close(self) -> None:
        """Stop after what is being named; the rest keeps its unfinished names."""
        self._thread.shutdown(cancel_futures=True)
        if self._barrier is not None:
            self._barrier.close()

    def add(self, file: Assembly) -> None:
        """Have a verified file named; one with an `error` is only passed on."""
        if not self._group:
            self._since = self._monotonic()
        self._group.append(file)
        self._bytes += file.size
        if len(self._group) >= GROUP_FILES or self._bytes >= GROUP_BYTES:
            self._start()

    def finished(self, *, wait: bool = False) -> Iterator[Assembly]:
        """Yield the files that are named, durably, or whose `error` says why not; with `wait`, all that were added.

        Raises:
            NoSpace: the disk is full.
        """
        if self._group and (wait or self._monotonic() - self._since >= GROUP_SECONDS):
            self._start()
        if wait:
            self._start()  # syncs the names of the last group
        while self._running and (wait or self._running[0].done() or len(self._running) > MAX_WAITING):
            yield from self._running.popleft().result()

    def link(self, file: Assembly) -> None:
        """Make the links to a file that an earlier run finished; an error goes to its `error`.

        Raises:
            NoSpace: the disk is full.
        """
        changed: set[Path] = set()
        keep_error(file, lambda file: self._link(file, changed))
        for folder in changed:
            sync_dir(folder)

    def _start(self) -> None:
        group, self._group, self._bytes = self._group, [], 0
        if group or self._running or self._named:
            self._running.append(self._thread.submit(self._commit, group))

    def _commit(self, group: Sequence[Assembly]) -> list[Assembly]:
        """Sync a group and the names of the one before, which is returned; then name the group."""
        named, self._named = self._named, []
        folders, self._folders = self._folders, set()
        sound = [file for file in group if file.error is None]
        sync = self._barrier.sync if self._barrier is not None else sync_each
        errors = sync([file.incoming for file in sound], folders)
        for file in named:
            places = (file.target.parent, *(link.parent for link in file.links))
            file.error = next((errors[place] for place in places if place in errors), None) if errors else None
        made: set[Path] = set()
        for file in sound:
            file.error = errors.get(file.incoming)
            if file.error is None:
                keep_error(file, lambda file: self._name(file, made))
        self._named = [file for file in group if file.error is None]
        return [*named, *(file for file in group if file.error is not None)]

    def _name(self, file: Assembly, made: set[Path]) -> None:
        """Give a durable file its name, and make its links. The folders that are `made` are looked at once a group.

        Raises:
            StoreError: something is in its way, or it cannot be written.
        """
        target = file.target
        clear(file.ground)
        if target.parent not in made:
            ensure_real_dir(self._layout.root, target.parent, self._folders)
            made.add(target.parent)
        refuse_changed(target, file.ground)
        if file.destination.link_text is not None:
            _make_link(target, file.destination.link_text, file.incoming)
        else:
            name(file)
        self._folders.add(target.parent)
        self._link(file, self._folders)
        file.here = True

    def _link(self, file: Assembly, changed: set[Path]) -> None:
        """Make the relative links to the file that its layout wants.

        Raises:
            StoreError: something is in the way.
        """
        for link in file.links:
            ensure_real_dir(self._layout.root, link.parent, changed)
        for link in file.missing_links if file.links else ():
            survey(link.parent, link, lambda _: False, force=self._force)
            _put_link(link, file.text_of(link), file.incoming)
            changed.add(link.parent)


def keep_error(file: Assembly, step: Callable[[Assembly], None]) -> None:
    """Run a step on a file and keep its error, except `NoSpace`, which ends the run."""
    try:
        step(file)
    except NoSpace:
        raise
    except PtmError as error:
        file.error = error


def name(file: Assembly) -> None:
    """Rename an unfinished file, which is durable, to its target; the name is durable once its folder is synced.

    Raises:
        NoSpace, StoreError: it cannot be named; the target is then as it was.
    """
    with disk_errors(file.target):
        if file.is_executable or not file.is_new:
            set_mode(file.incoming, executable=file.is_executable)
        os.replace(file.incoming, file.target)  # noqa: PTH105  # of every file


def _make_link(target: Path, points: str, incoming: Path) -> None:
    """Put a link in place of the verified file `incoming`, whose bytes must be its text.

    Raises:
        IntegrityError: they are not.
        StoreError: it cannot be written.
    """
    with disk_errors(incoming):
        text = read_regular(incoming)
    if text != points.encode():
        raise IntegrityError(f"`{target}` is a link to {points!r} in its manifest, but its bytes are another target")
    _put_link(target, points, incoming)
    with disk_errors(incoming):
        incoming.unlink()


def _put_link(place: Path, to: str, incoming: Path) -> None:
    """Put a link at `place`, which is made beside the unfinished file `incoming`: a kill leaves it there."""
    with disk_errors(place):
        temporary = incoming.with_suffix(LINK)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(to)
        temporary.replace(place)
