"""Clone: from a hub's listing to snapshots in the store.

List and freeze, plan, capture. Every step is durable when it is done, so that the same command, run again after a crash
or a Ctrl-C, resumes where the first one stopped; after a finished run it starts a new listing.
"""

import shutil
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

import msgspec

from ptmtorrent.disk.durable import require_space
from ptmtorrent.disk.elapsed import read_exact_uptime
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import Interrupted, NotFound, UsageError
from ptmtorrent.facts.findings.scanner import Scanner
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.port import Hub, Listed, MakeHub, Query
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.moments import Clock, behind_note
from ptmtorrent.model.records import Emit, Event, Note, PlanMade, Summary
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.scrub import scrub_address
from ptmtorrent.state.clone_journal import Journal, Run
from ptmtorrent.state.rate_windows import NoWindows, StoredWindows, Windows
from ptmtorrent.state.upstream_flags import Flags
from ptmtorrent.stop import ANEW_HINT, Stop
from ptmtorrent.store.store import MEMORY_BYTES, Store
from ptmtorrent.workflows.clone.capture_loop import CaptureLoop, this_process
from ptmtorrent.workflows.clone.cluster.cluster import ClusterRunner
from ptmtorrent.workflows.clone.download_queue import DownloadQueue, collect_parts, delete_old_parts, held_parts
from ptmtorrent.workflows.clone.estimate import estimate
from ptmtorrent.workflows.clone.known import CapturedPlaces, KnownPackages, note_lost, put_bases_first
from ptmtorrent.workflows.clone.list import find_run, freeze, list_packages
from ptmtorrent.workflows.clone.manifest import POPULAR_DOWNLOADS, rights_in
from ptmtorrent.workflows.clone.outcomes import Leases, Outcomes
from ptmtorrent.workflows.clone.plan import decode_plan, hub_threads, measure, plan_packages
from ptmtorrent.workflows.clone.store_queue import StoreQueue
from ptmtorrent.workflows.clone.upstream_changes import UpstreamChanges

SPACE_HINT = "free some space, name a home on another disk with `--home`, or take less with `--max-bytes` or `--limit`"
NOTED_WAIT_SECONDS = 5.0
"""Waits for the hub that are shorter emit no note."""


class CloneRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to clone: every package of the hub, unless restricted. `jobs` downloads run at a time.

    The process stays below `max_memory` bytes. `also` names answers of the hub to keep besides the usual ones, such as
    `history`. A local folder is `called` so instead of by its own name. A `dry_run` estimates from the listing of the
    hub; an `exact` one asks for the files of every package.
    """

    ids: tuple[str, ...] = ()
    popular: bool = False
    min_downloads: int | None = None
    limit: int | None = None
    max_bytes: int | None = None
    jobs: int = 4
    max_memory: int = MEMORY_BYTES
    dry_run: bool = False
    exact: bool = False
    also: frozenset[str] = frozenset()
    called: str | None = None

    @property
    def least_downloads(self) -> int | None:
        """The fewest downloads a package may have; None for no limit."""
        return POPULAR_DOWNLOADS + 1 if self.popular else self.min_downloads

    @property
    def key(self) -> str:
        """The choice of packages: two requests with the same key resume each other."""
        choice = (sorted(map(scrub_address, self.ids)), self.least_downloads, self.limit, self.max_bytes)
        return msgspec.json.encode((*choice, sorted(self.also)) if self.also else choice).decode()


def clone(  # noqa: PLR0913  # what a workflow is given, by name
    make_hub: MakeHub,
    request: CloneRequest,
    home: Home,
    *,
    clock: Clock,
    emit: Emit,
    stop: Stop,
    cluster: ClusterRunner | None = None,
) -> Summary:
    """Capture the packages of `request` into the store of `home`, or resume an unfinished run of the same request.

    `make_hub` makes the adapter of the hub, which is closed at the end, with a session of this run.

    Packages that cannot be captured are records, and count as `failed` in the summary. With `dry_run` nothing is
    written: the plan is emitted, and the summary counts what would fail; unless it is `exact`, the listing alone is
    read. With a `cluster`, this process lists, plans
    and keeps the journal, workers capture, and `jobs` and `max_memory` apply to each worker.

    Raises:
        UsageError: a folder has the name of a package that was captured from another folder.
        NotFound: the only package that was asked for does not exist.
        HubError, RateLimited: the hub cannot be listed, or is down.
        Interrupted: `stop` was set; run again to resume.
        StoreLocked: another clone runs in `home`, or another process holds its store alone.
        NoSpace: the plan needs more space than is free, or the disk is full.
        StoreError: the store cannot be written.
        ConfigError: the cluster cannot be started.
        UsageError: `jobs` is below 1, or `max_memory` is too small.
    """
    if request.jobs < 1:
        raise UsageError(f"`--jobs` must be at least 1, not {request.jobs}", hint="give 1 or more")
    if cluster is not None:
        cluster.check()
    emit = _serialised(emit)
    with ExitStack() as stack:
        store = _open_store(home, request, stack)
        journal = stack.enter_context(Journal(None if request.dry_run else home.journal))
        windows = _open_rate_windows(request, home, clock, stack)
        new_session = partial(Session, stop=stop, on_wait=_WaitNotes(emit), windows=windows, emit=emit)
        hub = stack.enter_context(closing(make_hub(new_session)))
        flags = stack.enter_context(Flags(None if request.dry_run else home.flags))
        work = _Clone(hub, request, home, store, journal, flags, clock, emit, stop, cluster)
        stack.callback(work.known.close)
        stack.callback(work.folders.close)
        try:
            summary = work.run()
        except Interrupted as error:
            error.hint = ANEW_HINT if request.dry_run else error.hint
            raise
    if len(request.ids) == 1 and summary.failed == 1 and work.missing is not None:
        emit(summary)
        raise work.missing
    return summary


def _open_store(home: Home, request: CloneRequest, stack: ExitStack) -> Store | None:
    """Open the store. One writing clone at a time has the journal and the spool of a home."""
    if request.dry_run:
        return stack.enter_context(Store.open(home.store)) if home.store.is_dir() else None
    stack.enter_context(WriteLock(home.spool))
    shutil.rmtree(home.cluster, ignore_errors=True)  # left by a coordinator that was killed
    return stack.enter_context(Store.open(home.store, write=True, memory=request.max_memory))


def _open_rate_windows(request: CloneRequest, home: Home, clock: Clock, stack: ExitStack) -> Windows:
    """Return the rate windows that earlier processes learned from hubs, and that keep what this process learns."""
    if request.dry_run and not home.limits.is_file():
        return NoWindows()
    return stack.enter_context(StoredWindows(home.limits, lambda: clock().timestamp(), read_exact_uptime))


def _serialised(emit: Emit) -> Emit:
    """Return `emit` behind a lock, because progress comes from many threads."""
    lock = threading.Lock()

    def emit_one(event: Event) -> None:
        with lock:
            emit(event)

    return emit_one


class _WaitNotes:
    """Emits one note, for all threads, that the hub makes them wait."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._until = 0.0

    def __call__(self, host: str, seconds: float, now: float) -> None:
        until = now + seconds
        if seconds < NOTED_WAIT_SECONDS or until < self._until + NOTED_WAIT_SECONDS:
            return
        self._until = until
        self._emit(Note(message=f"`{host}` accepts no more requests for {seconds:.0f} seconds; waiting"))


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
    cluster: ClusterRunner | None
    moved: int = 0
    missing: NotFound | None = None

    def __post_init__(self) -> None:
        self.known = KnownPackages(self.store)
        self.changes = UpstreamChanges(self.hub, self.known, self.flags, self.clock, self.emit)
        named, writes = self.request.called is not None, not self.request.dry_run
        self.folders = CapturedPlaces(
            self.home.places, self.known, self.hub.prefix, self.emit, named=named, writes=writes
        )
        self.started = self.hub.session.monotonic()

    def run(self) -> Summary:
        seen = None if self.store is None else self.store.latest_moment()
        if note := behind_note(self.clock(), seen, "a capture in the store"):
            self.emit(note)
        if self.request.dry_run and not self.request.exact:
            return self._estimate()
        whole = not self.request.ids and self.request.limit is None
        called = self.request.called
        run = find_run(self.hub, self.request.key, self.journal, self.clock, whole=whole, called=called)
        outcomes = Outcomes(self.journal, run.id, self.hub.prefix, self.emit, self.changes.check_refused)
        self.journal.release(run.id)
        outcomes.repeat_failures()
        note_lost(self.store, self.known, self.journal, run, self.hub.prefix, self.emit)
        if run.state == "listing":
            self._list(run, outcomes)
        self._plan(run, outcomes)
        put_bases_first(self.journal, run.id)
        if not self.request.dry_run:
            collect_parts(self.home.spool)
        held = held_parts(self.home.spool)
        made, need = measure(self.hub, self.journal, run, self._is_known, held, self.request.jobs)
        self.emit(made)
        if self.request.dry_run:
            for work in self.journal.works(run.id, ("todo",)):
                self.hub.release(decode_plan(work).described)
        if self.store is not None and not self.request.dry_run:
            require_space(((self.home.store, need.store), (self.home.spool, need.spool)), hint=SPACE_HINT)
            self._capture_all(self.store, run, outcomes, made)
        summary = self._summary(run, outcomes.retryable)
        self.missing = outcomes.missing
        if not self.request.dry_run:
            self.journal.set_state(run.id, "finished")
        return summary

    def _estimate(self) -> Summary:
        request = self.request
        found = estimate(
            self.hub,
            self._query(files=True),
            wanted=self._is_wanted,
            is_here=self._is_here,
            max_bytes=request.max_bytes,
            jobs=request.jobs,
            emit=self.emit,
        )
        self._note_left(found.left_out)
        self.emit(found.made)
        self.missing = found.missing
        return Summary(
            packages=found.made.packages + found.not_needed + found.failed,
            files=found.made.files,
            bytes=found.made.bytes,
            bytes_moved=0,
            seconds=self.hub.session.monotonic() - self.started,
            failed=found.failed,
            flagged=self.changes.found.copy(),
            retryable=0,
        )

    def _is_here(self, listed: Listed) -> bool:
        """Return whether the store holds the commit of a listing; flag a name that belongs to another package now."""
        commit = listed.commit or ""
        owner = Identity(
            hub=self.hub.prefix, name=listed.name, commit=commit, hub_id=listed.hub_id, author=listed.author
        )
        self.changes.check_owner(owner)
        return self._find_capture(listed, commit, listed.hub_id) is not None

    def _note_left(self, left: int) -> None:
        if left:
            self.emit(Note(message=f"{count(left, 'package')} left out (over --max-bytes)"))

    def _query(self, *, files: bool = False) -> Query:
        request = self.request
        names = tuple(name.removeprefix(f"{self.hub.prefix}:") for name in request.ids)
        return Query(ids=names, min_downloads=request.least_downloads, limit=request.limit, files=files)

    def _list(self, run: Run, outcomes: Outcomes) -> None:
        request, query = self.request, self._query()
        begin, report = self.folders.keep, outcomes.unchanged
        list_packages(self.hub, query, self.journal, run, self._is_wanted, self._confirm, report, begin)
        self._compare(run)
        freeze(self.hub, self.journal, run, request.limit, None if request.dry_run else self.home.listings)

    def _compare(self, run: Run) -> None:
        """Ask for packages that earlier runs captured and this listing of the whole hub lacks."""
        if not self.request.ids and self.request.limit is None:
            self.changes.query(self.journal.missing(run, self.request.least_downloads or 0), run.id)

    def _is_wanted(self, listed: Listed) -> bool:
        self.folders.check(listed)
        self.changes.compare(listed)
        least = self.request.least_downloads
        return least is None or (listed.downloads is not None and listed.downloads >= least)

    def _plan(self, run: Run, outcomes: Outcomes) -> None:
        left = plan_packages(
            self.hub,
            self.journal,
            run,
            outcomes,
            find_capture=self._find_capture,
            check_owner=self.changes.check_owner,
            max_bytes=self.request.max_bytes,
            jobs=self.request.jobs,
            stop=self.stop,
        )
        self._note_left(left)
        self.journal.set_state(run.id, "working")

    def _find_capture(self, listed: Listed, commit: str, hub_id: str | None) -> SnapshotId | None:
        package = PackageName(f"{self.hub.prefix}:{listed.name}")
        rights = rights_in(listed)
        if listed.licence_in_files and rights != "gated":
            rights = "open"  # the files of this commit, and the licence that they state, are those captured before
        held = self.known.holds(package, commit, self.request.also, hub_id=hub_id, rights=rights)
        return self.known.snapshot(package) if held else None

    def _confirm(self, snapshots: Mapping[str, SnapshotId]) -> list[str]:
        newest = self.known.snapshots(self.hub.prefix, snapshots)
        return [name for name, snapshot in snapshots.items() if newest.get(name) == snapshot]

    def _is_known(self, oid: str) -> bool:
        return self.store is not None and self.store.known_file(oid) is not None

    def _capture_all(self, store: Store, run: Run, outcomes: Outcomes, made: PlanMade) -> None:
        monotonic = self.hub.session.monotonic
        meter = new_meter("clone", self.emit, monotonic, bytes_total=made.bytes, packages_total=made.packages)
        leases = Leases(self.journal, run.id, this_process(), monotonic)
        if self.cluster is None:
            self._capture(store, run, outcomes, leases, meter)
        else:
            workers = count(self.cluster.cluster.max_workers, "worker")
            self.emit(Note(message=f"Packages are captured by {workers}, which may take a while to start"))
            self.cluster.run(
                self.hub,
                self.home,
                run.listed,
                leases=leases,
                outcomes=outcomes,
                meter=meter,
                count=self._add_moved,
                stop=self.stop,
            )
        meter.finish()
        delete_old_parts(self.home.spool, self.clock)

    def _capture(self, store: Store, run: Run, outcomes: Outcomes, leases: Leases, meter: Meter) -> None:
        lock = threading.Lock()

        def count_bytes(held: int, moved: int) -> None:
            with lock:
                self.moved += moved
            meter.add(bytes=held)

        threads = hub_threads(self.hub, self.request.jobs)
        with Scanner() as scanner, StoreQueue(store) as store_queue, threads as (pool, halt):
            loop = CaptureLoop(
                store=store,
                run=run,
                downloads=DownloadQueue(
                    self.hub,
                    self.home.spool,
                    pool,
                    halt,
                    self.request.jobs,
                    count_bytes,
                    getattr(self.hub, "place", None),
                ),
                store_queue=store_queue,
                known=self.known,
                outcomes=outcomes,
                meter=meter,
                clock=self.clock,
                leases=leases,
                scanner=scanner,
            )
            loop.work(self.stop)

    def _add_moved(self, moved: int) -> None:
        self.moved += moved

    def _summary(self, run: Run, retryable: int) -> Summary:
        failed = self.journal.tally(run.id, "error", "impossible").packages
        kept = self.journal.tally(run.id, "todo", "done", "notneeded")
        return Summary(
            packages=kept.packages + failed,
            files=kept.files,
            bytes=kept.bytes,
            bytes_moved=self.moved,
            seconds=self.hub.session.monotonic() - self.started,
            failed=failed,
            flagged=self.changes.found.copy(),
            retryable=retryable,
        )
