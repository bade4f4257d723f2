"""The capture loop: claim a package, download the files that the store lacks, store them, capture, commit, settle.

Threads download, store what was downloaded, and commit; this thread alone captures and uses the journal. A crash is
survived by the write order: objects, manifest, capture, commit of the store, rows of the journal, and only then are the
parts in the spool deleted. Packages are claimed a batch at a time, and committed and recorded in groups
(`store_queue`), so that a million small ones do not wait for the disk a million times.
"""

import os
import socket
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import AuthError, HubError, IntegrityError, Interrupted, NotFound, PtmError, RateLimited
from ptmtorrent.facts.findings.scanner import Scanner
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Identity, MissingReason
from ptmtorrent.model.moments import Clock, spell
from ptmtorrent.model.text import count
from ptmtorrent.progress import Meter
from ptmtorrent.state.clone_journal import Run, Work
from ptmtorrent.stop import Stop
from ptmtorrent.store.cutters import ByteSource, Nearby
from ptmtorrent.store.pack.format import TEMPERS, PackClass
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.workflows.clone.download_queue import DownloadQueue, Transfer
from ptmtorrent.workflows.clone.findings import add_identity, scan_files
from ptmtorrent.workflows.clone.known import KnownPackages, choose_bases
from ptmtorrent.workflows.clone.manifest import (
    OpenPackage,
    Weights,
    capture,
    class_of,
    is_weights,
    missing_files,
    open_package,
    reason_for,
    rights_in,
)
from ptmtorrent.workflows.clone.outcomes import BATCH, Leases, Outcomes
from ptmtorrent.workflows.clone.plan import (
    POLL_SECONDS,
    PackagePlan,
    declared_bases,
    decode_plan,
    translate_errors,
)
from ptmtorrent.workflows.clone.store_queue import Group, GroupCommit, StoreQueue

MAX_NAMED = 5
"""Files that the record of a package without them names."""

_OF_ONE_SOURCE = (AuthError, NotFound, HubError, IntegrityError)
"""Errors of a file in one package that the same bytes in another package need not have."""


