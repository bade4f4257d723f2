"""Files being assembled in a layout's `incoming` folder, from objects in any order.

An unfinished file has its full length from the start (sparse), and objects are written at their offsets. What an
earlier run wrote is hashed before it counts. A file gets its name only when its whole BLAKE3 is the manifest's.
Nothing outside this module changes an `Assembly`.
"""

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Protocol, Self

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import (
    disk_errors,
    disk_errors_but_missing,
    open_regular,
    publish_file,
    read_at,
    read_regular,
    sync_dir,
)
from ptmtorrent.errors import IntegrityError, NoSpace, PtmError
from ptmtorrent.layouts.folders import (
    Ground,
    clear,
    ensure_real_dir,
    is_executable,
    is_unshared_file,
    read_link,
    refuse_changed,
    remove_shared,
    same_content,
    same_file,
    spelled,
    survey,
)
from ptmtorrent.layouts.port import Destination, Layout
from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.manifest import FileEntry
from ptmtorrent.model.wanted import Lacking, ObjectTable
from ptmtorrent.state.laid_out import Ledger

HASH_BYTES = 4 << 20
FINISHERS = 2
"""Threads that verify complete files while more objects arrive."""

LINK = ".link"
"""The end of the name of a link that has no place yet, beside an unfinished file."""

Part = tuple[ObjectId, int, int]
"""`(object, offset in the file, size in bytes)`."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Decides what may be replaced in the folder of a package: what is as a fetch left it, or any file with `force`.

    `folder` is where folders and files make way for each other, None where only files are replaced. `folds`: the disk
    takes names that differ in case alone for one.
    """

    ledger: Ledger
    folder: Path | None
    force: bool
    folds: bool

    def owns(self, path: Path) -> bool:
        """Return whether a path is as a fetch left it."""
        if is_as_fetched(self.ledger, path):
            return True
        return self.folds and self.folder is not None and is_as_fetched(self.ledger, spelled(self.folder, path))


def unfinished(layout: Layout, target: Path, digest: str) -> Path:
    """Return where the file of `target` that has the BLAKE3 hash `digest` is put together."""
    place = target.relative_to(layout.root).as_posix()
    name = blake3(f"{place}\0{digest}".encode(errors="surrogateescape")).hexdigest(length=20)
    return layout.incoming() / name


def is_as_fetched(ledger: Ledger, path: Path) -> bool:
    """Return whether nothing changed a file since a fetch wrote it; one with another time is hashed."""
    if ledger.knows(path):
        return True
    row = ledger.row(path)
    return row is not None and bool(row.blake3) and same_content(path, row.size, row.blake3)


