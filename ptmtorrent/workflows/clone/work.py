"""Working a planned clone: claim a package, get the files the store lacks, store them, capture, commit, settle.

Threads download; this thread alone uses the store and the journal. The order is what a crash is survived by: objects,
manifest, capture, commit of the store, then the journal's row, then the spool's parts go.
"""

import os
import socket
from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from ptmtorrent.errors import AuthError, HubError, IntegrityError, NotFound, PtmError, RateLimited
from ptmtorrent.facts.licences import rights_of
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.hubs.replies import Unreachable
from ptmtorrent.model.canonical import MAX_DOCUMENT_BYTES
from ptmtorrent.model.capture import Rights
from ptmtorrent.model.manifest import encode_manifest
from ptmtorrent.model.moments import Clock, spell
from ptmtorrent.progress import Meter
from ptmtorrent.store.classes import RIGHTS, TEMPERS, PackClass
from ptmtorrent.store.durable import disk_errors
from ptmtorrent.store.journal import LEASE_SECONDS, Journal, Run, Work
from ptmtorrent.store.store import Expected, Store, StoredFile
from ptmtorrent.workflows.clone.manifest import assemble, class_of, new_capture, put_answers
from ptmtorrent.workflows.clone.outcomes import Outcomes
from ptmtorrent.workflows.clone.plan import COMMIT_BYTES, POLL_SECONDS, PackagePlan, check_stop, decode_plan
from ptmtorrent.workflows.clone.spool import Spool, Transfer

_OF_ONE_SOURCE = (AuthError, NotFound, HubError, IntegrityError)
"""What is wrong with a file at one package need not be wrong with the same bytes at another."""


@dataclass(eq=False)
class _Open:
    """A package being worked: its files so far, and the keys of those to come."""

    work: Work
    plan: PackagePlan
    rights: Rights
    stored: dict[str, tuple[HubFile, StoredFile]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)


