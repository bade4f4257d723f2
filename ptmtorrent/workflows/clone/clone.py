"""Clone: from a hub's listing to snapshots in the store.

List and freeze, plan, work. Every step is kept as it is made, so that the same command, run again after a crash or a
Ctrl-C, goes on where the first one stopped; a run that is finished is followed by a new listing.
"""

import shutil
import threading
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec

from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import UsageError
from ptmtorrent.hubs.port import Hub, Listed, Query
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.moments import Clock
from ptmtorrent.model.records import Emit, Event, Note, PlanMade, Summary
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.state.clone_journal import Journal, Run
from ptmtorrent.state.rate_windows import KeptWindows, NoWindows
from ptmtorrent.state.upstream_flags import Flags
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import MEMORY_BYTES, Store
from ptmtorrent.workflows.clone.capture_loop import Worker, this_process
from ptmtorrent.workflows.clone.cluster.cluster import Crew
from ptmtorrent.workflows.clone.download_queue import Spool
from ptmtorrent.workflows.clone.known import Captured
from ptmtorrent.workflows.clone.leases import Claims
from ptmtorrent.workflows.clone.lineage import put_bases_first
from ptmtorrent.workflows.clone.list import find_run, freeze, list_packages
from ptmtorrent.workflows.clone.manifest import POPULAR_DOWNLOADS
from ptmtorrent.workflows.clone.open_package import rights_in
from ptmtorrent.workflows.clone.outcomes import Outcomes
from ptmtorrent.workflows.clone.partial_files import forget_old_parts, gather_parts
from ptmtorrent.workflows.clone.plan import decode_plan, hub_threads, measure, plan_packages
from ptmtorrent.workflows.clone.store_queue import Keeper
from ptmtorrent.workflows.clone.upstream_changes import Flagging

SAY_WAIT_SECONDS = 5.0


class CloneRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to clone. Without any choice: every package of the hub. `jobs` downloads run at a time.

    The process stays below `max_memory` bytes. `also` are answers to keep besides the usual ones,
    such as `history`.
    """

    ids: tuple[str, ...] = ()
    popular: bool = False
    min_downloads: int | None = None
    limit: int | None = None
    max_bytes: int | None = None
    jobs: int = 4
    max_memory: int = MEMORY_BYTES
    dry_run: bool = False
    also: frozenset[str] = frozenset()

    @property
    def least_downloads(self) -> int | None:
        """The fewest downloads a package may have; None when that does not matter."""
        return POPULAR_DOWNLOADS + 1 if self.popular else self.min_downloads

    @property
    def key(self) -> str:
        """What makes two requests the same: the choice of packages."""
        choice = (sorted(self.ids), self.least_downloads, self.limit, self.max_bytes)
        return msgspec.json.encode((*choice, sorted(self.also)) if self.also else choice).decode()


def clone(  # noqa: PLR0913  # what a workflow is given, by name
    hub: Hub, request: CloneRequest, home: Home, *, clock: Clock, emit: Emit, stop: Stop, crew: Crew | None = None
) -> Summary:
    """Capture the packages of `request` into the store of `home`; go on with an unfinished run of the same request.

    Packages that cannot be had are records, and count as `failed` in the summary. With `dry_run` nothing is written:
    the plan is emitted, and the summary says what would fail. With a `crew`, this process lists, plans and keeps the
    journal alone, and `jobs` and `max_memory` are those of each worker.

    Raises:
        HubError, RateLimited: the hub cannot be listed, or is down.
        Interrupted: `stop` was set; run again to go on.
        StoreLocked: another clone runs in `home`, or another process holds its store alone.
        NoSpace, StoreError: the store cannot be written.
        ConfigError: the cluster of the crew cannot be started.
        UsageError: `jobs` is below 1, or `max_memory` too little.
    """
    if request.jobs < 1:
        raise UsageError(f"`--jobs` must be at least 1, not {request.jobs}", hint="give 1 or more")
    if crew is not None:
        crew.check()
    said = _one_at_a_time(emit)
    with ExitStack() as stack:
        store = _open_store(home, request, stack)
        journal = stack.enter_context(Journal(None if request.dry_run else home.journal))
        _keep_limits(hub, request, home, clock, stack)
        flags = stack.enter_context(Flags(None if request.dry_run else home.flags))
        return _Clone(hub, request, home, store, journal, flags, clock, said, stop, crew).run()


def _open_store(home: Home, request: CloneRequest, stack: ExitStack) -> Store | None:
    """Open the store; of those that write, one at a time works a home: journal and spool are its own."""
    if request.dry_run:
        return stack.enter_context(Store.open(home.store)) if home.store.is_dir() else None
    stack.enter_context(WriteLock(home.spool))
    shutil.rmtree(home.cluster, ignore_errors=True)  # what a coordinator left that was killed
    return stack.enter_context(Store.open(home.store, write=True, memory=request.max_memory))


def _keep_limits(hub: Hub, request: CloneRequest, home: Home, clock: Clock, stack: ExitStack) -> None:
    """Go by what earlier processes learned of the hub's limits, and keep what this one learns."""
    if request.dry_run and not home.limits.is_file():
        return
    windows = stack.enter_context(KeptWindows(home.limits, lambda: clock().timestamp()))
    stack.callback(hub.session.governor.keep_in, NoWindows())
    hub.session.governor.keep_in(windows)


def _one_at_a_time(emit: Emit) -> Emit:
    """Serialise progress, which comes from many threads."""
    lock = threading.Lock()

    def say(event: Event) -> None:
        with lock:
            emit(event)

    return say