@dataclass
class CaptureLoop:
    """The part of a run that one process works on."""

    store: Store
    run: Run
    downloads: DownloadQueue
    store_queue: StoreQueue
    known: KnownPackages
    outcomes: Outcomes
    meter: Meter
    clock: Clock
    leases: Leases
    scanner: Scanner
    _open: set[OpenPackage] = field(default_factory=set)
    _wanted_by: dict[str, list[tuple[OpenPackage, HubFile]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._group = GroupCommit(self.store, self.leases.monotonic)

    def work(self, stop: Stop) -> None:
        """Run until no package is left to claim.

        Raises:
            Interrupted: `stop` was set.
            NoSpace, StoreError: the disk or the store failed; everything committed is kept.
            HubError: the hub is down.
        """
        with self._group:
            try:
                while self._open_packages() or self._open:
                    stop.raise_if_set("the clone")
                    self.leases.renew()
                    self._step()
                self._commit()
                self.outcomes.flush()
            except (HubError, RateLimited, Interrupted):
                self._commit()
                raise
            except PtmError:
                with suppress(PtmError):  # the error that ended the run says more
                    self._settle(self._group.finish())
                raise
            finally:
                self.outcomes.write()

    def _step(self) -> None:
        """Start downloads and a commit that is due, wait until something is done, and process it."""
        self.downloads.start()
        if self._group.is_due:
            self._group.start()
        in_progress: list[Future[Any]] = [*self.downloads.futures, *self.store_queue.futures, *self._group.futures]
        wait(in_progress, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        if any(future.done() for future in self._group.futures):
            self._settle(self._group.finish())
        for stored in [future for future in self.store_queue.futures if future.done()]:
            self._finish_stored(stored)
        for downloaded in [future for future in self.downloads.futures if future.done()]:
            self._finish_download(downloaded)

    def _open_packages(self) -> bool:
        """Open packages while the download queue has capacity; return whether any was opened."""
        opened = 0
        while opened < BATCH and self.downloads.has_capacity and (work := self.leases.next()) is not None:
            self._open_package(work)
            opened += 1
        return opened > 0

    def _open_package(self, work: Work) -> None:
        package = open_package(work, decode_plan(work))
        self._open.add(package)
        if (snapshot := self._captured_before(package)) is None:
            self._advance(package)
            return
        for file in package.plan.files:
            self._group.add_part(self.downloads.part(file, package.plan))
        self.meter.add(bytes=package.plan.bytes)
        self._settle_with_group(package, snapshot)

    def _captured_before(self, package: OpenPackage) -> SnapshotId | None:
        """Return the snapshot of a package that was captured before, with the same files.

        An earlier process captured it and ended before it wrote the journal, or the same files are still missing.
        """
        described = package.plan.described
        name, answers = described.identity.package, (*described.answers, *package.plan.answers)
        asked = {answer for answer, _ in answers} | {file.answer for file in package.plan.files if file.answer}
        held = self.known.snapshot(name) is not None and self.known.holds(
            name,
            described.identity.commit,
            frozenset(asked),
            hub_id=described.identity.hub_id,
            rights=package.rights,
            missing=missing_files(package),
        )
        return self.known.snapshot(name) if held else None

    def _advance(self, package: OpenPackage) -> None:
        """Look for the files of a package that can be stored now; capture the package if none is left."""
        while package in self._open and (files := package.take_ready()):
            for file in files:
                self._look_for(package, file)
        self._capture_if_complete(package)

    def _look_for(self, package: OpenPackage, file: HubFile) -> None:
        """Take a file from the store, or wait for its download, which is queued unless another package waits too."""
        oid = file.name_of_bytes
        known = None if oid is None else self.store.known_file(oid, package.rights)
        # A file of another size than listed is downloaded, to end as it does where the store has no such file.
        if known is not None and file.size in {None, known.size}:
            package.stored[file.path] = (file, known)
            self._group.add_part(self.downloads.part(file, package.plan))
            self.meter.add(bytes=known.size)
            return
        # Knowing the hash of a gated file gives no right to it: packages of other rights download their own.
        key = f"{oid}\n{file.size}\n{package.rights}" if oid is not None else f"{package.work.name}\n{file.path}"
        if key not in self._wanted_by:
            self.downloads.add(key, file, package.plan)
        self._wanted_by[key].append((package, file))
        package.missing.add(key)

    def _finish_download(self, future: Future[None]) -> None:
        """Queue a downloaded file for the store."""
        transfer = self.downloads.take(future)
        try:
            with translate_errors(transfer.plan.described.identity.package):
                future.result()
        except PtmError as error:
            self._retry_or_fail(transfer, error)
        else:
            self._queue_for_store(transfer)

    def _queue_for_store(self, transfer: Transfer) -> None:
        """Store a file as listed in the package it was downloaded for, or, if that failed, in the first that wants it.

        Other packages may list the same bytes by another name, which could be cut otherwise; the first name counts.
        """
        wanting = self._wanted_by.get(transfer.key, [])
        mine = [pair for pair in wanting if pair[0].plan is transfer.plan]
        package, file = next(iter((*mine, *wanting)), (None, transfer.file))
        plan = package.plan if package is not None else transfer.plan
        bases = choose_bases(file.path, self._relatives(plan)) if is_weights(file.path, file.size or 0) else ()
        nearby = self._nearby(package)
        self.store_queue.add(transfer, file, self._class_for(transfer), bases=bases, nearby=nearby)

    def _nearby(self, package: OpenPackage | None) -> Nearby:
        def look(path: str) -> ByteSource | None:
            found = package.stored.get(path) if package is not None else None
            return self.store.source(found[1]) if found is not None else None

        return look

    def _relatives(self, plan: PackagePlan) -> Iterator[Weights]:
        """Yield the weights of the package's newest capture, then of its declared bases, as far as they are stored."""
        described = plan.described
        yield self.known.weights(described.identity.package)
        for name in declared_bases(described.listed):
            yield from (package.weights for package in self._open if package.work.name == name)
            yield self.known.weights(PackageName(f"{described.identity.hub}:{name}"))

    def _finish_stored(self, future: Future[StoredFile]) -> None:
        """Give a stored file to every package that wants it."""
        transfer = self.store_queue.take(future)
        try:
            stored = future.result()
        except PtmError as error:
            self._retry_or_fail(transfer, error)
            return
        self.downloads.release(transfer)
        if transfer.source is None:
            self._group.add_part(transfer.part, stored.size)
        self._deliver(transfer, stored)
        if self._group.is_full:
            self._commit()

    def _retry_or_fail(self, transfer: Transfer, error: PtmError) -> None:
        """Download a damaged file once more; otherwise fail its package."""
        damaged = isinstance(error, IntegrityError)
        if damaged and transfer.tries == 0 and transfer.key in self._wanted_by:
            self.downloads.retry(transfer)
            return
        if damaged:
            self.downloads.delete_part(transfer)
        self.downloads.release(transfer)
        self._fail(transfer, error)

    def _class_for(self, transfer: Transfer) -> PackClass:
        """Return the hottest class among the packages that want the file; their rights are the same."""
        wanting = self._wanted_by.get(transfer.key, [])
        classes = [package.class_of(file) for package, file in wanting]
        if not classes:
            listed = transfer.plan.described.listed
            return class_of(transfer.file, listed, rights_in(listed))
        return min(classes, key=lambda each: TEMPERS.index(each.temper))

    def _deliver(self, transfer: Transfer, stored: StoredFile) -> None:
        self.outcomes.hub_works()
        wanting = self._wanted_by.pop(transfer.key, [])
        self.meter.add(bytes=stored.size * max(0, len(wanting) - 1))
        for package, file in wanting:
            package.stored[file.path] = (file, stored)
            package.missing.discard(transfer.key)
        for package in dict.fromkeys(package for package, _ in wanting):
            self._advance(package)

    def _fail(self, transfer: Transfer, error: PtmError) -> None:
        """Fail the package whose file could not be downloaded, or go on without that file if it alone cannot be had.

        Others that want its bytes download their own file. When the hub cannot be reached, all of them fail.
        """
        key = transfer.key
        down = not isinstance(error, _OF_ONE_SOURCE) or isinstance(error, (Unreachable, RateLimited))
        wanting = dict.fromkeys(package for package, _ in self._wanted_by.get(key, []))
        for package in [package for package in wanting if down or package.plan is transfer.plan]:
            reason = reason_for(error, transfer.file, package.listed)
            if reason is not None:
                self._go_on_without(package, key, reason, error)
            else:
                self._close(package)
                self.outcomes.failed(package.work, error)
        if key in self._wanted_by:
            package, file = self._wanted_by[key][0]
            self.downloads.add(key, file, package.plan)

    def _go_on_without(self, package: OpenPackage, key: str, reason: MissingReason, error: PtmError) -> None:
        """Give up the files of a package that one download would have served, and go on with its others."""
        for file in [file for wanting, file in self._wanted_by[key] if wanting is package]:
            package.lose(file, reason, error)
            self.meter.add(bytes=file.size or 0)
        self._want_no_more(package, key)
        package.missing.discard(key)
        self._advance(package)

    def _want_no_more(self, package: OpenPackage, key: str) -> None:
        self._wanted_by[key] = [pair for pair in self._wanted_by[key] if pair[0] is not package]
        if not self._wanted_by[key]:
            del self._wanted_by[key]

    def _close(self, package: OpenPackage) -> None:
        self._open.discard(package)
        for key in package.missing:
            self._want_no_more(package, key)
        self.downloads.discard(lambda key: key in self._wanted_by)
        self.downloads.forget(package.plan)
        self.downloads.hub.release(package.plan.described)
        self.meter.add(packages=1)

    def _capture_if_complete(self, package: OpenPackage) -> None:
        if package not in self._open or not package.is_complete:
            return
        if package.lost and not package.has_any:
            self._close(package)
            self.outcomes.failed(package.work, _error_of_all(package))
            return
        if package.lost and (before := self._captured_before(package)) is not None:
            self._settle_with_group(package, before)
            return
        try:
            scan = scan_files(self.scanner, self.store, package, lambda file: self.downloads.place(file, package.plan))
            identity = package.plan.described.identity
            scan = add_identity(scan, self._identity_before(identity.package), identity)
            snapshot = capture(self.store, package, scan, captured=spell(self.clock()), listed=self.run.listed)
        except IntegrityError as error:
            self._close(package)
            self.outcomes.failed(package.work, error)
            return
        self.known.add(package.plan.described.identity.package, snapshot, package.rights)
        self._settle_with_group(package, snapshot)

    def _identity_before(self, package: PackageName) -> Identity | None:
        """Return the identity of a package at its newest capture; None if it has none that can be read."""
        try:
            return self.known.identity(package)
        except PtmError:
            return None

    def _settle_with_group(self, package: OpenPackage, snapshot: SnapshotId) -> None:
        self._group.add_capture(package.work, snapshot, _spell_lost(package))
        self._close(package)

    def _commit(self) -> None:
        """Make everything captured so far durable, and settle it."""
        self._settle(self._group.finish())
        if not self._group.is_empty:
            self._group.start()
            self._settle(self._group.finish())

    def _settle(self, group: Group) -> None:
        """Write the journal for a group that is durable; only then delete its parts from the spool.

        The same bytes may have been stored from elsewhere, as a git blob here and an LFS file there: a part that is
        still downloading stays.
        """
        for work, snapshot, lacking in group.captured:
            if lacking:
                self.outcomes.incomplete(work, snapshot, lacking)
            else:
                self.outcomes.done(work, snapshot)
        self.outcomes.write()
        for part in group.parts:
            if not self.downloads.holds(part):
                with disk_errors(part):
                    part.unlink(missing_ok=True)


def _spell_lost(package: OpenPackage) -> str:
    """Return which files a package was captured without, and why; "" if it has all."""
    if not package.lost:
        return ""
    named = ", ".join(lost.spell() for lost in list(package.lost.values())[:MAX_NAMED])
    more = f" and {len(package.lost) - MAX_NAMED} more" if len(package.lost) > MAX_NAMED else ""
    return f"captured without {count(len(package.lost), 'file')}: {named}{more}; the next clone tries again"


def _error_of_all(package: OpenPackage) -> PtmError:
    """Return why a package has no file."""
    errors = [lost.error for lost in package.lost.values() if lost.error is not None]
    if errors:
        return errors[0]
    return HubError(f"no file of `{package.plan.described.identity.package}` can be read")


def this_process() -> str:
    """Return the name of this process as an owner of leases."""
    return f"{socket.gethostname()}:{os.getpid()}"
