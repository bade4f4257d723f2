"""Fetch: from a verified release to packages laid out, every byte checked before it is visible.

::

    members -> manifests, placements -> files wanted -> what is here -> plan -> packs -> objects -> files -> layout

Running it again goes on where it stopped: what is laid out is in the ledger, what is unfinished is rechecked.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal, Self

import msgspec

from ptmtorrent.catalogue.index import Documents, describe_members, find_members
from ptmtorrent.config import TransportName
from ptmtorrent.disk.durable import is_unwritable
from ptmtorrent.disk.elapsed import Uptime, read_uptime
from ptmtorrent.errors import IntegrityError, Interrupted, PtmError, StoreError, UnsupportedFormat, UsageError
from ptmtorrent.layouts.folders import Names
from ptmtorrent.model.findings import Level
from ptmtorrent.model.forms import choose_forms
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.moments import Clock, Monotonic
from ptmtorrent.model.plan import Plan, missing_rows, plan_rows, resume_extents
from ptmtorrent.model.records import Emit, Note, PlanMade, Summary
from ptmtorrent.model.release import Member
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.reading.decode import DecodedObject, decode_parked
from ptmtorrent.reading.deltas import Deltas, is_kept
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.reading.sources import Sources, find_sources, is_begun
from ptmtorrent.reading.transfer import Checked, Missing, Outcome, Received, transfer
from ptmtorrent.state.laid_out import Ledger, Neighbours
from ptmtorrent.stop import Stop
from ptmtorrent.transports.begun import held_bytes, staged_extents
from ptmtorrent.transports.port import Delivered
from ptmtorrent.workflows.fetch.assemble import Assembler
from ptmtorrent.workflows.fetch.assembly import set_mode
from ptmtorrent.workflows.fetch.disk_space import (
    DiskNeed,
    check_disk_space,
    choose_layout,
    clear_abandoned,
    clear_staging,
    disk_needed,
    ignores_case,
    lock_places,
)
from ptmtorrent.workflows.fetch.dropped import Dropped, Subset
from ptmtorrent.workflows.fetch.findings import Allowed
from ptmtorrent.workflows.fetch.report import Place, Recorder, Report, note_contents
from ptmtorrent.workflows.fetch.reuse import LocalStore
from ptmtorrent.workflows.fetch.select import FAILED, HERE, WANTED, Refused, Selection, select_packages

ABANDONED_AFTER = timedelta(days=14)
"""What a fetch left half-moved is kept this long for one that wants it, counted between the ends of later fetches."""


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to fetch, how, and to where.

    `only` and `max_bytes` narrow it: to kinds of files, and to what fits into a size in bytes, most downloaded first.
    `to` None: the current folder, or this home's HF cache. `force` replaces files in the way that no fetch of this home
    left as they are. `prune` removes packages that `subset` had when they were fetched to there, and has no more.
    `transport` None: that of the settings. Packages with findings of the level `refuse_findings` are not fetched.
    """

    packages: tuple[str, ...] = ()
    subset: str | None = None
    only: tuple[FileKind, ...] = ()
    max_bytes: int | None = None
    into: Literal["dir", "hf-cache"] = "dir"
    to: Path | None = None
    force: bool = False
    prune: bool = False
    transport: TransportName | None = None
    peers: tuple[tuple[str, int], ...] = ()
    keep_packs: bool = False
    refuse_findings: Level | None = None
    dry_run: bool = False


