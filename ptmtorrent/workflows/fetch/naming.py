"""Names verified files, in groups, so that the disk is waited for once a group and not several times a file.

::

    files of a group -> sync -> names -> sync, with the files of the next group -> `finished`

A file is durable before it has its name, and its name is before anything refers to it: `finished` yields a file after
the second sync. A crash between the two leaves the whole file under one of its names, or under both.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ptmtorrent.disk.barrier import Barrier
from ptmtorrent.disk.durable import disk_errors, read_regular, sync_dir
from ptmtorrent.errors import IntegrityError, NoSpace, PtmError, StoreError
from ptmtorrent.layouts.folders import clear, ensure_real_dir, refuse_changed, survey
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.workflows.fetch.assembly import LINK, Assembly, set_mode

GROUP_FILES = 64
GROUP_BYTES = 64 << 20
GROUP_SECONDS = 1.0
"""A group ends with this many files or bytes, or when its first file is that old and the next object arrives."""
MAX_WAITING = 4
"""Groups that wait for the disk while more objects are written."""


class Naming:
    """Files that are verified and get their names, in a thread. With `force`, files in the place of links are replaced."""

    def __init__(self, layout: Layout, monotonic: Monotonic, *, force: bool) -> None:
        self._layout = layout
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
        if self._barrier is None:
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
        errors = self._barrier.sync([file.incoming for file in sound], folders) if self._barrier else {}
        for file in named:
            places = (file.target.parent, *(link.parent for link in file.links))
            file.error = next((errors[place] for place in places if place in errors), None)
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
