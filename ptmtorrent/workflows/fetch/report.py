"""What a fetch says: a record per package as soon as it is known, progress, and the last word; and what it records.

Files are announced in the ledger before anything of them is written, and recorded once they are durable: a group of
them at a time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

import msgspec

from ptmtorrent.errors import (
    IntegrityError,
    NoSource,
    NoSpace,
    PartialFailure,
    PtmError,
    TransportError,
    UnsupportedFormat,
)
from ptmtorrent.layouts.hf_cache import HfCache
from ptmtorrent.layouts.port import Layout, Marks
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.plan import Plan
from ptmtorrent.model.records import Emit, Note, Opened, Result, Status, Summary
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.progress import new_meter
from ptmtorrent.state.laid_out import Ledger, PackageFolder
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch.assembly import Assembly, unfinished
from ptmtorrent.workflows.fetch.disk_space import remove_unfinished, settle_folder
from ptmtorrent.workflows.fetch.select import OVER_SIZE, Order, Refused, Selection

ANNOUNCED_FILES = 256
"""Files that are announced at a time; one package may have more."""

MAX_INCOMPLETE = 20
"""Packages without some of their files that a fetch names."""

MAY_PASS = (IntegrityError, TransportError)
"""What failed for one of these may succeed when it is tried again."""

WORTH_ITS_CODE = (IntegrityError, NoSource, TransportError)
"""When all that failed failed for one of these, the run ends with its exit code, not with "some packages failed"."""


class Report:
    """Keeps count of a run and emits its report. Told of files and bytes by who moves them."""

    def __init__(self, wanted: Selection, layout: Layout, marks: Marks, emit: Emit, monotonic: Monotonic) -> None:
        self._wanted = wanted
        self._layout = layout
        self._marks = marks
        self._emit = emit
        self._refused: list[Refused] = []
        self._meter = new_meter("fetch", emit, monotonic)
        self._writing = new_meter("write", emit, monotonic)
        self._errors: list[PtmError] = []
        self._failed = 0

    def refuse(self, refused: Refused) -> None:
        """Record a package that is not laid out by this run."""
        self._refused.append(refused)
        if refused.status != "notneeded":
            self._count(refused.error)
        self._emit(Result(kind="package", id=refused.package, status=refused.status, reason=refused.reason))

    def begin(self, plan: Plan, held: int = 0) -> None:
        """Record what needs nothing more, and what cannot be laid out where it should be.

        Of the plan, `held` bytes are here already.
        """
        self._meter.bytes_total = plan.bytes_to_move - held
        self._meter.packages_total = len(self._wanted.orders)
        self._writing.bytes_total = self._wanted.unfinished_bytes
        for order in self._wanted.orders:
            if (broken := self._wanted.error_of(order)) is not None:
                self._fail(order, broken)
            elif not order.pending:
                self._conclude(order, here=True)

    def foresee(self) -> None:
        """Record what could not be laid out where it should be, when nothing is written."""
        for order in self._wanted.orders:
            if (broken := self._wanted.error_of(order)) is not None:
                self._fail(order, broken)

    def counted(self, size: int) -> None:
        """Count payload bytes as they come; any thread."""
        self._meter.add(bytes=size)

    def written(self, size: int) -> None:
        """Count bytes of files as they are written: what is decoded, or copied from here, takes time too."""
        self._writing.add(bytes=size)

    def finished(self, file: Assembly) -> None:
        """Record a file, laid out or not, and the package if it completes it. Each file comes once."""
        order = self._wanted.order_of(file)
        order.pending -= 1
        if order.status is not None:
            return
        if file.error is not None:
            self._fail(order, file.error)
        elif not order.pending:
            self._conclude(order, here=False)

    def give_up(self, errors: Mapping[ObjectId, PtmError]) -> None:
        """Record every package that still lacks something, and why."""
        for order in self._wanted.orders:
            if order.status is None:
                lacking = self._wanted.lacking_of(order)
                reasons = (errors[identifier] for identifier in lacking if identifier in errors)
                self._fail(order, next(reasons, NoSource(f"no source is left for `{order.package}`")))
        self._meter.finish()

    @property
    def laid_out(self) -> int:
        """Packages that are complete."""
        return sum(order.status in {"ok", "notneeded"} for order in self._wanted.orders)

    @property
    def names(self) -> set[str]:
        """The packages that the run met."""
        return {*(order.package for order in self._wanted.orders), *(refused.package for refused in self._refused)}

    def summary(self, moved: Counter[str], seconds: float) -> Summary:
        """Return the last word: what was wanted, what moved, what failed; nothing over `--max-bytes` counts."""
        orders = self._wanted.orders
        return Summary(
            packages=len(orders) + sum(refused.status != "notneeded" for refused in self._refused),
            files=sum(order.files for order in orders),
            bytes=sum(order.size for order in orders),
            bytes_moved=moved.total(),
            seconds=seconds,
            failed=self._failed,
            retryable=sum(isinstance(error, MAY_PASS) for error in self._errors),
            advice="; ".join(
                dict.fromkeys(filter(None, (error.hint for error in self._errors if not isinstance(error, MAY_PASS))))
            ),
            sources=dict(moved),
        )

    def worst(self) -> PtmError | None:
        """Return the error to end with: where all that failed failed alike, or nothing fitted; None for no such one."""
        skipped = sum(refused.reason == OVER_SIZE for refused in self._refused)
        if not self._failed:
            return None if self._wanted.orders or not skipped else _nothing_fits(skipped)
        codes = {error.code for error in self._errors}
        if len(codes) != 1 or len(self._errors) != self._failed or not isinstance(self._errors[0], WORTH_ITS_CODE):
            return None
        first = self._errors[0]
        if self._failed == 1:
            return first
        return type(first)(f"{self._failed} packages failed: {first.message}", hint=first.hint)

    def _conclude(self, order: Order, *, here: bool) -> None:
        try:
            finished = self._layout.finish(self._wanted.manifest(order), self._wanted.files_of(order), self._marks)
        except NoSpace:
            raise
        except PtmError as error:
            self._fail(order, error)
            return
        if order.refused:
            self._meter.add(packages=1)
            hint = "the other files are laid out; take these on a disk that has such names"
            self._fail(order, UnsupportedFormat(f"{order.refused}; {hint}"), "impossible")
            return
        order.status = "notneeded" if here else "ok"
        reason = "" if not here else "it is here already" if order.files else "it has no files of these kinds"
        self._meter.add(packages=1)
        path = str(finished.folder)
        self._emit(
            Result(kind="package", id=order.package, status=order.status, reason=reason, path=path, bytes=order.size)
        )
        if finished.note:
            self._emit(Note(message=finished.note, warning=True))

    def _fail(self, order: Order, error: PtmError, status: Status = "error") -> None:
        order.status = status
        self._count(error)
        self._emit(Result(kind="package", id=order.package, status=status, reason=error.message))

    def _count(self, error: PtmError | None) -> None:
        self._failed += 1
        if error is not None:
            self._errors.append(error)


def _nothing_fits(skipped: int) -> PartialFailure:
    return PartialFailure(
        f"nothing was fetched: {count(skipped, 'package')} would each exceed `--max-bytes`",
        hint="raise `--max-bytes`, or take less of each with `--only`",
    )


def note_contents(wanted: Selection, layout: Layout, emit: Emit) -> None:
    """Say what the users of the wanted packages have to know before they come."""
    _note_partial_packages(wanted, layout, emit)
    _warn_of_settings_files(wanted, emit)
    _warn_of_missing_files(wanted, emit)


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


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was asked for, where it writes, the release that it writes, and who hears of it and may stop it."""

    packages: tuple[str, ...]
    subset: str | None
    home: Home
    layout: Layout
    staging: Path
    ledger: Ledger
    opened: Opened
    emit: Emit
    stop: Stop
    monotonic: Monotonic