def fetch(  # noqa: PLR0913  # what a workflow is given, by name
    request: FetchRequest,
    channel: OpenChannel,
    home: Home,
    *,
    clock: Clock,
    emit: Emit,
    stop: Stop,
    monotonic: Monotonic = time.monotonic,
    uptime: Uptime = read_uptime,
) -> Summary:
    """Lay the wanted packages out; a record per package, then the summary.

    Where the home or the place cannot be written, packages that are whole there are found to be, and no more.

    Raises:
        NotFound: no such package or subset, naming near matches.
        NoSource, TransportError, IntegrityError: every package that failed did so for this reason; the others are
            laid out.
        NoSpace: the disk would be, or is, full; what arrived is kept.
        Interrupted: `stop` was set; the same command goes on from there.
        UsageError, StoreError, UnsupportedFormat: as they say.
    """
    started = monotonic()
    if request.prune and (request.subset is None or request.into != "dir"):
        raise UsageError(
            "`--prune` removes packages from plain folders that a subset has no more",
            hint="pass it with `--subset`; of a Hugging Face cache, remove packages with `hf cache rm`",
        )
    found, withdrawn = _split(_find(request, channel), channel)
    allowed = Allowed(found, channel, request.refuse_findings, emit)
    described = describe_members(allowed.members, channel.reader)
    layout = choose_layout(request.into, request.to, home, writes=not request.dry_run)
    unwritable = next(filter(is_unwritable, (home.incoming, layout.root)), None)
    writes = not request.dry_run and unwritable is None
    staging = home.incoming
    with ExitStack() as stack:
        if writes:
            staging = lock_places(home, layout, stack)
        ledger = stack.enter_context(Ledger(home.ledger))
        place = Place(
            packages=request.packages,
            subset=request.subset,
            home=home,
            layout=layout,
            staging=staging,
            ledger=ledger,
            opened=channel.cite(),
            emit=emit,
            stop=stop,
            monotonic=monotonic,
        )
        wanted = _new_selection(request, place, stack, writes=writes)
        report = Report(wanted, layout, ledger, emit, monotonic)
        selected = select_packages(described, wanted, request.max_bytes, ledger, stop)
        for refused in (*withdrawn, *allowed.refused, *selected):
            report.refuse(refused)
        note_contents(wanted, layout, emit)
        sources = _choose_sources(request, channel, report, place, stack)
        run = stack.enter_context(FetchRun(wanted, report, place, sources, keep=request.keep_packs and writes))
        plan, need = run.plan()
        emit(_plan_made(wanted, plan, need, channel, _held_bytes(plan, staging)))
        moved = Counter[str]()
        if writes:
            moved = run.run(plan, need)
            clear_abandoned(staging, wanted.packs, ABANDONED_AFTER, clock, uptime)
        elif unwritable is None or request.dry_run:
            report.foresee()
        else:
            _check_all_here(wanted, unwritable)
            report.begin(plan)
        if request.subset is not None:
            dropped = Dropped(_subset(request.subset, channel), layout, ledger, emit)
            dropped.settle(report.names, found, writes=writes, prune=request.prune)
    summary = report.summary(moved, monotonic() - started)
    if (error := report.worst()) is not None:
        emit(summary)
        raise error
    return summary


def _subset(name: str, channel: OpenChannel) -> Subset:
    return Subset(name=name, opened=channel.cite(), is_whole=channel.release.subset(name).members is None)


def _find(request: FetchRequest, channel: OpenChannel) -> Sequence[Member]:
    """Return the wanted members; where a size limits them, those with more downloads first."""
    found = find_members(channel.release, channel.reader, request.packages, request.subset, request.only)
    if request.max_bytes is None:
        return found
    from ptmtorrent.catalogue.query import read_packages  # DuckDB, which most fetches do not need

    facts = read_packages(channel.release, channel.reader, proven=channel.how == "archived")
    downloads = {each.package: each.downloads or 0 for each in facts}
    return sorted(found, key=lambda member: -downloads.get(member.package, 0))


def _split(found: Sequence[Member], channel: OpenChannel) -> tuple[Sequence[Member], list[Refused]]:
    """Return the members that were not withdrawn, and a refusal for each that was."""
    gone = channel.withdrawn
    if not gone:
        return found, []
    refused = [
        Refused(package=member.package, status="impossible", reason=gone[member.package].spell())
        for member in found
        if member.package in gone
    ]
    return [member for member in found if member.package not in gone], refused


def _new_selection(request: FetchRequest, place: Place, stack: ExitStack, *, writes: bool) -> Selection:
    """Return an empty selection; with `writes`, what it selects can be written."""
    folds = writes and ignores_case(place.layout.root)
    documents = None if request.dry_run else _open_documents(place.staging if writes else None, stack)
    neighbours = Neighbours(place.ledger, folds=folds)
    names = stack.enter_context(Names(place.layout.incoming() if writes else None))
    return Selection(place.layout, neighbours, force=request.force, documents=documents, names=names)


def _choose_sources(
    request: FetchRequest, channel: OpenChannel, report: Report, place: Place, stack: ExitStack
) -> Sources:
    return find_sources(
        request.transport or "auto",
        request.peers,
        channel,
        stack,
        report.counted,
        keeps_packs=request.keep_packs,
        emit=place.emit,
        stop=place.stop,
    )


