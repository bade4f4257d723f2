"""Files on their way from a hub to the store: a few at a time, each once, however many packages want it."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from blake3 import blake3

from ptmtorrent.hubs.port import Hub, HubFile
from ptmtorrent.hubs.spool import Count, Download, check_no_pointer
from ptmtorrent.store.durable import disk_errors
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


@dataclass
class Spool:
    """The transfers of one run: at most `jobs` parts are being filled or waiting to be stored."""

    hub: Hub
    folder: Path
    pool: ThreadPoolExecutor
    halt: Event
    jobs: int
    count: Count
    _waiting: deque[Transfer] = field(default_factory=deque)
    _running: dict[Future[None], Transfer] = field(default_factory=dict)
    _full: set[Transfer] = field(default_factory=set)

    @property
    def is_hungry(self) -> bool:
        """Is there room for more than is waiting?"""
        return len(self._waiting) + len(self._running) + len(self._full) < self.jobs

    @property
    def futures(self) -> tuple[Future[None], ...]:
        """The transfers under way."""
        return tuple(self._running)

    def holds(self, part: Path) -> bool:
        """Tell whether `part` is being filled or stored, or will be."""
        return any(transfer.part == part for transfer in (*self._here(), *self._waiting))

    def part(self, file: HubFile, plan: PackagePlan) -> Path:
        """Return where the bytes of `file` are collected: named by the hash the hub promises."""
        if file.name_of_bytes is not None:
            return self.folder / f"{file.name_of_bytes.partition(':')[2]}.part"
        identity = plan.described.identity
        place = f"{identity.package}\n{identity.commit}\n{file.path}"
        return self.folder / f"url-{blake3(place.encode()).hexdigest()}.part"

    def add(self, key: str, file: HubFile, plan: PackagePlan) -> None:
        """Queue a file, unless it is under way already for somebody who gave up."""
        if any(transfer.key == key for transfer in self._here()):
            return
        what = f"`{plan.described.identity.package}` file `{file.path}`"
        what += f" (`{file.oid}`)" if file.oid is not None else ""
        self._waiting.append(Transfer(key=key, file=file, plan=plan, part=self.part(file, plan), what=what))

    def again(self, transfer: Transfer) -> None:
        """Drop what was received, and queue the file once more, before all others."""
        self.drop(transfer)
        self.leave(transfer)
        transfer.tries += 1
        self._waiting.appendleft(transfer)

    def drop(self, transfer: Transfer) -> None:
        """Remove the part."""
        with disk_errors(transfer.part):
            transfer.part.unlink(missing_ok=True)
        self.count(-transfer.held, 0)
        transfer.held = 0

    def forget(self, is_wanted: Callable[[str], bool]) -> None:
        """Take what nobody wants any more from the queue."""
        self._waiting = deque(transfer for transfer in self._waiting if is_wanted(transfer.key))

    def feed(self) -> None:
        """Start what there is room for."""
        while self._waiting and len(self._running) + len(self._full) < self.jobs:
            transfer = self._waiting.popleft()
            self._running[self.pool.submit(self._run, transfer)] = transfer

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
        )
        download.run()
        check_no_pointer(transfer.file, transfer.part, transfer.what)
