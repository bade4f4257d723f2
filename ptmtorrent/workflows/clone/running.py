"""Clone: from a hub's listing to snapshots in the store.

List and freeze, plan, work. Every step is kept as it is made, so that the same command, run again after a crash or a
Ctrl-C, goes on where the first one stopped; a run that is finished is followed by a new listing.
"""

import threading
from contextlib import ExitStack
from threading import Event

import msgspec

from ptmtorrent.errors import UsageError
from ptmtorrent.hubs.port import Hub, Listed, Query
from ptmtorrent.model.ids import ObjectId, PackageName
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.model.moments import Clock
from ptmtorrent.model.records import Emit, Note, PlanMade, Summary
from ptmtorrent.model.records import Event as Said
from ptmtorrent.paths import Home
from ptmtorrent.store.durable import ensure_dir
from ptmtorrent.store.journal import Journal, Run
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.listing import find_run, freeze, list_packages
from ptmtorrent.workflows.clone.manifest import POPULAR_DOWNLOADS
from ptmtorrent.workflows.clone.outcomes import Outcomes
from ptmtorrent.workflows.clone.plan import IsCaptured, announce, hub_threads, plan_packages
from ptmtorrent.workflows.clone.spool import Spool
from ptmtorrent.workflows.clone.work import Worker, this_process
from ptmtorrent.workflows.metering import new_meter

SAY_WAIT_SECONDS = 5.0


class CloneRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to clone. Without any choice: every package of the hub. `jobs` downloads run at a time."""

    ids: tuple[str, ...] = ()
    popular: bool = False
    min_downloads: int | None = None
    limit: int | None = None
    max_bytes: int | None = None
    jobs: int = 4
    dry_run: bool = False

    @property
    def least_downloads(self) -> int | None:
        """The fewest downloads a package may have; None when that does not matter."""
        return POPULAR_DOWNLOADS + 1 if self.popular else self.min_downloads

    @property
    def key(self) -> str:
        """What makes two requests the same: the choice of packages."""
        choice = (sorted(self.ids), self.least_downloads, self.limit, self.max_bytes)
        return msgspec.json.encode(choice).decode()


def clone(  # noqa: PLR0913  # what a workflow is given, by name
    hub: Hub, request: CloneRequest, home: Home, *, clock: Clock, emit: Emit, stop: Event
) -> Summary:
    """Capture the packages of `request` into the store of `home`; go on with an unfinished run of the same request.

    Packages that cannot be had are records, and count as `failed` in the summary. With `dry_run` nothing is written:
    the plan is emitted, and the summary says what would fail.

    Raises:
        HubError, RateLimited: the hub cannot be listed, or is down.
        Interrupted: `stop` was set; run again to go on.
        StoreLocked, NoSpace, StoreError: the store cannot be written.
        UsageError: `jobs` is below 1.
    """
    if request.jobs < 1:
        raise UsageError(f"`--jobs {request.jobs}` leaves nobody to work", hint="give 1 or more")
    said = _one_at_a_time(emit)
    with ExitStack() as stack:
        store = _open_store(home, stack, write=not request.dry_run)
        journal = stack.enter_context(Journal(None if request.dry_run else home.journal))
        return _Clone(hub, request, home, store, journal, clock, said, stop).run()


def _open_store(home: Home, stack: ExitStack, *, write: bool) -> Store | None:
    if not write and not home.store.is_dir():
        return None
    return stack.enter_context(Store.open(home.store, write=write))


def _one_at_a_time(emit: Emit) -> Emit:
    """Progress comes from many threads; whoever listens need not care."""
    lock = threading.Lock()

    def say(event: Said) -> None:
        with lock:
            emit(event)

    return say


class _Clone:
    """One call of `clone`."""

    def __init__(  # noqa: PLR0913, PLR0917  # what `clone` was given
        self,
        hub: Hub,
        request: CloneRequest,
        home: Home,
        store: Store | None,
        journal: Journal,
        clock: Clock,
        emit: Emit,
        stop: Event,
    ) -> None:
        self.hub, self.request, self.home, self.store, self.journal = hub, request, home, store, journal
        self.clock, self.emit, self.stop = clock, emit, stop
        self.started = hub.session.monotonic()
        self.moved = 0
        self.waiting_until = 0.0
        hub.session.stop = stop
        hub.session.on_wait = self._say_wait

    def run(self) -> Summary:
        run = find_run(self.hub, self.request.key, self.journal, self.clock)
        outcomes = Outcomes(self.journal, run.id, self.hub.prefix, self.emit)
        self.journal.release(run.id)
        outcomes.recall()
        if run.state == "listing":
            self._list(run)
        self._plan(run, outcomes)
        made = announce(self.journal, run, self._is_known, self.request.jobs, self.emit)
        if self.store is not None and not self.request.dry_run:
            self._work(self.store, run, outcomes, made)
        return self._summary(run)

    def _list(self, run: Run) -> None:
        request = self.request
        names = tuple(name.removeprefix(f"{self.hub.prefix}:") for name in request.ids)
        query = Query(ids=names, min_downloads=request.least_downloads, limit=request.limit)
        list_packages(self.hub, query, self.journal, run, self._is_wanted)
        freeze(self.hub, self.journal, run, request.limit, None if request.dry_run else self.home.listings)

    def _is_wanted(self, listed: Listed) -> bool:
        least = self.request.least_downloads
        return least is None or (listed.downloads is not None and listed.downloads >= least)

    def _plan(self, run: Run, outcomes: Outcomes) -> None:
        left = plan_packages(
            self.hub,
            self.journal,
            run,
            outcomes,
            is_captured=self._captured(),
            max_bytes=self.request.max_bytes,
            jobs=self.request.jobs,
            stop=self.stop,
        )
        if left:
            self.emit(Note(message=f"{left} packages are left out: they would exceed {self.request.max_bytes} bytes"))
        self.journal.set_state(run.id, "working")

    def _captured(self) -> IsCaptured:
        store = self.store
        newest = {} if store is None else {capture.package: capture.snapshot for capture in store.captures()}

        def is_captured(name: str, commit: str) -> bool:
            snapshot = newest.get(PackageName(f"{self.hub.prefix}:{name}"))
            if store is None or snapshot is None:
                return False
            manifest = decode_manifest(store.read(ObjectId(snapshot)), snapshot)
            return manifest.package.commit == commit

        return is_captured

    def _is_known(self, oid: str) -> bool:
        return self.store is not None and self.store.known_file(oid) is not None

    def _work(self, store: Store, run: Run, outcomes: Outcomes, made: PlanMade) -> None:
        ensure_dir(self.home.spool)
        monotonic = self.hub.session.monotonic
        meter = new_meter("clone", self.emit, monotonic, bytes_total=made.bytes, packages_total=made.packages)

        lock = threading.Lock()

        def count(held: int, moved: int) -> None:
            with lock:
                self.moved += moved
            meter.add(bytes=held)

        with hub_threads(self.hub, self.request.jobs, self.stop) as (pool, halt):
            spool = Spool(self.hub, self.home.spool, pool, halt, self.request.jobs, count)
            worker = Worker(store, self.journal, run, spool, outcomes, meter, self.clock, this_process())
            worker.work(self.stop)
        meter.finish()
        self.journal.set_state(run.id, "finished")

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
        )
