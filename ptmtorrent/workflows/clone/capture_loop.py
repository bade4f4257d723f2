"""Working a planned clone: claim a package, get the files the store lacks, store them, capture, commit, settle.

Threads download, and store what was downloaded; this thread alone captures, commits and uses the journal. The order is
what a crash is survived by: objects, manifest, capture, commit of the store, then the journal's rows, then the spool's
parts go. Packages are claimed, committed and recorded a batch at a time, so that a million small ones do not wait for
the disk a million times; an idle worker does not wait for a full batch.
"""

import os
import socket
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import AuthError, HubError, IntegrityError, Interrupted, NotFound, PtmError, RateLimited
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.moments import Clock, spell
from ptmtorrent.progress import Meter
from ptmtorrent.state.clone_journal import COMMIT_BYTES, Run, Work
from ptmtorrent.stop import Stop
from ptmtorrent.store.cutters import ByteSource, Nearby
from ptmtorrent.store.pack.classes import TEMPERS, PackClass
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.workflows.clone.capture import capture
from ptmtorrent.workflows.clone.download_queue import Spool, Transfer
from ptmtorrent.workflows.clone.known import Captured, Weights
from ptmtorrent.workflows.clone.leases import BATCH, Claims
from ptmtorrent.workflows.clone.lineage import choose_bases, declared_bases
from ptmtorrent.workflows.clone.manifest import class_of, is_weights
from ptmtorrent.workflows.clone.open_package import Open, open_package, rights_in
from ptmtorrent.workflows.clone.outcomes import Outcomes
from ptmtorrent.workflows.clone.plan import (
    POLL_SECONDS,
    PackagePlan,
    decode_plan,
    one_package,
)
from ptmtorrent.workflows.clone.store_queue import Keeper

_OF_ONE_SOURCE = (AuthError, NotFound, HubError, IntegrityError)
"""What is wrong with a file at one package need not be wrong with the same bytes at another."""


