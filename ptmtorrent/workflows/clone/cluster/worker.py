"""A worker of a cluster: it captures the packages of a unit and returns a report.

A worker is a process or thread that runs one unit after another. While it runs it has one writer of the store, one hub
adapter and one folder of the spool; the journal belongs to the coordinator (ADR 0027).
"""

import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from ptmtorrent.config import hub_tokens, network_environment, ssh_environment
from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.disk.locks import WriteLock, is_locked
from ptmtorrent.errors import PtmError, StoreError
from ptmtorrent.facts.findings.scanner import Scanner
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.port import Hub
from ptmtorrent.hubs.registry import HubOptions, find_kind
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.moments import read_clock
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter
from ptmtorrent.state.clone_journal import Journal, NewPlan, Run, Work
from ptmtorrent.state.rate_windows import Known, SharedWindows
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.capture_loop import CaptureLoop, this_process
from ptmtorrent.workflows.clone.download_queue import MOVED, WORKERS, DownloadQueue
from ptmtorrent.workflows.clone.known import KnownPackages
from ptmtorrent.workflows.clone.outcomes import Leases, Outcomes
from ptmtorrent.workflows.clone.plan import decode_plan, hub_threads
from ptmtorrent.workflows.clone.store_queue import StoreQueue

STOP_FILE = "stop"
"""File in the folder of all workers whose presence stops them."""

WATCH_SECONDS = 0.5
NOTED_BYTES = 256 << 10
"""A worker that is lost leaves fewer moved bytes than this uncounted."""


class WorkUnit(msgspec.Struct, frozen=True, kw_only=True):
    """Packages for one worker, in order. `share` workers share the rate limits of the hub, of which `known` is known.

    `options` are without secrets and without a folder: each worker has its own (`without_secrets`).
    """

    home: Path
    hub: str
    options: HubOptions
    known: Known
    listed: str
    works: tuple[Work, ...]
    jobs: int
    max_memory: int
    share: int


@dataclass
class UnitReport:
    """The report of a unit: packages captured and failed, bytes moved, and the error that ended it early, if any.

    `incomplete` are packages that were captured without some files, each with these in words.
    """

    done: list[tuple[str, SnapshotId]] = field(default_factory=list)
    incomplete: list[tuple[str, SnapshotId, str]] = field(default_factory=list)
    failed: list[tuple[str, PtmError]] = field(default_factory=list)
    moved: int = 0
    error: PtmError | None = None


def without_secrets(options: HubOptions) -> HubOptions:
    """Return the options to send to a worker, which reads tokens from its own environment."""
    return replace(options, environment={}, tokens={}, logins={})


def run_unit(unit: WorkUnit) -> UnitReport:
    """Capture the packages of `unit` into the store. A `PtmError` is part of the report."""
    report = UnitReport()
    try:
        worker = _open_workers.of(unit)
        with Journal(None) as journal, _watch_for_stop(Home(unit.home).spool) as stop:
            _run(unit, worker, journal, report, stop)
    except PtmError as error:
        report.error = error
        if isinstance(error, StoreError):
            _open_workers.discard()
    return report


def close_workers() -> None:
    """Close what worker threads of this process have open; worker processes close it when they end."""
    _open_workers.close()


class _OpenWorker:
    """The spool folder, the hub and the store that a worker has open."""

    def __init__(self, unit: WorkUnit) -> None:
        home = Home(unit.home)
        self.spool = home.spool / WORKERS / secrets.token_hex(8)
        with ExitStack() as stack:
            stack.enter_context(WriteLock(self.spool))
            self.hub: Hub = stack.enter_context(closing(_make_hub(unit, self.spool / "hub")))
            self.store = stack.enter_context(Store.open(home.store, write=True, memory=unit.max_memory))
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()


