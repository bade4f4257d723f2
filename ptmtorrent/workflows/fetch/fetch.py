"""Fetch: from a verified release to packages laid out, every byte checked before it is visible.

::

    members -> manifests, placements -> files wanted -> what is here -> plan -> packs -> objects -> files -> layout

Running it again goes on where it stopped: laid-out files are in the ledger, unfinished files and staging files are
rechecked.
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal, Self

import msgspec

from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.disk.durable import is_unwritable
from ptmtorrent.disk.elapsed import Uptime, read_uptime
from ptmtorrent.disk.locks import LOCK_NAME, WriteLock
from ptmtorrent.errors import IntegrityError, Interrupted, PtmError, StoreError, UnsupportedFormat, UsageError
from ptmtorrent.layouts.folders import Names, PlainDir, ensure_real_dir, holds_links, ignores_case, remove_shared
from ptmtorrent.layouts.hf_cache import HfCache
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model.forms import choose_forms
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.moments import Clock, Monotonic
from ptmtorrent.model.plan import Plan, missing_rows, plan_rows, resume_extents
from ptmtorrent.model.records import Emit, Note, PlanMade, Summary
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.reading.decode import DecodedObject, decode_parked
from ptmtorrent.reading.deltas import Deltas, is_kept
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.reading.sources import Sources, find_sources, is_begun
from ptmtorrent.reading.transfer import Checked, Missing, Outcome, Received, transfer
from ptmtorrent.state.laid_out import Ledger, Neighbours, PackageFolder
from ptmtorrent.stop import Stop
from ptmtorrent.transports.begun import held_bytes, staged_extents
from ptmtorrent.transports.port import Delivered
from ptmtorrent.workflows.fetch.assemble import Assembler, Assembly
from ptmtorrent.workflows.fetch.disk_space import (
    DiskNeed,
    check_disk_space,
    clear_abandoned,
    clear_incoming,
    clear_staging,
    disk_needed,
    lock_staging,
    settle_folder,
)
from ptmtorrent.workflows.fetch.report import Report
from ptmtorrent.workflows.fetch.reuse import LocalStore
from ptmtorrent.workflows.fetch.select import FAILED, HERE, WANTED, Documents, Order, Selection, select_packages

ABANDONED_AFTER = timedelta(days=14)
"""What a fetch left half-moved is kept this long for one that wants it, counted between the ends of later fetches."""

MAX_INCOMPLETE = 20
"""Packages without some of their files that a fetch names."""


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to fetch, how, and to where. `to` None: the current folder, or this home's HF cache."""

    packages: tuple[str, ...] = ()
    subset: str | None = None
    only: tuple[FileKind, ...] = ()
    max_bytes: int | None = None
    into: Literal["dir", "hf-cache"] = "dir"
    to: Path | None = None
    transport: Literal["auto", "torrent", "http", "globus", "local"] = "auto"
    peers: tuple[tuple[str, int], ...] = ()
    keep_packs: bool = False
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
    found = find_members(channel.release, channel.reader, request.packages, request.subset, request.only)
    described = describe_members(found, channel.reader)
    del found  # millions of rows, of which nothing is kept once they are described
    layout = choose_layout(request, home)
    unwritable = next(filter(is_unwritable, (home.incoming, layout.root)), None)
    writes = not request.dry_run and unwritable is None
    staging = home.incoming
    with ExitStack() as stack:
        if writes:
            staging = _lock_places(home, layout, stack)
        ledger = stack.enter_context(Ledger(home.ledger))
        folds = writes and ignores_case(layout.root)
        documents = None if request.dry_run else _open_documents(staging if writes else None, stack)
        names = stack.enter_context(Names(layout.incoming() if writes else None))
        wanted = Selection(layout, Neighbours(ledger, folds=folds), folds=folds, documents=documents, names=names)
        report = Report(wanted, layout, ledger, emit, monotonic)
        for refused in select_packages(described, wanted, request.max_bytes, ledger, stop):
            report.refuse(refused)
        _note_partial_packages(wanted, layout, emit)
        _warn_of_settings_files(wanted, emit)
        _warn_of_missing_files(wanted, emit)
        sources = find_sources(
            request.transport,
            request.peers,
            channel,
            stack,
            report.counted,
            keeps_packs=request.keep_packs,
            emit=emit,
            stop=stop,
        )
        keep, whole = request.keep_packs and writes, sources.whole_packs
        started_run = FetchRun(
            wanted, layout, report, home, ledger, staging=staging, keep=keep, whole_packs=whole, emit=emit, stop=stop
        )
        run = stack.enter_context(started_run)
        plan, need = run.plan(sources)
        held = _held_bytes(plan, staging)
        emit(_plan_made(wanted, plan, need, channel, held))
        moved = Counter[str]()
        if writes:
            moved = run.run(plan, need, sources)
            clear_abandoned(staging, wanted.packs, ABANDONED_AFTER, clock, uptime)
        elif not request.dry_run and unwritable is not None:
            _check_all_here(wanted, unwritable)
            report.begin(plan)
    summary = report.summary(moved, monotonic() - started)
    if (error := report.worst()) is not None:
        emit(summary)
        raise error
    return summary