def _check_all_here(wanted: Selection, unwritable: Path) -> None:
    """Refuse to go on where something is missing and cannot be written.

    Raises:
        StoreError: a package is not whole.
    """
    unlinked = {wanted.order_of(file).number for file in map(wanted.assembly, wanted.rows(HERE)) if file.missing_links}
    missing = sum(1 for order in wanted.orders if order.pending or order.number in unlinked)
    if missing:
        raise StoreError(
            f"{count(missing, 'package')} cannot be completed, because `{unwritable}` cannot be written",
            hint="check its permissions and how its disk is mounted, or name another place: `--to`, `--home`",
        )


def _open_documents(folder: Path | None, stack: ExitStack) -> Documents:
    """Return where documents are kept until `stack` is closed: in `folder`, or in one that is removed then."""
    kept = folder or Path(stack.enter_context(TemporaryDirectory(prefix="ptmtorrent-")))
    return stack.enter_context(Documents(kept))


def _plan_made(wanted: Selection, plan: Plan, need: DiskNeed, channel: OpenChannel, held: int) -> PlanMade:
    """Return the record of a plan, of which `held` bytes are here from earlier runs."""
    return PlanMade(
        packages=len(wanted.orders),
        files=sum(order.files for order in wanted.orders),
        bytes=sum(order.size for order in wanted.orders),
        bytes_to_move=plan.bytes_to_move - held,
        requests=sum(len(request.extents) for request in plan.requests),
        disk=need.bytes,
        requests_to_plan=channel.reader.requests,
        bytes_to_plan=channel.reader.bytes,
    )


def _held_bytes(plan: Plan, staging: Path) -> int:
    return held_bytes(plan, staging) if is_begun(staging) else 0


