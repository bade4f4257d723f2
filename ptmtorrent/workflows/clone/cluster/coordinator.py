"""The coordinator of a clone on a cluster: it lists, plans and keeps the journal; workers do the rest, unit by unit."""

import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ptmtorrent.clusters.parsl_pool import LostWorker
from ptmtorrent.disk import durable
from ptmtorrent.errors import HubError, PtmError, StoreError
from ptmtorrent.hubs.port import Hub
from ptmtorrent.model.records import Note
from ptmtorrent.model.text import count as count_of
from ptmtorrent.progress import Meter
from ptmtorrent.state.clone_journal import Work
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.cluster.worker import STOP_FILE, UnitReport, WorkUnit, run_unit
from ptmtorrent.workflows.clone.download_queue import WORKERS, collect_parts
from ptmtorrent.workflows.clone.outcomes import BATCH, Leases, Outcomes
from ptmtorrent.workflows.clone.plan import POLL_SECONDS, decode_plan

UNIT_BYTES = 1 << 30
UNITS_AHEAD = 2
"""Units per worker that are submitted at a time, so that the next is ready when one is done."""

MAX_LOSSES = 3
"""Lost workers after which a package is not tried again in this run."""

GRACE_SECONDS = 30.0
"""Time that workers have to commit after the stop."""


class Pool(Protocol):
    """Workers that call functions (a test replaces them)."""

    def submit(self, function: Callable[..., Any], argument: object) -> Future[Any]:
        """Call `function` with `argument` in a worker."""
        ...

    def check(self) -> None:
        """Raise `ConfigError` if the workers cannot run."""
        ...

    def result(self, future: Future[Any]) -> Any:  # noqa: ANN401  # the result of any function
        """Return the result of a finished call; a `LostWorker` if its worker was lost."""
        ...


@dataclass
class Coordinator:
    """Distributes the `todo` remaining packages of one run among `workers`; `unit_of` returns a unit of some of them.

    `count` counts bytes moved.
    """

    pool: Pool
    workers: int
    todo: int
    unit_of: Callable[[tuple[Work, ...]], WorkUnit]
    hub: Hub
    spool: Path
    leases: Leases
    outcomes: Outcomes
    meter: Meter
    count: Callable[[int], None]
    _running: dict[Future[Any], tuple[Work, ...]] = field(default_factory=dict)
    _again: deque[tuple[Work, ...]] = field(default_factory=deque)
    _next: Work | None = None
    _lost: Counter[str] = field(default_factory=Counter)

    def run(self, stop: Stop) -> None:
        """Run until no package is left to claim.

        Raises:
            Interrupted: `stop` was set; workers committed what they had stored.
            ConfigError: the cluster does not work.
            NoSpace, StoreError, HubError: the error of a worker.
        """
        stop_file = self.spool / WORKERS / STOP_FILE
        with durable.disk_errors(stop_file):
            stop_file.unlink(missing_ok=True)
        try:
            while self._submit() or self._running:
                stop.raise_if_set("the clone")
                self.leases.renew()
                self.pool.check()
                self._collect(POLL_SECONDS)
            self.outcomes.flush()
        except PtmError:
            self._halt()
            raise
        finally:
            self.outcomes.write()

    def _submit(self) -> bool:
        """Submit units up to the limit; return whether there was any."""
        before = len(self._running)
        while len(self._running) < UNITS_AHEAD * self.workers and (works := self._next_batch()):
            self._running[self.pool.submit(run_unit, self.unit_of(works))] = works
        return len(self._running) > before

    def _next_batch(self) -> tuple[Work, ...]:
        """Return the packages of one more unit: few enough that every worker gets several units."""
        if self._again:
            return self._again.popleft()
        limit = max(1, min(BATCH, self.todo // (2 * UNITS_AHEAD * self.workers)))
        works: list[Work] = []
        size = 0
        while len(works) < limit and (work := self._next or self.leases.next()) is not None:
            self._next = None
            if works and size + work.bytes > UNIT_BYTES:
                self._next = work
                break
            works.append(work)
            size += work.bytes
        return tuple(works)

    def _collect(self, seconds: float) -> None:
        """Wait for a finished unit and record the outcomes of its packages."""
        done, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            works = self._running.pop(future)
            report: UnitReport | LostWorker = self.pool.result(future)
            if isinstance(report, LostWorker):
                self._resubmit(works, report)
            else:
                self._record(works, report)
        if done:
            self.outcomes.write()

    def _record(self, works: tuple[Work, ...], report: UnitReport) -> None:
        named = {work.name: work for work in works}
        self.count(report.moved)
        ended = (name for reported in (report.done, report.incomplete, report.failed) for name, *_ in reported)
        for name in map(str, ended):
            # What planning holds of it in this process; the worker has a hub of its own.
            self.hub.release(decode_plan(named[name]).described)
        for name, snapshot in report.done:
            self.outcomes.done(named[name], snapshot)
            self.meter.add(bytes=named[name].bytes, packages=1)
        for name, snapshot, lacking in report.incomplete:
            self.outcomes.incomplete(named[name], snapshot, lacking)
            self.meter.add(bytes=named[name].bytes, packages=1)
        for name, error in report.failed:
            self.meter.add(packages=1)
            self.outcomes.failed(named[name], error)
        if report.error is not None:
            raise report.error

    def _resubmit(self, works: tuple[Work, ...], lost: LostWorker) -> None:
        """Queue the packages of a lost worker again, each in a unit of its own: one of them may have ended it."""
        self.count(collect_parts(self.spool))
        packages = count_of(len(works), "package")
        message = f"a worker on `{lost.node}` was lost; its {packages} are tried again, at most {MAX_LOSSES} times"
        self.outcomes.emit(Note(message=message, warning=True))
        for work in works:
            self._lost[work.name] += 1
            if self._lost[work.name] < MAX_LOSSES:
                self._again.append((work,))
                continue
            self.meter.add(packages=1)
            what = f"`{self.outcomes.prefix}:{work.name}` was not captured: {MAX_LOSSES} workers were lost with it"
            self.outcomes.failed(work, HubError(what, hint="give workers more memory, or leave the package out"))

    def _halt(self) -> None:
        """Stop the workers and record what they still report; the error that ended the run is raised by the caller."""
        with suppress(StoreError):
            durable.write_file(self.spool / WORKERS / STOP_FILE, b"")
        until = time.monotonic() + GRACE_SECONDS
        with suppress(PtmError):
            while self._running and time.monotonic() < until:
                self.pool.check()
                with suppress(PtmError):
                    self._collect(POLL_SECONDS)
