"""A clone on a cluster: this process lists, plans and keeps the journal, and its workers do the rest, unit by unit."""

import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ptmtorrent.disk import durable
from ptmtorrent.errors import HubError, PtmError, StoreError
from ptmtorrent.hubs.port import Hub
from ptmtorrent.progress import Meter
from ptmtorrent.state.clone_journal import Work
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.cluster.worker import STOP, Report, Unit, run_unit
from ptmtorrent.workflows.clone.leases import BATCH, Claims
from ptmtorrent.workflows.clone.outcomes import Outcomes
from ptmtorrent.workflows.clone.partial_files import WORKERS, gather_parts
from ptmtorrent.workflows.clone.plan import POLL_SECONDS, decode_plan

UNIT_BYTES = 1 << 30
AHEAD = 2
"""Units per worker that are submitted at a time, so that the next is ready when one is done."""

LOSSES = 3
"""A package whose worker was lost so often is not tried again in this run."""

GRACE_SECONDS = 30.0
"""So long workers that are asked to stop may take to commit what they have."""


class Pool(Protocol):
    """Workers that call functions."""

    def submit(self, function: Callable[..., Any], argument: object) -> Future[Any]:
        """Have a worker call `function` with `argument`."""
        ...

    def check(self) -> None:
        """See that calls still come back."""
        ...

    def result(self, future: Future[Any]) -> Any:  # noqa: ANN401  # what the function returned
        """Return what a call that is done returned; None when its worker was lost."""
        ...


@dataclass
class Coordinator:
    """One run's share-out among `workers`. `todo` packages are left in it; `unit_of` makes a unit of some of them.

    `count` hears of bytes moved.
    """

    pool: Pool
    workers: int
    todo: int
    unit_of: Callable[[tuple[Work, ...]], Unit]
    hub: Hub
    spool: Path
    claims: Claims
    outcomes: Outcomes
    meter: Meter
    count: Callable[[int], None]
    _running: dict[Future[Any], tuple[Work, ...]] = field(default_factory=dict)
    _again: deque[tuple[Work, ...]] = field(default_factory=deque)
    _next: Work | None = None
    _lost: Counter[str] = field(default_factory=Counter)

    def work(self, stop: Stop) -> None:
        """Work until nothing is left to claim.

        Raises:
            Interrupted: `stop` was set; workers committed what they had.
            ConfigError: the cluster does not work.
            NoSpace, StoreError, HubError: as the worker that met it says.
        """
        stop_file = self.spool / WORKERS / STOP
        with durable.disk_errors(stop_file):
            stop_file.unlink(missing_ok=True)
        try:
            while self._submit() or self._running:
                stop.raise_if_set("the clone")
                self.claims.renew()
                self.pool.check()
                self._take_in(POLL_SECONDS)
            self.outcomes.flush()
        except PtmError:
            self._halt()
            raise
        finally:
            self.outcomes.record()

    def _submit(self) -> bool:
        """Give the workers something to do; tell whether there was any."""
        before = len(self._running)
        while len(self._running) < AHEAD * self.workers and (works := self._handful()):
            self._running[self.pool.submit(run_unit, self.unit_of(works))] = works
        return len(self._running) > before

    def _handful(self) -> tuple[Work, ...]:
        """Return the packages of one more unit: few enough that every worker has several turns."""
        if self._again:
            return self._again.popleft()
        most = max(1, min(BATCH, self.todo // (2 * AHEAD * self.workers)))
        works: list[Work] = []
        size = 0
        while len(works) < most and (work := self._next or self.claims.next()) is not None:
            self._next = None
            if works and size + work.bytes > UNIT_BYTES:
                self._next = work
                break
            works.append(work)
            size += work.bytes
        return tuple(works)

    def _take_in(self, seconds: float) -> None:
        """Wait for a unit that is done, and record what became of its packages."""
        done, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            works = self._running.pop(future)
            report: Report | None = self.pool.result(future)
            if report is None:
                self._give_again(works)
            else:
                self._record(works, report)
        if done:
            self.outcomes.record()

    def _record(self, works: tuple[Work, ...], report: Report) -> None:
        named = {work.name: work for work in works}
        self.count(report.moved)
        for name in (*report.done, *(name for name, _ in report.failed)):
            # What planning kept of it here; its worker had its own.
            self.hub.release(decode_plan(named[name]).described)
        for name in report.done:
            self.outcomes.done(named[name])
            self.meter.add(bytes=named[name].bytes, packages=1)
        for name, error in report.failed:
            self.meter.add(packages=1)
            self.outcomes.failed(named[name], error)
        if report.error is not None:
            raise report.error

    def _give_again(self, works: tuple[Work, ...]) -> None:
        """Give the packages of a lost worker to others, each by itself: one of them may be what it died of."""
        gather_parts(self.spool)
        for work in works:
            self._lost[work.name] += 1
            if self._lost[work.name] < LOSSES:
                self._again.append((work,))
                continue
            self.meter.add(packages=1)
            what = f"`{self.outcomes.prefix}:{work.name}` was given up: {LOSSES} workers were lost with it"
            self.outcomes.failed(work, HubError(what, hint="give workers more memory, or take it out of the choice"))

    def _halt(self) -> None:
        """Have the workers stop, and record what they still have to say: what ended the run is said already."""
        with suppress(StoreError):
            durable.write_file(self.spool / WORKERS / STOP, b"")
        until = time.monotonic() + GRACE_SECONDS
        with suppress(PtmError):
            while self._running and time.monotonic() < until:
                self.pool.check()
                with suppress(PtmError):
                    self._take_in(POLL_SECONDS)