@dataclass
class Worker:
    """One process's share of a run."""

    store: Store
    journal: Journal
    run: Run
    spool: Spool
    outcomes: Outcomes
    meter: Meter
    clock: Clock
    owner: str
    _open: set[_Open] = field(default_factory=set)
    _wanting: dict[str, list[tuple[_Open, HubFile]]] = field(default_factory=lambda: defaultdict(list))
    _uncommitted: list[Path] = field(default_factory=list)
    _uncommitted_bytes: int = 0
    _renewed: float = 0.0

    def work(self, stop: Event) -> None:
        """Work until nothing is left to claim.

        Raises:
            Interrupted: `stop` was set.
            NoSpace, StoreError: the disk or the store failed; everything committed is kept.
            HubError: the hub is down.
        """
        while self._claim() or self._open:
            check_stop(stop)
            self._renew()
            self.spool.feed()
            done, _ = wait(self.spool.futures, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                self._receive(future)
        self.outcomes.flush()

    def _renew(self) -> None:
        now = self.clock().timestamp()
        if now - self._renewed > LEASE_SECONDS / 4:
            self.journal.renew(self.run.id, self.owner, now)
            self._renewed = now

    def _claim(self) -> bool:
        """Open packages while there is room; tell whether any was."""
        opened = False
        while self.spool.is_hungry:
            work = self.journal.claim(self.run.id, self.owner, self.clock().timestamp())
            if work is None:
                return opened
            self._begin(work)
            opened = True
        return opened

    def _begin(self, work: Work) -> None:
        plan = decode_plan(work)
        listed = plan.described.listed
        package = _Open(work, plan, rights_of(listed.licence, gated=listed.access == "gated"))
        self._open.add(package)
        for file in sorted(plan.files, key=lambda file: -(file.size or 0)):
            self._find(package, file)
        self._finish_if_complete(package)

    def _find(self, package: _Open, file: HubFile) -> None:
        """Take a file from the store, or join those who wait for it, or begin to wait."""
        known = None if file.oid is None else self.store.known_file(file.oid, package.rights)
        if known is not None:
            package.stored[file.path] = (file, known)
            self._uncommitted.append(self.spool.part(file, package.plan))
            self.meter.add(bytes=known.size)
            return
        key = file.oid or f"{package.work.name}\n{file.path}"
        if key not in self._wanting:
            self.spool.add(key, file, package.plan)
        self._wanting[key].append((package, file))
        package.missing.add(key)

    def _receive(self, future: Future[None]) -> None:
        transfer = self.spool.take(future)
        try:
            future.result()
            stored = self._keep(transfer)
        except IntegrityError as error:
            if transfer.tries == 0 and transfer.key in self._wanting:
                self.spool.again(transfer)
                return
            self.spool.drop(transfer)
            self._fail(transfer, error)
        except PtmError as error:
            self._fail(transfer, error)
        else:
            self._hand_out(transfer, stored)
        self._commit_if_much()

    def _keep(self, transfer: Transfer) -> StoredFile:
        file = transfer.file
        stored = self.store.add_file(
            transfer.part, file.path, Expected(size=file.size, oid=file.oid), self._class_for(transfer)
        )
        self._uncommitted.append(transfer.part)
        self._uncommitted_bytes += stored.size
        return stored

    def _class_for(self, transfer: Transfer) -> PackClass:
        """Return the freest and hottest class that anybody who waits for the file would put it in."""
        wanting = self._wanting.get(transfer.key, [])
        classes = [class_of(file, package.plan.described.listed, package.rights) for package, file in wanting]
        if not classes:
            listed = transfer.plan.described.listed
            return class_of(transfer.file, listed, rights_of(listed.licence, gated=listed.access == "gated"))
        return min(classes, key=lambda each: (RIGHTS.index(each.rights), TEMPERS.index(each.temper)))

    def _hand_out(self, transfer: Transfer, stored: StoredFile) -> None:
        self.outcomes.went_well()
        wanting = self._wanting.pop(transfer.key, [])
        self.meter.add(bytes=stored.size * max(0, len(wanting) - 1))
        for package, file in wanting:
            package.stored[file.path] = (file, stored)
            package.missing.discard(transfer.key)
        for package in {package for package, _ in wanting}:
            self._finish_if_complete(package)

    def _fail(self, transfer: Transfer, error: PtmError) -> None:
        """Close the package whose file could not be had; others that want its bytes ask for their own.

        A hub that cannot be reached has failed all of them.
        """
        key = transfer.key
        down = not isinstance(error, _OF_ONE_SOURCE) or isinstance(error, (Unreachable, RateLimited))
        wanting = {package for package, _ in self._wanting.get(key, [])}
        for package in {package for package in wanting if down or package.plan is transfer.plan}:
            self._close(package)
            self.outcomes.failed(package.work, error)
        if key in self._wanting:
            package, file = self._wanting[key][0]
            self.spool.add(key, file, package.plan)

    def _close(self, package: _Open) -> None:
        self._open.discard(package)
        for key in package.missing:
            self._wanting[key] = [pair for pair in self._wanting[key] if pair[0] is not package]
            if not self._wanting[key]:
                del self._wanting[key]
        self.spool.forget(lambda key: key in self._wanting)
        self.meter.add(packages=1)

    def _finish_if_complete(self, package: _Open) -> None:
        if package.missing or package not in self._open:
            return
        try:
            self._capture(package)
        except IntegrityError as error:
            self._close(package)
            self.outcomes.failed(package.work, error)
            return
        self._commit()
        self._close(package)
        self.outcomes.done(package.work)

    def _capture(self, package: _Open) -> None:
        """Put the hub's answers, the manifest and the capture, in this order."""
        described, rights = package.plan.described, package.rights
        answers = put_answers(self.store, (*described.answers, *package.plan.answers), rights)
        data, snapshot = encode_manifest(assemble(described, package.stored, answers))
        if len(data) > MAX_DOCUMENT_BYTES:
            raise IntegrityError(
                f"the manifest of `{described.identity.package}`, with {len(package.stored)} files, would be "
                f"{len(data)} bytes long, more than any reader takes"
            )
        self.store.put(data, kind="manifest", pack_class=PackClass("meta", rights))
        self.store.add_capture(
            new_capture(described, snapshot, rights, captured=spell(self.clock()), listed=self.run.listed)
        )

    def _commit_if_much(self) -> None:
        if self._uncommitted_bytes >= COMMIT_BYTES:
            self._commit()

    def _commit(self) -> None:
        """Make the store durable; only then may the spool forget.

        The bytes of a part may have come another way, as a git blob here and an LFS file there: who fills it goes on.
        """
        self.store.commit()
        for part in self._uncommitted:
            if not self.spool.holds(part):
                with disk_errors(part):
                    part.unlink(missing_ok=True)
        self._uncommitted.clear()
        self._uncommitted_bytes = 0


def this_process() -> str:
    """Name this process as the owner of leases."""
    return f"{socket.gethostname()}:{os.getpid()}"