def choose_layout(request: FetchRequest, home: Home) -> Layout:
    """Return the layout that `request` names, at the place it names or at its own.

    Raises:
        UsageError: the place lies in a folder that this home keeps for itself.
    """
    own = home.hf_cache if request.into == "hf-cache" else Path()
    root = Path(os.path.abspath(request.to or own))  # noqa: PTH100  # links stay as they are
    real = root.resolve()
    for folder in (home.store, home.channel, home.keys, home.listings, home.spool, home.incoming, home.trust):
        if real.is_relative_to(folder.resolve()):
            raise UsageError(
                f"`{root}` lies in `{folder}`, which ptmtorrent keeps for its own files",
                hint="lay out elsewhere with `--to`",
            )
    if request.into == "hf-cache":
        return HfCache(root, links=request.dry_run or is_unwritable(root) or holds_links(root))
    return PlainDir(root)


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


def _lock_places(home: Home, layout: Layout, stack: ExitStack) -> Path:
    """Lock the folders of unfinished files, of the home and of the layout, until `stack` is closed; return the first.

    Raises:
        StoreError: another process does (`StoreLocked`), or a link is in the way.
    """
    staging = lock_staging(home.incoming, stack)
    incoming = layout.incoming()
    ensure_real_dir(layout.root, incoming)
    remove_shared(incoming / LOCK_NAME)
    stack.enter_context(WriteLock(incoming))
    stack.callback(clear_incoming, incoming)
    return staging


def _note_partial_packages(wanted: Selection, layout: Layout, emit: Emit) -> None:
    """Say what an HF cache that lacks files of a package is good for: its readers refuse to call it whole."""
    parts = sum(0 < order.files < order.listed for order in wanted.orders)
    if parts and isinstance(layout, HfCache):
        emit(
            Note(
                message=f"{parts} packages are fetched in part. Offline, `from_pretrained` and `hf_hub_download` find"
                " what is there; `snapshot_download` refuses, unless `allow_patterns` names just those files"
            )
        )


def _warn_of_settings_files(wanted: Selection, emit: Emit) -> None:
    """Name the packages with a file that this program would read settings from, if it were started beside it."""
    for package, name in wanted.settings:
        message = f"`{package}` has a settings file of this program, `{name}`: do not run this program beside it"
        emit(Note(message=message, warning=True))