class _OpenWorkers:
    """The open workers of this process, one per thread."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._all: list[_OpenWorker] = []
        self._lock = threading.Lock()

    def of(self, unit: WorkUnit) -> _OpenWorker:
        """Return the open worker of this thread; a thread works for one clone."""
        worker: _OpenWorker | None = getattr(self._mine, "worker", None)
        with self._lock:
            if worker is None or worker not in self._all:
                worker = self._mine.worker = _OpenWorker(unit)
                self._all.append(worker)
        return worker

    def discard(self) -> None:
        """Close the worker of this thread, if there is one: its writer failed and cannot be used again."""
        worker: _OpenWorker | None = getattr(self._mine, "worker", None)
        with self._lock:
            if worker is None or worker not in self._all:
                return
            self._all.remove(worker)
        with suppress(PtmError):
            worker.close()

    def close(self) -> None:
        with self._lock, ExitStack() as stack:
            for worker in self._all:
                stack.callback(worker.close)
            self._all.clear()


_open_workers = _OpenWorkers()


@dataclass
class _ReportedOutcomes(Outcomes):
    """Outcomes that go into the report; the coordinator, which sees all units, decides about an outage."""

    report: UnitReport = field(default_factory=UnitReport)

    def done(self, work: Work, snapshot: SnapshotId) -> None:
        super().done(work, snapshot)
        self.report.done.append((work.name, snapshot))

    def incomplete(self, work: Work, snapshot: SnapshotId, lacking: str) -> None:
        super().incomplete(work, snapshot, lacking)
        self.report.incomplete.append((work.name, snapshot, lacking))

    def failed(self, work: Work, error: PtmError) -> None:
        super().failed(work, error)
        self.report.failed.append((work.name, error))


def _make_hub(unit: WorkUnit, folder: Path) -> Hub:
    options = replace(
        unit.options, work=folder, environment={**network_environment(), **ssh_environment()}, tokens=hub_tokens()
    )
    windows = SharedWindows(unit.known, time.time, unit.share)
    return find_kind(unit.hub).make(options, partial(Session, windows=windows, share=unit.share))


def _run(unit: WorkUnit, worker: _OpenWorker, journal: Journal, report: UnitReport, stop: Stop) -> None:
    hub, run = worker.hub, _queue(journal, unit)
    lock = threading.Lock()

    noted = worker.spool / MOVED
    noted_at = 0

    def count(_held: int, moved: int) -> None:
        nonlocal noted_at
        with lock:
            report.moved += moved
            if report.moved - noted_at >= NOTED_BYTES:
                noted_at = report.moved
                with suppress(OSError):
                    noted.write_text(str(noted_at))

    outcomes = _ReportedOutcomes(journal, run.id, hub.prefix, lambda _: None, report=report)
    threads = hub_threads(hub, unit.jobs)
    with (
        Scanner() as scanner,
        StoreQueue(worker.store) as store_queue,
        threads as (pool, halt),
        closing(KnownPackages(worker.store)) as known,
    ):
        downloads = DownloadQueue(hub, worker.spool, pool, halt, unit.jobs, count)
        _move_parts(downloads, Home(unit.home).spool, unit.works)
        CaptureLoop(
            store=worker.store,
            run=run,
            downloads=downloads,
            store_queue=store_queue,
            known=known,
            outcomes=outcomes,
            meter=Meter(lambda _: None, hub.session.monotonic),
            clock=read_clock,
            leases=Leases(journal, run.id, this_process(), hub.session.monotonic),
            scanner=scanner,
        ).work(stop)
    noted.unlink(missing_ok=True)


def _queue(journal: Journal, unit: WorkUnit) -> Run:
    """Put the packages, in order, into a journal in memory."""
    run = journal.start(unit.hub, "", unit.listed)
    journal.add_page(run.id, [(work.name, -number, work.listed) for number, work in enumerate(unit.works)], None)
    journal.rank(run.id, None)
    journal.keep_plans(
        run.id, [NewPlan(work.name, work.plan or b"", work.files, work.bytes, requests=0) for work in unit.works]
    )
    return run


def _move_parts(downloads: DownloadQueue, folder: Path, works: Iterable[Work]) -> None:
    """Take over parts of these packages that earlier workers received and did not store."""
    for work in works:
        plan = decode_plan(work)
        for file in plan.files:
            part = downloads.part(file, plan)
            with disk_errors(part), suppress(FileNotFoundError):
                (folder / part.name).rename(part)


@contextmanager
def _watch_for_stop(spool: Path) -> Iterator[Stop]:
    """Yield a stop flag that is set when the coordinator requests a stop or has ended."""
    stop, over = Stop(), Stop()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            if (spool / WORKERS / STOP_FILE).exists() or not is_locked(spool):
                stop.set()
                return

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        over.set()
        thread.join()
