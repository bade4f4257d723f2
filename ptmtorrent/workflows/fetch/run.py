"""One run of a fetch over what is wanted: look around, plan, copy what is here, move the rest, name the files."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from ptmtorrent.disk.partial import staged_extents
from ptmtorrent.errors import IntegrityError, Interrupted, NoSpace, PtmError, UnsupportedFormat
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.plan import Plan, plan_moves, resume_extents
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.paths import Home
from ptmtorrent.state.laid_out import Ledger
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered
from ptmtorrent.workflows.fetch.assemble import Assembler, Assembly
from ptmtorrent.workflows.fetch.decode import decode_waiting, finish
from ptmtorrent.workflows.fetch.deltas import Bases
from ptmtorrent.workflows.fetch.disk_space import Room, check_room, clear_staging, room_needed
from ptmtorrent.workflows.fetch.report import Records
from ptmtorrent.workflows.fetch.reuse import Stock
from ptmtorrent.workflows.fetch.select import Wanted, look_around, missing_objects
from ptmtorrent.workflows.fetch.sources import Sources
from ptmtorrent.workflows.fetch.transfer import Mover


class Laying:
    """Lays out the files of `wanted`; with `keep`, packs that arrive whole join the home's store.

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

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._ledger = stack.enter_context(Ledger(self._home.ledger))
            look_around(self._wanted, self._ledger, self._stop)
            self._tell_of_changes()
            self._stock = stack.enter_context(Stock(self._home.store, self._wanted, keep=self._keeps_packs))
            self._bases = Bases(self._layout.incoming(), self._wanted, self._stock)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def plan(self, sources: Sources) -> tuple[Plan, Room]:
        """Return what must be moved, and the room that takes."""
        plan = plan_moves(
            missing_objects(self._wanted),
            self._bases.has,
            bases=self._bases.places,
            parked=self._bases.parked,
            whole_packs=sources.whole_packs,
        )
        plan = resume_extents(plan, staged_extents(self._home.incoming))
        return plan, room_needed(self._wanted, plan, self._bases.room(plan), sources)

    def lay_out(self, plan: Plan, room: Room, sources: Sources) -> Counter[str]:
        """Do it; return the bytes moved, by source. What could not be had is in the records.

        Raises:
            NoSpace, StoreError: our own disk; what arrived is kept.
            Interrupted: `stop` was set; what arrived is kept.
        """
        self._sources = sources
        check_room(room, self._layout.root, self._home.incoming)
        self._assembler = Assembler(self._layout, self._wanted.unfinished)
        self._link_what_is_here()
        self._records.begin(plan)
        self._finish_what_is_complete()
        if self._copy_what_is_here():
            plan, _ = self.plan(sources)
        mover = Mover(self._assembler, self._bases, self._home.incoming, self, emit=self._emit, stop=self._stop)
        mover.move(plan, sources)
        self._keep(self._stock.adopt_deltas)
        if self._stop.is_set():
            raise Interrupted(
                f"interrupted: {self._records.laid_out} of {len(self._wanted.orders)} packages are laid out",
                hint="run the same command again: it goes on where it stopped",
            )
        self._bases.explain(mover.errors)
        self._records.give_up(mover.errors)
        if not any(not file.here for file in self._wanted.assemblies.values()):
            clear_staging(self._home.incoming, self._wanted.packs)
            self._bases.clear()
        return mover.moved

    def arrived(self, delivered: Delivered) -> None:
        """Count what was not counted on its way."""
        if not self._sources.counts(delivered.source):
            self._records.counted(delivered.moved)

    def right(self, delivered: Delivered) -> None:
        """Keep the pack, if packs are kept."""
        self._keep(lambda: self._stock.adopt(delivered, self._home.incoming))

    def _keep(self, adopt: Callable[[], None]) -> None:
        try:
            adopt()
        except (IntegrityError, UnsupportedFormat) as error:
            self._emit(Note(message=f"a pack is not kept: {error.message}", warning=True))

    def finished(self, file: Assembly) -> None:
        """Enter a file into the ledger and the records."""
        if file.error is None:
            order = self._records.first_order(file)
            self._ledger.record(
                file.target, blake3=file.blake3, package=order.package, snapshot=order.placement.snapshot
            )
        self._records.finished(file)

    def _tell_of_changes(self) -> None:
        changed = [file.target for file in self._wanted.unfinished if file.replaces]
        if changed:
            more = f", and {len(changed) - 1} more like it" if len(changed) > 1 else ""
            message = f"`{changed[0]}` holds other bytes than any fetch of this home left there{more}: to be replaced"
            self._emit(Note(message=message, warning=True))

    def _link_what_is_here(self) -> None:
        for file in self._wanted.assemblies.values():
            if file.here and file.links:
                try:
                    self._assembler.link(file)
                except NoSpace:
                    raise
                except PtmError as error:
                    file.error = error

    def _finish_what_is_complete(self) -> None:
        for file in self._wanted.unfinished:
            if not file.missing:
                finish(self._assembler, file)
                self.finished(file)

    def _copy_what_is_here(self) -> bool:
        """Copy objects that need not be moved, decode what only waits; tell whether some were not here after all."""
        lost = False
        for identifier in self._assembler.wanted():
            if self._stop.is_set():
                break
            if not self._bases.has(identifier):
                continue
            data = self._bases.read(identifier)
            lost |= data is None
            self._put(identifier, data)
        for stored in self._bases.ready():
            if self._stop.is_set():
                break
            data = decode_waiting(self._bases, stored)
            lost |= data is None
            self._put(stored.item.id, data)
        return bool(self._bases.take_lost()) or lost

    def _put(self, identifier: ObjectId, data: bytes | None) -> None:
        if data is None:
            return
        for file in self._assembler.put(identifier, data):
            finish(self._assembler, file)
            self.finished(file)
        self._bases.done(identifier)