def _warn_of_missing_files(wanted: Selection, emit: Emit) -> None:
    """Name the packages that the release has without some of their files."""
    for package, what in islice(wanted.missing.items(), MAX_INCOMPLETE):
        emit(Note(message=f"`{package}` is incomplete in this release: {what}", warning=True))
    if len(wanted.missing) > MAX_INCOMPLETE:
        more = count(len(wanted.missing) - MAX_INCOMPLETE, "more package")
        emit(Note(message=f"{more} incomplete in this release: ptmtorrent list", warning=True))


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

    With `whole_packs`, of the forms of an object the first is taken, whose pack others need too.

    Raises:
        Interrupted: `stop` was set.
        StoreError: the ledger or the store cannot be used.
    """

    def __init__(  # noqa: PLR0913  # what `fetch` was given, and what it made of it
        self,
        wanted: Selection,
        layout: Layout,
        report: Report,
        home: Home,
        ledger: Ledger,
        *,
        staging: Path,
        keep: bool,
        whole_packs: bool,
        emit: Emit,
        stop: Stop,
    ) -> None:
        self._whole_packs = whole_packs
        self._wanted = wanted
        self._layout = layout
        self._report = report
        self._home = home
        self._staging = staging
        self._ledger = ledger
        self._keeps_packs = keep
        self._emit = emit
        self._stop = stop
        self._stack = ExitStack()
        self._moved = Counter[str]()
        self._errors: dict[ObjectId, PtmError] = {}
        self._begun: set[str] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._warn_of_changes()
            self._local = stack.enter_context(LocalStore(self._home.store, self._wanted, keep=self._keeps_packs))
            self._assembler = stack.enter_context(Assembler(self._layout, self._wanted, self._report.written))
            objects, lacking = self._wanted.objects, self._assembler.lacking.unique()
            if objects.alternatives and not self._whole_packs:
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

    def plan(self, sources: Sources) -> tuple[Plan, DiskNeed]:
        """Return what must be moved, and the disk space it takes."""
        table, lacking, deltas = self._wanted.objects, self._assembler.lacking.unique(), self._deltas
        rows, bases = missing_rows(table, lacking, deltas.has if deltas.has_any else None, deltas.parked)
        plan = plan_rows(table, rows, bases, whole_packs=sources.whole_packs)
        if is_begun(self._staging):
            plan = resume_extents(plan, staged_extents(self._staging))
        return plan, disk_needed(self._wanted, plan, self._deltas.disk_needed(), sources)

    def run(self, plan: Plan, need: DiskNeed, sources: Sources) -> Counter[str]:
        """Run the plan; return bytes moved per source. Failures are recorded per package.

        Raises:
            NoSpace, StoreError: our own disk; what arrived is kept.
            Interrupted: `stop` was set; what arrived is kept.
        """
        check_disk_space(need, self._layout.root, self._staging)
        self._link_present()
        self._report.begin(plan, _held_bytes(plan, self._staging))
        self._finish_complete()
        if self._copy_local():
            plan, _ = self.plan(sources)
        self._transfer(plan, sources)
        self._record(wait=True)
        for order in self._wanted.orders:
            if order.status in {"ok", "notneeded", "impossible"}:
                self._settle(order)
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

    def _transfer(self, plan: Plan, sources: Sources) -> None:
        wanted, staging = self._assembler.lacking, self._staging
        outcomes = transfer(plan, sources, self._deltas, wanted, staging, emit=self._emit, stop=self._stop)
        with closing(outcomes):
            for outcome in outcomes:
                self._consume(outcome, sources)
                self._record()

    def _consume(self, outcome: Outcome, sources: Sources) -> None:
        match outcome:
            case Received(delivered):
                self._moved[delivered.source] += delivered.moved
                if not sources.counts(delivered.source):
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
        for file in self._assembler.finished(wait=wait):
            self._record_file(file)

    def _record_file(self, file: Assembly) -> None:
        if file.error is None:
            order = self._wanted.order_of(file)
            if order.package not in self._begun:
                self._begun.add(order.package)
                self._ledger.put_folder(self._folder(order))
            self._ledger.record(file.target, blake3=file.blake3, package=order.package, snapshot=order.snapshot_id)
        self._wanted.settle(file)
        self._report.finished(file)

    def _settle(self, order: Order) -> None:
        folder = self._folder(order)
        files = enumerate(self._wanted.manifest(order).files)
        names = {folder.folder / file.name: file.blake3 for number, file in files if number not in order.without}
        settle_folder(folder, names, self._ledger, self._emit)
        lacking = (self._wanted.missing.get(order.package, ""), order.refused)
        self._ledger.put_missing(folder.folder, "; ".join(filter(None, lacking)))

    def _folder(self, order: Order) -> PackageFolder:
        return PackageFolder(
            folder=self._layout.folder(self._wanted.manifest(order)),
            package=order.package,
            snapshot=None if self._layout.keeps_snapshots else order.snapshot_id,
            files=order.listed,
        )

    def _link_present(self) -> None:
        """Make the links to files that are here, if the layout has any."""
        for row in self._wanted.rows(HERE):
            file = self._wanted.assembly(row)
            if not file.links:
                return
            self._assembler.link(file)
            self._wanted.settle(file)

    def _warn_of_changes(self) -> None:
        changed = [file.target for file in self._wanted.live if file.replaces and file.error is None]
        if changed:
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            message = f"`{changed[0]}`{more} was changed since it was fetched; it will be replaced"
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
