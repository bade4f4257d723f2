"""Files on their way from a hub into the spool: a few at a time, each once, however many packages want it.

Packages take turns, one file each, so that a package of ten thousand files does not delay the others. A package made
from another one that is waiting lets that one go first, because only the difference from its base is stored.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, read_regular
from ptmtorrent.disk.elapsed import AGES_NAME, Uptime, find_old, read_uptime
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import PtmError, StoreLocked
from ptmtorrent.hubs.client.download import Count, Download, check_no_pointer, check_source
from ptmtorrent.hubs.port import Hub, HubFile, InPlace
from ptmtorrent.model.ids import show_path
from ptmtorrent.model.moments import Clock
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.manifest import rights_in
from ptmtorrent.workflows.clone.plan import Held, PackagePlan, declared_bases


@dataclass(eq=False)
class Transfer:
    """One file to download; `key` is its oid. `held` of its bytes have been counted as progress so far.

    `source` is a file of this machine that is stored from where it lies: it belongs to the user, and has no part.
    """

    key: str
    file: HubFile
    plan: PackagePlan
    part: Path
    what: str
    tries: int = 0
    held: int = 0
    source: Path | None = None

    @property
    def package(self) -> str:
        """The name, on its hub, of the package that it is downloaded for."""
        return self.plan.described.listed.name


@dataclass
class DownloadQueue:
    """The transfers of one run into `folder`: at most `jobs` parts are downloading or waiting to be stored.

    `in_place` finds the files of a hub that are stored from where they lie.
    """

    hub: Hub
    folder: Path
    pool: ThreadPoolExecutor
    halt: Stop
    jobs: int
    count: Count
    in_place: InPlace | None = None
    _waiting: dict[str, deque[Transfer]] = field(default_factory=dict)
    _running: dict[Future[None], Transfer] = field(default_factory=dict)
    _received: set[Transfer] = field(default_factory=set)

    @property
    def has_capacity(self) -> bool:
        """Whether the files of one more package can be queued."""
        return len({transfer.package for transfer in self._active()} | self._waiting.keys()) < self.jobs

    @property
    def futures(self) -> tuple[Future[None], ...]:
        """The downloads in progress."""
        return tuple(self._running)

    def holds(self, part: Path) -> bool:
        """Return whether `part` is downloading, being stored, or queued."""
        waiting = (transfer for line in self._waiting.values() for transfer in line)
        return any(transfer.part == part for transfer in (*self._active(), *waiting))

    def part(self, file: HubFile, plan: PackagePlan) -> Path:
        """Return the path of the part of `file`."""
        return self.folder / part_name(file, plan)

    def add(self, key: str, file: HubFile, plan: PackagePlan) -> None:
        """Queue a file, unless it is being downloaded already for a package that has failed."""
        if any(transfer.key == key for transfer in self._active()):
            return
        what = f"`{plan.described.identity.package}` file `{show_path(file.path)}`"
        what += f" (`{file.oid}`)" if file.oid is not None else ""
        transfer = Transfer(key=key, file=file, plan=plan, part=self.part(file, plan), what=what)
        self._waiting.setdefault(transfer.package, deque()).append(transfer)

    def retry(self, transfer: Transfer) -> None:
        """Delete the part and queue the file again, before all others of its package."""
        self.delete_part(transfer)
        self.release(transfer)
        transfer.tries += 1
        self._waiting.setdefault(transfer.package, deque()).appendleft(transfer)

    def delete_part(self, transfer: Transfer) -> None:
        """Delete the part and take its bytes back from progress."""
        with disk_errors(transfer.part):
            transfer.part.unlink(missing_ok=True)
        self.count(-transfer.held, 0)
        transfer.held = 0

    def discard(self, is_wanted: Callable[[str], bool]) -> None:
        """Remove queued files whose key is not wanted any more."""
        lines = {
            package: deque(transfer for transfer in line if is_wanted(transfer.key))
            for package, line in self._waiting.items()
        }
        self._waiting = {package: line for package, line in lines.items() if line}

    def start(self) -> None:
        """Start downloads up to the limit."""
        while self._waiting and len(self._running) + len(self._received) < self.jobs:
            transfer = self._next()
            self._running[self._begin(transfer)] = transfer

    def _begin(self, transfer: Transfer) -> Future[None]:
        """Run a transfer in a thread, or here and now where there is nothing to move."""
        if self.in_place is None:
            return self.pool.submit(self._run, transfer)
        future: Future[None] = Future()
        try:
            self._run(transfer)
        except PtmError as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        return future

    def take(self, future: Future[None]) -> Transfer:
        """Remove a finished future and return its transfer, which counts against `jobs` until it is released."""
        transfer = self._running.pop(future)
        self._received.add(transfer)
        return transfer

    def release(self, transfer: Transfer) -> None:
        """Free the place of a transfer that was taken."""
        self._received.discard(transfer)

    def _next(self) -> Transfer:
        """Remove the next file of the package whose turn it is, and move that package behind all others."""
        ready = next((name for name in self._waiting if not self._waits_for_base(name)), None)
        package = ready or next(iter(self._waiting))
        line = self._waiting.pop(package)
        transfer = line.popleft()
        if line:
            self._waiting[package] = line
        return transfer

    def _waits_for_base(self, package: str) -> bool:
        """Return whether a package from which this one was made is queued as well."""
        described = self._waiting[package][0].plan.described
        return any(base in self._waiting for base in declared_bases(described.listed))

    def _active(self) -> tuple[Transfer, ...]:
        return (*self._running.values(), *self._received)

    def _run(self, transfer: Transfer) -> None:
        def count(held: int, moved: int) -> None:
            transfer.held += held
            self.count(held, moved)

        described = transfer.plan.described
        if self.in_place is not None:
            transfer.source = self.in_place(described, transfer.file)
        if transfer.source is not None:
            size = check_source(transfer.file, transfer.source, transfer.what)
            count(size, size)
            return
        download = Download(
            session=self.hub.session,
            locate=lambda: self.hub.locate(described, transfer.file),
            file=transfer.file,
            what=transfer.what,
            part=transfer.part,
            count=count,
            stop=self.halt,
            first=transfer.tries,
        )
        download.run()
        check_no_pointer(transfer.file, transfer.part, transfer.what)


def part_name(file: HubFile, plan: PackagePlan) -> str:
    """Return the name of the part of `file`: its listed hash and size, and the rights unless open."""
    rights = rights_in(plan.described.listed)
    if file.name_of_bytes is not None:
        size = "" if file.size is None else f"-{file.size}"
        suffix = "" if rights == "open" else f"-{rights}"
        return f"{file.name_of_bytes.partition(':')[2]}{size}{suffix}.part"
    identity = plan.described.identity
    place = f"{identity.package}\n{identity.commit}\n{file.path}"
    return f"url-{blake3(place.encode(errors='surrogateescape')).hexdigest()}.part"


def held_parts(spool: Path) -> Held:
    """Return what tells how much of a file the folder `spool` has now."""
    if not spool.is_dir():
        return lambda _file, _plan: 0
    with disk_errors(spool):
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(spool) if entry.name.endswith(".part")}
    return lambda file, plan: sizes.get(part_name(file, plan), 0) if sizes else 0


WORKERS = "workers"
"""Folder of the spool with one subfolder per worker."""

OLD = timedelta(days=14)
"""Age at which a half-downloaded file is deleted; a later download starts again."""


MOVED = "moved"
"""File in the folder of a worker: the bytes that it moved for its unit, which are reported with the unit."""


def collect_parts(spool: Path) -> int:
    """Move the parts of workers that have ended into the spool; folders of running workers are left alone.

    Of two parts of one file the longer is kept. Returns the bytes that these workers moved and did not report.
    """
    moved = 0
    folders = list((spool / WORKERS).iterdir()) if (spool / WORKERS).is_dir() else []
    for folder in folders:
        if not folder.is_dir():
            continue
        with suppress(StoreLocked), WriteLock(folder), disk_errors(folder):
            for part in folder.glob("*.part"):
                here = spool / part.name
                if not here.exists() or here.stat().st_size < part.stat().st_size:
                    part.replace(here)
            moved += _unreported(folder / MOVED)
            shutil.rmtree(folder, ignore_errors=True)
    return moved


def _unreported(file: Path) -> int:
    try:
        return int(read_regular(file))
    except (OSError, ValueError):
        return 0


def delete_old_parts(spool: Path, clock: Clock, uptime: Uptime = read_uptime) -> None:
    """Delete parts that were not written to for two weeks, counted between the ends of clones."""
    parts = [*spool.glob("*.part")]
    if not parts and not (spool / AGES_NAME).exists():
        return
    for part in find_old(spool, parts, OLD, clock, uptime):
        with disk_errors(part):
            part.unlink()
