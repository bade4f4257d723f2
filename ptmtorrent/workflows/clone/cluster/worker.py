"""What a worker of a cluster does: packages of a clone in, what became of them out.

A worker is a process or thread that does one unit after another. As long as it lives it has one writer of the store,
one adapter and one folder of the spool; the journal is the coordinator's (ADR 0027).
"""

import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from ptmtorrent.config import hub_tokens, network_environment
from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.disk.locks import WriteLock, is_locked
from ptmtorrent.errors import PtmError, StoreError
from ptmtorrent.hubs.port import Hub
from ptmtorrent.hubs.registry import HubOptions, find_kind
from ptmtorrent.model.moments import read_clock
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter
from ptmtorrent.state.clone_journal import Journal, Run, Work
from ptmtorrent.state.rate_windows import GivenWindows, Known
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.capture_loop import Worker, this_process
from ptmtorrent.workflows.clone.download_queue import Spool
from ptmtorrent.workflows.clone.known import Captured
from ptmtorrent.workflows.clone.leases import Claims
from ptmtorrent.workflows.clone.outcomes import Outcomes
from ptmtorrent.workflows.clone.partial_files import WORKERS
from ptmtorrent.workflows.clone.plan import decode_plan, hub_threads
from ptmtorrent.workflows.clone.store_queue import Keeper

STOP = "stop"
"""The file in the folder of all workers that asks them to stop."""

WATCH_SECONDS = 0.5


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """Packages for one worker, in order. `share` workers spend from the budgets of the hub, of which `known` was known.

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
class Report:
    """What became of a unit: packages captured and failed, bytes moved, and what ended it early if anything did."""

    done: list[str] = field(default_factory=list)
    failed: list[tuple[str, PtmError]] = field(default_factory=list)
    moved: int = 0
    error: PtmError | None = None


def without_secrets(options: HubOptions) -> HubOptions:
    """Return what may be told to a worker, who reads the rest from its own environment."""
    return replace(options, environment={}, tokens={})


def run_unit(unit: Unit) -> Report:
    """Capture the packages of `unit` into the store. Errors of ours are part of the report."""
    report = Report()
    try:
        station = _stations.of(unit)
        with Journal(None) as journal, _watching(Home(unit.home).spool) as stop:
            _run(unit, station, journal, report, stop)
    except PtmError as error:
        report.error = error
        if isinstance(error, StoreError):
            _stations.leave()
    return report


def close_workers() -> None:
    """Close what workers of this process have open; those that are processes end with it."""
    _stations.close()


class _Station:
    """What a worker has open."""

    def __init__(self, unit: Unit) -> None:
        home = Home(unit.home)
        self.spool = home.spool / WORKERS / secrets.token_hex(8)
        with ExitStack() as stack:
            stack.enter_context(WriteLock(self.spool))
            self.hub: Hub = stack.enter_context(closing(_make_hub(unit, self.spool / "hub")))
            governor = self.hub.session.governor
            governor.share = unit.share
            governor.keep_in(GivenWindows(unit.known, time.time, unit.share))
            self.store = stack.enter_context(Store.open(home.store, write=True, memory=unit.max_memory))
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()


class _Stations:
    """The stations of this process, one a thread."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._all: list[_Station] = []
        self._lock = threading.Lock()

    def of(self, unit: Unit) -> _Station:
        """Return this thread's; a worker belongs to one clone."""
        station: _Station | None = getattr(self._mine, "station", None)
        with self._lock:
            if station is None or station not in self._all:
                station = self._mine.station = _Station(unit)
                self._all.append(station)
        return station

    def leave(self) -> None:
        """Give this thread's up, if it has one: its writer is of no use any more."""
        station: _Station | None = getattr(self._mine, "station", None)
        with self._lock:
            if station is None or station not in self._all:
                return
            self._all.remove(station)
        with suppress(PtmError):
            station.close()

    def close(self) -> None:
        with self._lock, ExitStack() as stack:
            for station in self._all:
                stack.callback(station.close)
            self._all.clear()


_stations = _Stations()


@dataclass
class _Heard(Outcomes):
    """Outcomes that are the report's; which of them count is for the coordinator, who hears of all units."""

    report: Report = field(default_factory=Report)

    def done(self, work: Work) -> None:
        super().done(work)
        self.report.done.append(work.name)

    def failed(self, work: Work, error: PtmError) -> None:
        super().failed(work, error)
        self.report.failed.append((work.name, error))


def _make_hub(unit: Unit, folder: Path) -> Hub:
    options = replace(unit.options, work=folder, environment=network_environment(), tokens=hub_tokens())
    return find_kind(unit.hub).make(options)


def _run(unit: Unit, station: _Station, journal: Journal, report: Report, stop: Stop) -> None:
    hub, run = station.hub, _queue(journal, unit)
    lock = threading.Lock()

    def count(_held: int, moved: int) -> None:
        with lock:
            report.moved += moved

    outcomes = _Heard(journal, run.id, hub.prefix, lambda _: None, report=report)
    with Keeper(station.store) as keeper, hub_threads(hub, unit.jobs, stop) as (pool, halt):
        spool = Spool(hub, station.spool, pool, halt, unit.jobs, count)
        _adopt(spool, Home(unit.home).spool, unit.works)
        Worker(
            store=station.store,
            run=run,
            spool=spool,
            keeper=keeper,
            captured=Captured(station.store),
            outcomes=outcomes,
            meter=Meter(lambda _: None, hub.session.monotonic),
            clock=read_clock,
            claims=Claims(journal, run.id, this_process(), read_clock),
        ).work(stop)


def _queue(journal: Journal, unit: Unit) -> Run:
    """Put the packages into a journal of the worker's own, in memory, in their order."""
    run = journal.start(unit.hub, "", unit.listed)
    journal.add_page(run.id, [(work.name, -number, work.listed) for number, work in enumerate(unit.works)], None)
    journal.rank(run.id, None)
    for work in unit.works:
        journal.keep_plan(run.id, work.name, work.plan or b"", files=work.files, size=work.bytes, requests=0)
    return run


def _adopt(spool: Spool, folder: Path, works: Iterable[Work]) -> None:
    """Go on with what others received of these packages and did not store."""
    for work in works:
        plan = decode_plan(work)
        for file in plan.files:
            part = spool.part(file, plan)
            with disk_errors(part), suppress(FileNotFoundError):
                (folder / part.name).rename(part)


@contextmanager
def _watching(spool: Path) -> Iterator[Stop]:
    """Give the event that is set when the coordinator asks to stop, or is no more."""
    stop, over = Stop(), Stop()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            if (spool / WORKERS / STOP).exists() or not is_locked(spool):
                stop.set()
                return

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        over.set()
        thread.join()
