"""One run of a fetch: examine what is here, plan, copy local objects, transfer the rest, finish and record files."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Self

from ptmtorrent.disk.partial import staged_extents
from ptmtorrent.errors import IntegrityError, Interrupted, PtmError, UnsupportedFormat
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.plan import Plan, plan_moves, resume_extents
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.paths import Home
from ptmtorrent.reading.decode import DecodedObject, decode_parked
from ptmtorrent.reading.deltas import Deltas
from ptmtorrent.reading.sources import Sources
from ptmtorrent.reading.transfer import Checked, Missing, Outcome, Received, transfer
from ptmtorrent.state.laid_out import Ledger
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered
from ptmtorrent.workflows.fetch.assemble import Assembler, Assembly
from ptmtorrent.workflows.fetch.disk_space import Room, check_room, clear_staging, room_needed
from ptmtorrent.workflows.fetch.report import Records
from ptmtorrent.workflows.fetch.reuse import Stock
from ptmtorrent.workflows.fetch.select import Wanted, look_around, missing_objects, needed_bases


class FetchRun:
    """Writes the files of `wanted`; with `keep`, packs that arrive whole are added to the home's store.

    Raises:
        Interrupted: `stop` was set.
        StoreError: the ledger or the store cannot be used.
    """

    def __init__(  # noqa: PLR0913  # what `fetch` was given, and what it made of it
        self, wanted: Wanted, layout: Layout, records: Records, home: Home, *, keep: bool, emit: Emit, stop: Stop
    ) -> None:
        self._wanted = wanted
        self._layout = layout
        self._records = records
        self._home = home
        self._keeps_packs = keep
        self._emit = emit
        self._stop = stop
        self._stack = ExitStack()
        self._moved = Counter[str]()
        self._errors: dict[ObjectId, PtmError] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._ledger = stack.enter_context(Ledger(self._home.ledger))
            look_around(self._wanted, self._ledger, self._stop)
            self._warn_of_changes()
            self._stock = stack.enter_context(Stock(self._home.store, self._wanted, keep=self._keeps_packs))
            missing, bases = missing_objects(self._wanted), needed_bases(self._wanted)
            self._deltas = Deltas(self._layout.incoming(), missing, bases, self._stock.local)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def plan(self, sources: Sources) -> tuple[Plan, Room]:
        """Return what must be moved, and the disk space it takes."""
        plan = plan_moves(
            missing_objects(self._wanted),
            self._deltas.has,
            bases=self._deltas.places,
            parked=self._deltas.parked,
            whole_packs=sources.whole_packs,
        )
        plan = resume_extents(plan, staged_extents(self._home.incoming))
        return plan, room_needed(self._wanted, plan, self._deltas.disk_needed(plan), sources)

    def run(self, plan: Plan, room: Room, sources: Sources) -> Counter[str]:
        """Run the plan; return bytes moved per source. Failures are recorded per package.

        Raises:
            NoSpace, StoreError: our own disk; what arrived is kept.
            Interrupted: `stop` was set; what arrived is kept.
        """
        check_room(room, self._layout.root, self._home.incoming)
        with Assembler(self._layout, self._wanted.unfinished) as assembler:
            assembler.link_present(self._wanted.assemblies.values())
            self._records.begin(plan)
            self._finish_complete(assembler)
            if self._copy_local(assembler):
                plan, _ = self.plan(sources)
            self._transfer(plan, sources, assembler)
            self._record(assembler, wait=True)
        self._keep(self._stock.adopt_deltas)
        if self._stop.is_set():
            raise Interrupted(
                f"interrupted: {self._records.laid_out} of {len(self._wanted.orders)} packages are complete",
                hint="run the same command again to resume",
            )
        self._records.give_up(self._errors)
        if not any(not file.here for file in self._wanted.assemblies.values()):
            clear_staging(self._home.incoming, self._wanted.packs)
            self._deltas.clear()
        return self._moved

    def _transfer(self, plan: Plan, sources: Sources, assembler: Assembler) -> None:
        wanted, staging = set(assembler.wanted()), self._home.incoming
        outcomes = transfer(plan, sources, self._deltas, wanted, staging, emit=self._emit, stop=self._stop)
        with closing(outcomes):
            for outcome in outcomes:
                self._consume(outcome, sources, assembler)
                self._record(assembler)

    def _consume(self, outcome: Outcome, sources: Sources, assembler: Assembler) -> None:
        match outcome:
            case Received(delivered):
                self._moved[delivered.source] += delivered.moved
                if not sources.counts(delivered.source):
                    self._records.counted(delivered.moved)
            case DecodedObject(identifier, data):
                assembler.put(identifier, data)
            case Checked(delivered):
                self._keep_pack(delivered)
            case Missing(identifier, error):
                self._errors[identifier] = error

    def _keep_pack(self, delivered: Delivered) -> None:
        self._keep(lambda: self._stock.adopt(delivered, self._home.incoming))

    def _keep(self, adopt: Callable[[], None]) -> None:
        try:
            adopt()
        except (IntegrityError, UnsupportedFormat) as error:
            self._emit(Note(message=f"a pack is not kept: {error.message}", warning=True))

    def _record(self, assembler: Assembler, *, wait: bool = False) -> None:
        """Enter finished files into the ledger and the report."""
        for file in assembler.finished(wait=wait):
            self._record_file(file)

    def _record_file(self, file: Assembly) -> None:
        if file.error is None:
            order = self._records.first_order(file)
            self._ledger.record(
                file.target, blake3=file.blake3, package=order.package, snapshot=order.placement.snapshot
            )
        self._records.finished(file)

    def _warn_of_changes(self) -> None:
        changed = [file.target for file in self._wanted.unfinished if file.replaces]
        if changed:
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            message = f"`{changed[0]}`{more} was changed since it was fetched; it will be replaced"
            self._emit(Note(message=message, warning=True))

    def _finish_complete(self, assembler: Assembler) -> None:
        """Finish the files that lack no object."""
        for file in self._wanted.unfinished:
            if not file.missing:
                assembler.finish(file)
        self._record(assembler, wait=True)

    def _copy_local(self, assembler: Assembler) -> bool:
        """Copy local objects and decode waiting deltas; return whether some turned out to be unavailable."""
        lost = False
        for identifier in assembler.wanted():
            if self._stop.is_set():
                break
            if not self._deltas.has(identifier):
                continue
            data = self._deltas.read(identifier)
            lost |= data is None
            self._put(assembler, identifier, data)
        for stored in self._deltas.ready():
            if self._stop.is_set():
                break
            data = decode_parked(self._deltas, stored)
            lost |= data is None
            self._put(assembler, stored.item.id, data)
        self._record(assembler, wait=True)
        return bool(self._deltas.take_lost()) or lost

    def _put(self, assembler: Assembler, identifier: ObjectId, data: bytes | None) -> None:
        if data is None:
            return
        assembler.put(identifier, data)
        self._deltas.taken(identifier)
        self._record(assembler)