class Recorder:
    """Enters the files and packages of `wanted` into the ledger and the report."""

    def __init__(self, wanted: Selection, report: Report, place: Place) -> None:
        self._wanted = wanted
        self._report = report
        self._place = place
        self._layout = place.layout
        self._ledger = place.ledger
        self._emit = place.emit
        self._announced = bytearray(len(wanted.orders))
        self._begun = bytearray(len(wanted.orders))

    def record(self, files: Sequence[Assembly]) -> None:
        """Record files that are finished, or failed, and the packages that are complete with them."""
        if not files:
            return
        with self._ledger.together():
            for file in files:
                self._record_file(file)
        for file in files:
            self._report.finished(file)
        orders = {order.number: order for order in map(self._wanted.order_of, files)}.values()
        whole = [order for order in orders if order.status == "ok" and self._is_fresh(order)]
        if whole:
            with self._ledger.together():
                for order in whole:
                    self._conclude(order)

    def settle(self) -> None:
        """Deal with what earlier fetches left of the packages that are laid out now."""
        for order in self._wanted.orders:
            if order.status in {"ok", "notneeded", "impossible"} and not order.is_settled:
                self._settle(order)

    def _record_file(self, file: Assembly) -> None:
        if file.error is None:
            order = self._wanted.order_of(file)
            if not self._begun[order.number]:
                self._begun[order.number] = True
                self._ledger.put_folder(self._folder(order))
            for path, _ in file.ground.clears:
                self._ledger.forget(path)
            self._ledger.record(file.target, blake3=file.blake3, package=order.package, snapshot=order.snapshot_id)
        self._wanted.settle(file)

    def announce(self, file: Assembly) -> None:
        """Record what is about to be written of a package, and of those after it, before anything of them is."""
        number = self._wanted.order_of(file).number
        if self._announced[number]:
            return
        orders, files, rows = self._wanted.orders, 0, []
        for order in chain(orders[number:], orders[:number]):
            if self._announced[order.number] or order.status is not None:
                continue
            if files and files + order.targets > ANNOUNCED_FILES:
                break
            self._announced[order.number] = True
            files += order.targets
            for each, place in self._wanted.destinations(order, self._wanted.manifest(order)).values():
                rows.append((place.target, each.size, each.blake3, order.package, order.snapshot_id))
        self._ledger.announce(rows)

    def _is_fresh(self, order: Order) -> bool:
        """Return whether earlier fetches left nothing of a package."""
        if not order.is_new or self._wanted.found_unfinished or self._wanted.folds or self._layout.keeps_snapshots:
            return False
        return not self._ledger.has_others(self._folder(order).folder, order.snapshot_id)

    def _settle(self, order: Order) -> None:
        """Deal with what earlier fetches left of a package that is laid out now."""
        folder = self._folder(order)
        snapshot = order.snapshot_id if self._layout.keeps_snapshots else None
        for file in self._ledger.announced(folder.folder, snapshot):
            remove_unfinished(unfinished(self._layout, file.path, file.blake3))
        files = enumerate(self._wanted.manifest(order).files)
        names = {folder.folder / file.name: file.blake3 for number, file in files if number not in order.without}
        settle_folder(folder, names, self._ledger, self._emit, folds=self._wanted.folds)
        with self._ledger.together():
            self._conclude(order)

    def _conclude(self, order: Order) -> None:
        """Record how a package was chosen and what it lacks; what was announced of it is there."""
        folder = self._layout.folder(self._wanted.manifest(order))
        self._ledger.forget_announced(folder, order.snapshot_id if self._layout.keeps_snapshots else None)
        place = self._place
        self._ledger.put_chosen(folder, "" if order.package in place.packages else place.subset or "")
        lacking = (self._wanted.missing.get(order.package, ""), order.refused)
        self._ledger.put_missing(folder, "; ".join(filter(None, lacking)))
        order.is_settled = True

    def _folder(self, order: Order) -> PackageFolder:
        return PackageFolder(
            folder=self._layout.folder(self._wanted.manifest(order)),
            package=order.package,
            snapshot=None if self._layout.keeps_snapshots else order.snapshot_id,
            files=order.listed,
            opened=self._place.opened,
        )