@dataclass
class Worker:
    """One process's share of a run."""

    store: Store
    run: Run
    spool: Spool
    keeper: Keeper
    captured: Captured
    outcomes: Outcomes
    meter: Meter
    clock: Clock
    claims: Claims
    _open: set[Open] = field(default_factory=set)
    _wanting: dict[str, list[tuple[Open, HubFile]]] = field(default_factory=lambda: defaultdict(list))
    _uncommitted: list[Path] = field(default_factory=list)
    _uncommitted_bytes: int = 0
    _captured: list[tuple[Open, SnapshotId]] = field(default_factory=list)

    def work(self, stop: Stop) -> None:
        """Work until nothing is left to claim.

        Raises:
            Interrupted: `stop` was set.
            NoSpace, StoreError: the disk or the store failed; everything committed is kept.
            HubError: the hub is down.
        """
        try:
            while self._claim() or self._open:
                stop.raise_if_set("the clone")
                self.claims.renew()
                self._turn()
            self._commit()
            self.outcomes.flush()
        except (HubError, RateLimited, Interrupted):
            self._commit()
            raise
        finally:
            self.outcomes.record()

    def _turn(self) -> None:
        """Start what there is room for, wait until something is done, and go on with that; when idle, commit."""
        self.spool.feed()
        under_way: list[Future[Any]] = [*self.spool.futures, *self.keeper.futures]
        if not any(future.done() for future in under_way):
            self._commit()
        wait(under_way, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for kept in [future for future in self.keeper.futures if future.done()]:
            self._settle(kept)
        for filled in [future for future in self.spool.futures if future.done()]:
            self._receive(filled)

    def _claim(self) -> bool:
        """Open packages while there is room; tell whether any was."""
        opened = 0
        while opened < BATCH and self.spool.is_hungry and (work := self.claims.next()) is not None:
            self._begin(work)
            opened += 1
        return opened > 0

    def _begin(self, work: Work) -> None:
        package = open_package(work, decode_plan(work))
        self._open.add(package)
        self._go_on(package)

    def _go_on(self, package: Open) -> None:
        """Find what is to be found next of a package; capture it when that was all."""
        while package in self._open and (files := package.take_ready()):
            for file in files:
                self._find(package, file)
        self._finish_if_complete(package)

    def _find(self, package: Open, file: HubFile) -> None:
        """Take a file from the store, or join those who wait for it, or begin to wait."""
        oid = file.name_of_bytes
        known = None if oid is None else self.store.known_file(oid, package.rights)
        if known is not None:
            package.stored[file.path] = (file, known)
            self._uncommitted.append(self.spool.part(file, package.plan))
            self.meter.add(bytes=known.size)
            return
        # What one may have because of its login, another has not got by naming the hash: that one asks for its own.
        key = f"{oid}\n{package.rights}" if oid is not None else f"{package.work.name}\n{file.path}"
        if key not in self._wanting:
            self.spool.add(key, file, package.plan)
        self._wanting[key].append((package, file))
        package.missing.add(key)

    def _receive(self, future: Future[None]) -> None:
        """Have a downloaded file stored."""
        transfer = self.spool.take(future)
        try:
            with one_package(transfer.plan.described.identity.package):
                future.result()
        except PtmError as error:
            self._give_up(transfer, error)
        else:
            self._keep(transfer)

    def _keep(self, transfer: Transfer) -> None:
        """Store a file as it stands in the package it was got for, or, when that gave up, in the first that wants it.

        Another package may have cut the same bytes by another name; it is then their first storing that counts.
        """
        wanting = self._wanting.get(transfer.key, [])
        mine = [pair for pair in wanting if pair[0].plan is transfer.plan]
        package, file = next(iter((*mine, *wanting)), (None, transfer.file))
        plan = package.plan if package is not None else transfer.plan
        bases = choose_bases(file.path, self._relatives(plan)) if is_weights(file.path, file.size or 0) else ()
        nearby = self._nearby(package)
        self.keeper.keep(transfer, file, self._class_for(transfer), bases=bases, nearby=nearby)

    def _nearby(self, package: Open | None) -> Nearby:
        def look(path: str) -> ByteSource | None:
            found = package.stored.get(path) if package is not None else None
            return self.store.source(found[1]) if found is not None else None

        return look

    def _relatives(self, plan: PackagePlan) -> Iterator[Weights]:
        """Yield the weights of the package's last revision, then of its bases, as far as they are here by now."""
        described = plan.described
        yield self.captured.weights(described.identity.package)
        for name in declared_bases(described.listed):
            here = (*self._open, *(package for package, _ in self._captured))
            yield from (package.weights for package in here if package.work.name == name)
            yield self.captured.weights(PackageName(f"{described.identity.hub}:{name}"))

    def _settle(self, future: Future[StoredFile]) -> None:
        """Hand out a stored file."""
        transfer = self.keeper.take(future)
        try:
            stored = future.result()
        except PtmError as error:
            self._give_up(transfer, error)
            return
        self.spool.leave(transfer)
        self._uncommitted.append(transfer.part)
        self._uncommitted_bytes += stored.size
        self._hand_out(transfer, stored)
        self._commit_if_much()

    def _give_up(self, transfer: Transfer, error: PtmError) -> None:
        """Try once more what came damaged; else it has failed."""
        damaged = isinstance(error, IntegrityError)
        if damaged and transfer.tries == 0 and transfer.key in self._wanting:
            self.spool.again(transfer)
            return
        if damaged:
            self.spool.drop(transfer)
        self.spool.leave(transfer)
        self._fail(transfer, error)

    def _class_for(self, transfer: Transfer) -> PackClass:
        """Return the hottest class that anybody who waits for the file would put it in; their rights are the same."""
        wanting = self._wanting.get(transfer.key, [])
        classes = [package.class_of(file) for package, file in wanting]
        if not classes:
            listed = transfer.plan.described.listed
            return class_of(transfer.file, listed, rights_in(listed))
        return min(classes, key=lambda each: TEMPERS.index(each.temper))

    def _hand_out(self, transfer: Transfer, stored: StoredFile) -> None:
        self.outcomes.went_well()
        wanting = self._wanting.pop(transfer.key, [])
        self.meter.add(bytes=stored.size * max(0, len(wanting) - 1))
        for package, file in wanting:
            package.stored[file.path] = (file, stored)
            package.missing.discard(transfer.key)
        for package in dict.fromkeys(package for package, _ in wanting):
            self._go_on(package)

    def _fail(self, transfer: Transfer, error: PtmError) -> None:
        """Close the package whose file could not be had; others that want its bytes ask for their own.

        A hub that cannot be reached has failed all of them.
        """
        key = transfer.key
        down = not isinstance(error, _OF_ONE_SOURCE) or isinstance(error, (Unreachable, RateLimited))
        wanting = dict.fromkeys(package for package, _ in self._wanting.get(key, []))
        for package in [package for package in wanting if down or package.plan is transfer.plan]:
            self._close(package)
            self.outcomes.failed(package.work, error)
        if key in self._wanting:
            package, file = self._wanting[key][0]
            self.spool.add(key, file, package.plan)

    def _close(self, package: Open) -> None:
        self._open.discard(package)
        for key in package.missing:
            self._wanting[key] = [pair for pair in self._wanting[key] if pair[0] is not package]
            if not self._wanting[key]:
                del self._wanting[key]
        self.spool.forget(lambda key: key in self._wanting)
        self.spool.hub.release(package.plan.described)
        self.meter.add(packages=1)

    def _finish_if_complete(self, package: Open) -> None:
        if package not in self._open or not package.is_complete:
            return
        try:
            snapshot = capture(self.store, package, captured=spell(self.clock()), listed=self.run.listed)
        except IntegrityError as error:
            self._close(package)
            self.outcomes.failed(package.work, error)
            return
        self._captured.append((package, snapshot))
        self._close(package)
        if len(self._captured) >= BATCH:
            self._commit()

    def _commit_if_much(self) -> None:
        if self._uncommitted_bytes >= COMMIT_BYTES:
            self._commit()

    def _commit(self) -> None:
        """Make the store durable; only then may the journal say so, and the spool forget.

        The bytes of a part may have come another way, as a git blob here and an LFS file there: who fills it goes on.
        """
        if not self._captured and self._uncommitted_bytes < COMMIT_BYTES:
            return
        self.store.commit()
        for package, snapshot in self._captured:
            self.captured.add(package.plan.described.identity.package, snapshot, package.rights)
            self.outcomes.done(package.work)
        self._captured.clear()
        self.outcomes.record()
        for part in self._uncommitted:
            if not self.spool.holds(part):
                with disk_errors(part):
                    part.unlink(missing_ok=True)
        self._uncommitted.clear()
        self._uncommitted_bytes = 0


def this_process() -> str:
    """Name this process as the owner of leases."""
    return f"{socket.gethostname()}:{os.getpid()}"
