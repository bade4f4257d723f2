"""Files on their way from a hub to the store: a few at a time, each once, however many packages want it.

Packages take turns, a file each, so that one of ten thousand files holds up no other. A package made from another that
is under way lets it go first, because the difference to what is here already is what is stored of it.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.hubs.client.download import Count, Download, check_no_pointer
from ptmtorrent.hubs.port import Hub, HubFile
from ptmtorrent.model.names import show_path
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.lineage import declared_bases
from ptmtorrent.workflows.clone.open_package import rights_in
from ptmtorrent.workflows.clone.plan import PackagePlan


@dataclass(eq=False)
class Transfer:
    """One file under way; `key` is its oid. `held` bytes of it have been counted as progress so far."""

    key: str
    file: HubFile
    plan: PackagePlan
    part: Path
    what: str
    tries: int = 0
    held: int = 0

    @property
    def package(self) -> str:
        """The name, on its hub, of the package it is got for."""
        return self.plan.described.listed.name


@dataclass
class Spool:
    """The transfers of one run: at most `jobs` parts are being filled or waiting to be stored."""

    hub: Hub
    folder: Path
    pool: ThreadPoolExecutor
    halt: Stop
    jobs: int
    count: Count
    _waiting: dict[str, deque[Transfer]] = field(default_factory=dict)
    _running: dict[Future[None], Transfer] = field(default_factory=dict)
    _full: set[Transfer] = field(default_factory=set)

    @property
    def is_hungry(self) -> bool:
        """Is there room for the files of one more package?"""
        return len({transfer.package for transfer in self._here()} | self._waiting.keys()) < self.jobs

    @property
    def futures(self) -> tuple[Future[None], ...]:
        """The transfers under way."""
        return tuple(self._running)

    def holds(self, part: Path) -> bool:
        """Tell whether `part` is being filled or stored, or will be."""
        waiting = (transfer for line in self._waiting.values() for transfer in line)
        return any(transfer.part == part for transfer in (*self._here(), *waiting))

    def part(self, file: HubFile, plan: PackagePlan) -> Path:
        """Return where the bytes of `file` are collected: named by the promised hash, and by who may have them."""
        rights = rights_in(plan.described.listed)
        if file.name_of_bytes is not None:
            whose = "" if rights == "open" else f"-{rights}"
            return self.folder / f"{file.name_of_bytes.partition(':')[2]}{whose}.part"
        identity = plan.described.identity
        place = f"{identity.package}\n{identity.commit}\n{file.path}"
        return self.folder / f"url-{blake3(place.encode(errors='surrogateescape')).hexdigest()}.part"

    def add(self, key: str, file: HubFile, plan: PackagePlan) -> None:
        """Queue a file, unless it is being downloaded already for a package that has failed."""
        if any(transfer.key == key for transfer in self._here()):
            return
        what = f"`{plan.described.identity.package}` file `{show_path(file.path)}`"
        what += f" (`{file.oid}`)" if file.oid is not None else ""
        transfer = Transfer(key=key, file=file, plan=plan, part=self.part(file, plan), what=what)
        self._waiting.setdefault(transfer.package, deque()).append(transfer)

    def again(self, transfer: Transfer) -> None:
        """Drop what was received, and queue the file once more, before all others of its package."""
        self.drop(transfer)
        self.leave(transfer)
        transfer.tries += 1
        self._waiting.setdefault(transfer.package, deque()).appendleft(transfer)

    def drop(self, transfer: Transfer) -> None:
        """Remove the part."""
        with disk_errors(transfer.part):
            transfer.part.unlink(missing_ok=True)
        self.count(-transfer.held, 0)
        transfer.held = 0

    def forget(self, is_wanted: Callable[[str], bool]) -> None:
        """Remove files that no package wants any more from the queue."""
        lines = {
            package: deque(transfer for transfer in line if is_wanted(transfer.key))
            for package, line in self._waiting.items()
        }
        self._waiting = {package: line for package, line in lines.items() if line}

    def feed(self) -> None:
        """Start what there is room for."""
        while self._waiting and len(self._running) + len(self._full) < self.jobs:
            transfer = self._next()
            self._running[self.pool.submit(self._run, transfer)] = transfer

    def _next(self) -> Transfer:
        """Take the next file of the package whose turn it is, and put that package behind all others."""
        package = next((name for name in self._waiting if not self._follows(name)), None) or next(iter(self._waiting))
        line = self._waiting.pop(package)
        transfer = line.popleft()
        if line:
            self._waiting[package] = line
        return transfer

    def _follows(self, package: str) -> bool:
        """Does a package from which this one was made wait as well?"""
        described = self._waiting[package][0].plan.described
        return any(base in self._waiting for base in declared_bases(described.listed))

    def take(self, future: Future[None]) -> Transfer:
        """Return the transfer of a finished future; it keeps its place until it leaves."""
        transfer = self._running.pop(future)
        self._full.add(transfer)
        return transfer

    def leave(self, transfer: Transfer) -> None:
        """Free the place of a transfer that was taken."""
        self._full.discard(transfer)

    def _here(self) -> tuple[Transfer, ...]:
        return (*self._running.values(), *self._full)

    def _run(self, transfer: Transfer) -> None:
        def count(held: int, moved: int) -> None:
            transfer.held += held
            self.count(held, moved)

        described = transfer.plan.described
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