class FetchRun:
    """Writes the files of `wanted`; with `keep`, packs that arrive whole are added to the home's store.

    Where `sources` send whole packs, of the forms of an object the first is taken, whose pack others need too.

    Raises:
        Interrupted: `stop` was set.
        StoreError: the ledger or the store cannot be used.
    """

    def __init__(self, wanted: Selection, report: Report, place: Place, sources: Sources, *, keep: bool) -> None:
        self._wanted = wanted
        self._report = report
        self._place = place
        self._layout = place.layout
        self._staging = place.staging
        self._ledger = place.ledger
        self._sources = sources
        self._keeps_packs = keep
        self._emit = place.emit
        self._stop = place.stop
        self._stack = ExitStack()
        self._moved = Counter[str]()
        self._errors: dict[ObjectId, PtmError] = {}
        self._recorder = Recorder(wanted, report, place)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._warn_of_changes()
            self._local = stack.enter_context(LocalStore(self._place.home.store, self._wanted, keep=self._keeps_packs))
            self._assembler = stack.enter_context(
                Assembler(
                    self._layout,
                    self._wanted,
                    self._recorder.announce,
                    self._report.written,
                    self._place.monotonic,
                    force=self._wanted.force,
                )
            )
            objects, lacking = self._wanted.objects, self._assembler.lacking.unique()
            if objects.alternatives and not self._sources.whole_packs:
                choose_forms(objects, lacking, self._has_base)
            bases = map(objects.base_item, range(len(objects.bases)))
            self._deltas = Deltas(self._layout.incoming(), objects.deltas(lacking), bases, self._local.local)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _has_base(self, base: ObjectId) -> bool:
        return self._local.has(base) or is_kept(self._layout.incoming(), base)

    def plan(self) -> tuple[Plan, DiskNeed]:
        """Return what must be moved, and the disk space it takes."""
        sources = self._sources
        table, lacking, deltas = self._wanted.objects, self._assembler.lacking.unique(), self._deltas
        rows, bases = missing_rows(table, lacking, deltas.has if deltas.has_any else None, deltas.parked)
        plan = plan_rows(table, rows, bases, whole_packs=sources.whole_packs)
        if is_begun(self._staging):
            plan = resume_extents(plan, staged_extents(self._staging))
        return plan, disk_needed(self._wanted, plan, self._deltas.disk_needed(), sources)

    def run(self, plan: Plan, need: DiskNeed) -> Counter[str]:
        """Run the plan; return bytes moved per source. Failures are recorded per package.

        Raises:
            NoSpace, StoreError: our own disk; what arrived is kept.
            Interrupted: `stop` was set; what arrived is kept.
        """
        check_disk_space(need, self._layout.root, self._staging)
        self._link_present()
        self._set_modes()
        self._report.begin(plan, _held_bytes(plan, self._staging))
        self._finish_complete()
        if self._copy_local():
            plan, _ = self.plan()
        self._transfer(plan)
        self._record(wait=True)
        self._recorder.settle()
        self._keep(self._local.adopt_deltas)
        if self._stop.is_set():
            raise Interrupted(
                f"interrupted: {self._report.laid_out} of {len(self._wanted.orders)} packages are complete",
                hint="run the same command again to resume",
            )
        self._report.give_up(self._errors)
        if not self._wanted.rows(WANTED) and not self._wanted.rows(FAILED):
            clear_staging(self._staging, self._wanted.packs)
            self._deltas.clear()
        return self._moved

    def _transfer(self, plan: Plan) -> None:
        sources, wanted, staging = self._sources, self._assembler.lacking, self._staging
        outcomes = transfer(plan, sources, self._deltas, wanted, staging, emit=self._emit, stop=self._stop)
        with closing(outcomes):
            for outcome in outcomes:
                self._consume(outcome)
                self._record()

    def _consume(self, outcome: Outcome) -> None:
        match outcome:
            case Received(delivered):
                self._moved[delivered.source] += delivered.moved
                if not self._sources.counts(delivered.source):
                    self._report.counted(delivered.moved)
            case DecodedObject(identifier, data):
                self._assembler.put(identifier, data)
            case Checked(delivered):
                self._keep_pack(delivered)
            case Missing(identifier, error):
                self._errors[identifier] = error

    def _keep_pack(self, delivered: Delivered) -> None:
        self._keep(lambda: self._local.adopt(delivered, self._staging))

    def _keep(self, adopt: Callable[[], None]) -> None:
        try:
            adopt()
        except (IntegrityError, UnsupportedFormat) as error:
            self._emit(Note(message=f"a pack is not kept: {error.message}", warning=True))

    def _record(self, *, wait: bool = False) -> None:
        """Enter finished files into the ledger and the report."""
        self._recorder.record(list(self._assembler.finished(wait=wait)))

    def _link_present(self) -> None:
        """Make the links to files that are here, if the layout has any."""
        for row in self._wanted.rows(HERE):
            file = self._wanted.assembly(row)
            if not file.links:
                return
            self._assembler.link(file)
            self._wanted.settle(file)

    def _set_modes(self) -> None:
        """Make files that are here executable, or not, as the release has them."""
        for row in self._wanted.modes:
            file = self._wanted.assembly(row)
            if self._wanted.error_of(self._wanted.order_of(file)) is not None:
                continue
            try:
                set_mode(file.target, executable=file.is_executable)
            except OSError as error:
                message = f"the mode of `{file.target}` could not be set: {error.strerror}"
                self._emit(Note(message=message, warning=True))

    def _warn_of_changes(self) -> None:
        forced = [path for file in self._wanted.live if file.error is None for path in file.ground.forced]
        if forced:
            more = f" (and {len(forced) - 1} more)" if len(forced) > 1 else ""
            message = f"`{forced[0]}`{more} is not as a fetch of this home left it; it will be replaced (`--force`)"
            self._emit(Note(message=message, warning=True))

    def _finish_complete(self) -> None:
        """Finish the files that lack no object."""
        for file in self._wanted.complete():
            self._assembler.finish(file)
        self._record(wait=True)

    def _copy_local(self) -> bool:
        """Copy local objects and decode waiting deltas; return whether some turned out to be unavailable."""
        lost = False
        rows = self._assembler.lacking.unique().tolist() if self._deltas.has_any else ()
        for identifier in map(self._wanted.objects.objects.id, rows):
            if self._stop.is_set():
                break
            if not self._deltas.has(identifier):
                continue
            data = self._deltas.read(identifier)
            lost |= data is None
            self._put(identifier, data)
        for stored in self._deltas.ready():
            if self._stop.is_set():
                break
            data = decode_parked(self._deltas, stored)
            lost |= data is None
            self._put(stored.item.id, data)
        self._record(wait=True)
        return bool(self._deltas.take_lost()) or lost

    def _put(self, identifier: ObjectId, data: bytes | None) -> None:
        if data is None:
            return
        self._assembler.put(identifier, data)
        self._deltas.taken(identifier)
        self._record()