@dataclass
class _Clone:
    """One call of `clone`."""

    hub: Hub
    request: CloneRequest
    home: Home
    store: Store | None
    journal: Journal
    flags: Flags
    clock: Clock
    emit: Emit
    stop: Stop
    crew: Crew | None
    moved: int = 0
    waiting_until: float = 0.0

    def __post_init__(self) -> None:
        self.captured = Captured(self.store)
        self.flagging = Flagging(self.hub, self.captured, self.flags, self.clock, self.emit)
        self.started = self.hub.session.monotonic()
        self.hub.session.stop = self.stop
        self.hub.session.on_wait = self._say_wait

    def run(self) -> Summary:
        run = find_run(self.hub, self.request.key, self.journal, self.clock)
        outcomes = Outcomes(self.journal, run.id, self.hub.prefix, self.emit)
        self.journal.release(run.id)
        outcomes.recall()
        if run.state == "listing":
            self._list(run)
        self._plan(run, outcomes)
        put_bases_first(self.journal, run.id)
        made = measure(self.hub, self.journal, run, self._is_known, self.request.jobs)
        self.emit(made)
        if self.request.dry_run:
            for work in self.journal.works(run.id, ("todo",)):
                self.hub.release(decode_plan(work).described)
        if self.store is not None and not self.request.dry_run:
            self._work(self.store, run, outcomes, made)
        return self._summary(run)

    def _list(self, run: Run) -> None:
        request = self.request
        names = tuple(name.removeprefix(f"{self.hub.prefix}:") for name in request.ids)
        query = Query(ids=names, min_downloads=request.least_downloads, limit=request.limit)
        list_packages(self.hub, query, self.journal, run, self._is_wanted)
        self._flag(run)
        freeze(self.hub, self.journal, run, request.limit, None if request.dry_run else self.home.listings)

    def _flag(self, run: Run) -> None:
        """See what became of packages that earlier runs captured, as far as this listing can tell."""
        if self.request.ids:
            for listed in self.journal.listing(run.id):
                self.flagging.compare(msgspec.json.decode(listed, type=Listed))
            return
        self.flagging.forget_returned(lambda name: self.journal.has(run.id, name))
        if self.request.limit is None:
            self.flagging.ask(self.journal.missing(run, self.request.least_downloads or 0), run.id)

    def _is_wanted(self, listed: Listed) -> bool:
        least = self.request.least_downloads
        return least is None or (listed.downloads is not None and listed.downloads >= least)

    def _plan(self, run: Run, outcomes: Outcomes) -> None:
        left = plan_packages(
            self.hub,
            self.journal,
            run,
            outcomes,
            is_captured=self._is_captured,
            check_owner=self.flagging.check_owner,
            max_bytes=self.request.max_bytes,
            jobs=self.request.jobs,
            stop=self.stop,
        )
        if left:
            self.emit(Note(message=f"{left} packages are left out: they would exceed {self.request.max_bytes} bytes"))
        self.journal.set_state(run.id, "working")

    def _is_captured(self, listed: Listed, commit: str, hub_id: str | None) -> bool:
        package = PackageName(f"{self.hub.prefix}:{listed.name}")
        return self.captured.holds(package, commit, self.request.also, hub_id=hub_id, rights=rights_in(listed))

    def _is_known(self, oid: str) -> bool:
        return self.store is not None and self.store.known_file(oid) is not None

    def _work(self, store: Store, run: Run, outcomes: Outcomes, made: PlanMade) -> None:
        monotonic = self.hub.session.monotonic
        meter = new_meter("clone", self.emit, monotonic, bytes_total=made.bytes, packages_total=made.packages)
        claims = Claims(self.journal, run.id, this_process(), self.clock)
        gather_parts(self.home.spool)
        if self.crew is None:
            self._work_here(store, run, outcomes, claims, meter)
        else:
            self.emit(Note(message=f"{self.crew.cluster.most} workers do the work; they may take a while to start"))
            self.crew.work(
                self.hub,
                self.home,
                run.listed,
                claims=claims,
                outcomes=outcomes,
                meter=meter,
                count=self._count_moved,
                stop=self.stop,
            )
        meter.finish()
        self.journal.set_state(run.id, "finished")
        forget_old_parts(self.home.spool, self.clock)

    def _work_here(self, store: Store, run: Run, outcomes: Outcomes, claims: Claims, meter: Meter) -> None:
        lock = threading.Lock()

        def count(held: int, moved: int) -> None:
            with lock:
                self.moved += moved
            meter.add(bytes=held)

        with Keeper(store) as keeper, hub_threads(self.hub, self.request.jobs, self.stop) as (pool, halt):
            worker = Worker(
                store=store,
                run=run,
                spool=Spool(self.hub, self.home.spool, pool, halt, self.request.jobs, count),
                keeper=keeper,
                captured=self.captured,
                outcomes=outcomes,
                meter=meter,
                clock=self.clock,
                claims=claims,
            )
            worker.work(self.stop)

    def _count_moved(self, moved: int) -> None:
        self.moved += moved

    def _say_wait(self, host: str, seconds: float) -> None:
        """Say once for all threads why nothing seems to happen."""
        until = self.hub.session.monotonic() + seconds
        if seconds < SAY_WAIT_SECONDS or until < self.waiting_until + SAY_WAIT_SECONDS:
            return
        self.waiting_until = until
        self.emit(Note(message=f"`{host}` takes no more requests for {seconds:.0f} seconds; waiting until it does"))

    def _summary(self, run: Run) -> Summary:
        failed = self.journal.tally(run.id, "error", "impossible").packages
        kept = self.journal.tally(run.id, "todo", "done", "notneeded")
        return Summary(
            packages=kept.packages + failed,
            files=kept.files,
            bytes=kept.bytes,
            bytes_moved=self.moved,
            seconds=self.hub.session.monotonic() - self.started,
            failed=failed,
            flagged=self.flagging.found.copy(),
        )