class Assembly:
    """One file that is wanted at `destination.target`, and the parts of it that are still missing.

    `in_target` are missing parts that the present file at the target has at the same offset, as an older version of it
    does. `ground` is what lies in its place. `here` is set once the target is verified, `error` once it cannot be.
    `row` is its row in the selection.
    """

    def __init__(
        self,
        row: int,
        destination: Destination,
        entry: FileEntry,
        parts: Callable[[], tuple[Part, ...]],
        incoming: Path,
    ) -> None:
        """`parts` is called when the parts are first asked for."""
        self.row = row
        self.destination = destination
        self.size = entry.size
        self.blake3 = entry.blake3
        self.incoming = incoming
        self.links = {destination.link} if destination.link else set()
        self.in_target: frozenset[int] = frozenset()
        self.ground = Ground()
        self.here = False
        self.error: PtmError | None = None
        self._find_parts = parts

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The objects that the file is made of, in order."""
        return self._find_parts()

    @cached_property
    def missing(self) -> set[int]:
        """The parts that are still missing, by number; empty ones never are."""
        return {number for number, (_, _, length) in enumerate(self.parts) if length}

    @property
    def is_begun(self) -> bool:
        """Whether an earlier run left something of the file, or something else is in its place."""
        lacks_all = len(self.missing) == sum(1 for _, _, length in self.parts if length)
        return not lacks_all or not self.ground.is_free or os.path.lexists(self.incoming)

    @property
    def missing_links(self) -> list[Path]:
        """The links to the file that are missing or wrong.

        Raises:
            StoreError: one cannot be read.
        """
        return [link for link in self.links if not self._leads_here(link)]

    def _leads_here(self, link: Path) -> bool:
        """Return whether `link` is a link to the file, or, as other programs write it, a copy of it."""
        text = read_link(link)
        if text is None:
            return link.is_file() and same_file(link, self.size, self.blake3)
        return text == self.text_of(link) or link.resolve() == self.target.resolve()

    def text_of(self, link: Path) -> str:
        """Return what a link to the file should say."""
        return os.path.relpath(self.target, link.parent)

    @property
    def is_executable(self) -> bool:
        """Whether the file should be executable."""
        return bool(self.destination.mode & stat.S_IXUSR)

    @property
    def has_wrong_mode(self) -> bool:
        """Whether the finished file is executable and should not be, or the other way round.

        Raises:
            StoreError: it cannot be read.
        """
        if self.destination.claimed_hash is not None or self.destination.link_text is not None:
            return False  # a cache says nothing of modes, and links have none
        return is_executable(self.target) != self.is_executable

    @property
    def target(self) -> Path:
        """The path of the finished file."""
        return self.destination.target

    @property
    def allocated(self) -> int:
        """Bytes that the unfinished file takes on disk."""
        try:
            return min(self.size, self.incoming.lstat().st_blocks * 512)
        except OSError:
            return 0

    def add_link(self, link: Path) -> None:
        """Add a relative link that a layout wants to the file."""
        self.links.add(link)

    def examine(self, owner: Owner, package: str, snapshot: str) -> None:
        """Find out whether the target is finished already, and which parts earlier runs left; errors go to `error`.

        A target that the ledger does not know is hashed, and recorded as part of `package` when it is right.
        """
        if self.here or self.error:
            return
        ledger = owner.ledger
        try:
            if not ledger.holds(self.target, self.size, self.blake3):
                if not self._is_right():
                    self.ground = survey(owner.folder or self.target.parent, self.target, owner.owns, force=owner.force)
                    self._recheck()
                    return
                ledger.record(self.target, blake3=self.blake3, package=package, snapshot=snapshot)
            self.here = True
        except PtmError as error:
            self.error = error

    def _is_right(self) -> bool:
        """Return whether the target is the link or has the bytes that it should have."""
        text = read_link(self.target)
        if self.destination.link_text is not None or text is not None:
            return text is not None and text == self.destination.link_text
        return self.target.is_file() and same_file(self.target, self.size, self.blake3)

    def _recheck(self) -> None:
        """Find the parts that an earlier run wrote correctly, and those that the present target has.

        Raises:
            StoreError: one of the files cannot be read.
        """
        if is_unshared_file(self.incoming):
            self.missing -= self._right_parts(self.incoming)
        if self.destination.link_text is None and self.ground.has_file:
            self.in_target = frozenset(self._right_parts(self.target))

    def _right_parts(self, path: Path) -> set[int]:
        """Return the missing parts that `path` has at their offsets."""
        try:
            with disk_errors_but_missing(path):
                descriptor = open_regular(path, os.O_NOFOLLOW)
        except FileNotFoundError:
            return set()
        try:
            with disk_errors(path):
                return {number for number in self.missing if _holds(descriptor, self.parts[number])}
        finally:
            os.close(descriptor)


class Wanted(Protocol):
    """What the assembler needs of a selection: objects, and the files that they belong in."""

    objects: ObjectTable

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
    """Writes objects into every unfinished file that wants them; a thread verifies and names each complete file.

    `announce` is called before a file is written, and `written` with the bytes that were. With `force`, files in the
    place of links are replaced.
    """

    def __init__(
        self,
        layout: Layout,
        wanted: "Wanted",
        announce: Callable[[Assembly], None],
        written: Callable[[int], None] = lambda _: None,
        *,
        force: bool = False,
    ) -> None:
        self._written = written
        self._layout = layout
        self._wanted = wanted
        self._announce = announce
        self._force = force
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(FINISHERS, thread_name_prefix="finish")
        self._finishing: deque[Future[Assembly]] = deque()
        self._prepared: set[int] = set()
        self._lacking = Lacking(wanted.objects.objects, wanted.lacking())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

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
        wanting: list[tuple[Assembly, int]] = []
        for part in self._lacking.take(identifier):
            row, number = self._wanted.place_of(part)
            wanting.append((self._wanted.assembly(row), number))
        for assembly, number in wanting:
            self._prepare(assembly)
            self._write(assembly, assembly.parts[number][1], data)
        complete = []
        with self._lock:
            for assembly, number in wanting:
                assembly.missing.discard(number)
                if not assembly.missing and assembly not in complete:
                    complete.append(assembly)
        for assembly in complete:
            self.finish(assembly)

    def _prepare(self, assembly: Assembly) -> None:
        """Remove what must not be written to, once for each file."""
        if assembly.row not in self._prepared:
            self._prepared.add(assembly.row)
            self._announce(assembly)
            remove_shared(assembly.incoming)

    def finish(self, assembly: Assembly) -> None:
        """Start to verify and name a complete file; `finished` returns it."""
        self._prepare(assembly)
        self._finishing.append(self._pool.submit(self._finish_in_thread, assembly))

    def finished(self, *, wait: bool = False) -> Iterator[Assembly]:
        """Yield the files that are finished, or whose `error` says why not; with `wait`, all that were started.

        Raises:
            NoSpace: the disk is full.
        """
        while self._finishing and (wait or self._finishing[0].done()):
            yield self._finishing.popleft().result()

    def link(self, file: Assembly) -> None:
        """Make the links to a file that an earlier run finished; an error goes to its `error`.

        Raises:
            NoSpace: the disk is full.
        """
        _keep_error(file, self._link)

    def _finish_in_thread(self, assembly: Assembly) -> Assembly:
        _keep_error(assembly, self._finish)
        return assembly

    def _finish(self, assembly: Assembly) -> None:
        """Verify the whole file, give it its name, and make its links.

        Raises:
            IntegrityError: its objects are right, and yet it is not the file of the manifest.
            StoreError: something is in its way, or it cannot be written.
        """
        if not assembly.size:
            self._write(assembly, 0, b"")
        if (fault := _fault(assembly)) is not None:
            with disk_errors(assembly.incoming):
                assembly.incoming.unlink()
            raise IntegrityError(fault)
        clear(assembly.ground)
        ensure_real_dir(self._layout.root, assembly.target.parent)
        refuse_changed(assembly.target, assembly.ground)
        if assembly.destination.link_text is not None:
            _make_link(assembly.target, assembly.destination.link_text, assembly.incoming)
        else:
            with disk_errors(assembly.incoming):
                set_mode(assembly.incoming, executable=assembly.is_executable)
            publish_file(assembly.incoming, assembly.target)
        self._link(assembly)
        assembly.here = True

    def _link(self, assembly: Assembly) -> None:
        """Make the relative links to the file that its layout wants.

        Raises:
            StoreError: something is in the way.
        """
        for link in assembly.links:
            ensure_real_dir(self._layout.root, link.parent)
        for link in assembly.missing_links:
            survey(link.parent, link, lambda _: False, force=self._force)
            _put_link(link, assembly.text_of(link), assembly.incoming)

    def _write(self, assembly: Assembly, offset: int, data: bytes) -> None:
        with disk_errors(assembly.incoming, assembly.size - assembly.allocated):
            descriptor = os.open(assembly.incoming, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                if os.fstat(descriptor).st_size != assembly.size:
                    os.ftruncate(descriptor, assembly.size)
                view = memoryview(data)
                while view:
                    written = os.pwrite(descriptor, view, offset)
                    offset, view = offset + written, view[written:]
            finally:
                os.close(descriptor)
        self._written(len(data))


def _keep_error(assembly: Assembly, step: Callable[[Assembly], None]) -> None:
    """Run a step on a file and keep its error, except `NoSpace`, which ends the run."""
    try:
        step(assembly)
    except NoSpace:
        raise
    except PtmError as error:
        assembly.error = error


def _fault(assembly: Assembly) -> str | None:
    """Hash the unfinished file; return what is wrong with it, None when it is right."""
    claimed_hash = assembly.destination.claimed_hash
    hashes = [(assembly.blake3, blake3())]
    kind, _, claimed = (claimed_hash or "").partition(":")
    other = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        other.update(b"blob %d\0" % assembly.size)
    with disk_errors(assembly.incoming), assembly.incoming.open("rb") as file:
        while data := file.read(HASH_BYTES):
            hashes[0][1].update(data)
            if claimed_hash:
                other.update(data)
    if hashes[0][1].hexdigest() != assembly.blake3:
        return f"`{assembly.target}` does not hash to what its manifest says, although all its objects do"
    if claimed_hash and other.hexdigest() != claimed:
        return f"`{assembly.target}` does not have the hash that its name states"
    return None


def set_mode(path: Path, *, executable: bool) -> None:
    """Make an executable file executable for all who may read it, as the umask decided. Raises `OSError`."""
    mode = stat.S_IMODE(path.stat().st_mode)
    wanted = mode & 0o666 | ((mode & 0o444) >> 2 if executable else 0)
    if mode != wanted:
        path.chmod(wanted)


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
    sync_dir(place.parent)


def _holds(descriptor: int, part: Part) -> bool:
    identifier, offset, length = part
    return _has_data(descriptor, offset, length) and object_id(read_at(descriptor, offset, length)) == identifier


def _has_data(descriptor: int, offset: int, length: int) -> bool:
    """Return whether anything was written there: a hole of a sparse file need not be hashed."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA) < offset + length
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
