"""`store repair`: find damage and restore what was written. Holds the store exclusively.

Packs are repaired in place first. If a pack cannot be repaired, its whole objects move to new packs, its lost objects
are fetched from other packs of a channel, and captures that still need a lost object are dropped, so that a clone
captures their packages again. No partly written file is ever visible; a second run continues where the first stopped.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, ensure_dir, sync_dir
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.model.ids import ObjectId, PackageName, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.records import Emit, Note, PlanMade, Result, Summary
from ptmtorrent.model.text import count, spell_size
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.stop import Stop
from ptmtorrent.store.contents import INDEX_NAME
from ptmtorrent.store.maintenance.quick_check import check_database, check_runs, is_older
from ptmtorrent.store.maintenance.salvage import salvage_pack
from ptmtorrent.store.maintenance.verify_pack import Expectation, check_pack
from ptmtorrent.store.pack.hashes import read_sidecar, write_sidecar
from ptmtorrent.store.pack.reader import hash_pack, local_bases, open_pack, pack_in
from ptmtorrent.store.recovery.quarantine import DAMAGED
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.captured import drop_incomplete, read_or_none, require_store
from ptmtorrent.workflows.maintain.channel_links import count_other_links, relink_packs
from ptmtorrent.workflows.maintain.damaged_packs import (
    EMPTY_STATE,
    DamagedPack,
    IndexState,
    find_damaged_packs,
    read_index_state,
    released_or_empty,
)
from ptmtorrent.workflows.maintain.fetch_lost import fetch_lost
from ptmtorrent.workflows.maintain.inspect import InspectContext, Inspection, Level
from ptmtorrent.workflows.maintain.released import read_released_packs, spell_releases
from ptmtorrent.workflows.maintain.repair_pack import repair_pack
from ptmtorrent.workflows.maintain.sources import repair_sources

_HUBS = {"hf": "huggingface"}
_MAX_NAMED = 16
"""Limit of lost objects that a message names; the others are counted."""


class RepairResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a repair: packs that were repaired or not, and packages that must be captured again."""

    summary: Summary
    repaired: tuple[PackId, ...]
    unrepaired: tuple[PackId, ...]
    incomplete: tuple[PackageName, ...]


def repair(  # noqa: PLR0913  # the home, a source, what to inspect and do, and where records go
    home: Home,
    channel: OpenChannel | None,
    *,
    level: Level = "data",
    rebuild: bool = False,
    dry_run: bool = False,
    emit: Emit,
    stop: Stop,
) -> RepairResult:
    """Repair the store of `home`, with packs of `channel` if given; emit one record per damaged pack and package.

    `level` is how thoroughly packs are inspected; `rebuild` makes the index again even if it is undamaged.

    Raises:
        NotFound: there is no store.
        StoreLocked: another process is writing the store.
        NoSpace: the disk is full; run again to continue.
        StoreError: the store cannot be written.
        Interrupted: `stop` was set.
    """
    require_store(home)
    return _Run(home, channel, level, emit, stop).repair(rebuild=rebuild, dry_run=dry_run)


class _Run:
    """One repair. `_unrepaired` maps packs to reasons; `_misindexed` packs are whole, but not their hashes or rows."""

    def __init__(self, home: Home, channel: OpenChannel | None, level: Level, emit: Emit, stop: Stop) -> None:
        self._home, self._root, self._level, self._emit, self._stop = home, home.store, level, emit, stop
        self._channel = channel
        self._sources = repair_sources(home.channel, channel)
        self._began = time.monotonic()
        self._before: IndexState = EMPTY_STATE
        self._released = released_or_empty(lambda: read_released_packs(home.channel), self._warn)
        self._meter: Meter = new_meter("repair", emit, time.monotonic)
        self._unrepaired: dict[PackId, str] = {}
        self._misindexed: list[PackId] = []
        self._repaired: list[PackId] = []
        self._gone: list[PackId] = []
        self._inspected = self._bytes = self._failed = 0

    def repair(self, *, rebuild: bool, dry_run: bool) -> RepairResult:
        """Run the repair, or only plan it."""
        index = self._root / INDEX_NAME
        database = ["an older ptmtorrent wrote it"] if is_older(index) else check_database(index)
        runs = [] if database else check_runs(self._root / INDEX_NAME)
        problems = database or [problem for _, problem in runs]
        self._before = EMPTY_STATE if problems else read_index_state(self._home)
        if dry_run:
            self._plan(problems)
            return self._result([])
        if problems:
            _quarantine_index(self._root, [path for path, _ in runs])
        with Store.open(self._root, exclusive=True) as store:  # which replaces runs that are missing
            if database or rebuild:
                store.rebuild_index()
            if problems or rebuild:
                self._emit(Result(kind="index", id="index", status="ok", reason="rebuilt from the packs"))
            for damaged in self._damaged_packs(store):
                self._repair_pack(damaged, store)
            for pack in self._misindexed:  # last, because the other steps read the index
                self._reindex(store, pack)
            sound = self._released.sizes.keys() - self._unrepaired.keys()
            relink_packs(self._root, self._home.channel, set(self._repaired), sound)
        # Opening the store again indexes the packs that were restored.
        with Store.open(self._root, exclusive=True) as store:
            self._salvage(store)
            dropped = set(drop_incomplete(store))
            now = {capture.package for capture in store.captures()}
        incomplete = sorted(dropped | (self._before.packages - now))
        self._report_incomplete(incomplete)
        return self._result(incomplete)

    def _damaged_packs(self, store: Store) -> Iterator[DamagedPack]:
        def on_bytes(size: int) -> None:
            self._stop.raise_if_set("the repair")
            self._meter.add(bytes=size // 2)

        def on_inspected(inspected: Inspection) -> None:
            self._inspected += 1
            self._bytes += inspected.size

        context = InspectContext(self._level, store.has, lambda item: read_or_none(store, item), on_bytes)
        yield from find_damaged_packs(self._root, self._before, self._released, context, on_inspected)
        self._meter.finish()

    def _plan(self, problems: list[str]) -> None:
        """Report what a repair would do and how many bytes it would move."""
        if problems:
            self._emit(Result(kind="index", id="index", status="ok", reason="would be rebuilt from the packs"))
            return
        packs = sizes = wanted = requests = disk = 0
        with Store.open(self._root) as store:
            for damaged in self._damaged_packs(store):
                extents = [] if damaged.is_sound else damaged.extents
                moved = sum(extent.length for extent in extents)
                size = damaged.expected.size
                packs, sizes, wanted, requests = packs + 1, sizes + size, wanted + moved, requests + len(extents)
                disk = max(disk, size)
                self._emit(self._planned(damaged.expected.pack, moved))
        self._emit(
            PlanMade(packages=packs, files=packs, bytes=sizes, bytes_to_move=wanted, requests=requests, disk=disk)
        )

    def _planned(self, pack: PackId, moved: int) -> Result:
        """Return what a repair would do with a damaged pack, `moved` bytes of which must come from a source."""
        if moved and not self._sources:
            reason = f"damaged; a source is needed for {spell_size(moved)} of it: name a channel with `--from`"
            return Result(kind="pack", id=pack, status="impossible", reason=reason)
        action = f"{spell_size(moved)} of it would be downloaded" if moved else "would be repaired locally"
        return Result(kind="pack", id=pack, status="ok", reason=f"damaged; {action}", bytes=moved)

    def _repair_pack(self, damaged: DamagedPack, store: Store) -> None:
        self._stop.raise_if_set("the repair")
        pack = damaged.expected.pack
        if damaged.is_sound:
            if damaged.lost:
                self._unrepaired[pack] = "objects in it do not match their ids"
            else:
                self._misindexed.append(pack)
            return
        path, reasons = pack_in(self._root, pack), list[str]()
        others = count_other_links(path, self._home.channel, pack) if path.is_file() else 0
        repaired = repair_pack(self._root, damaged, self._sources, reasons, own=self._is_own(store, pack))
        if repaired is None:
            self._unrepaired[pack] = "; ".join(dict.fromkeys(reasons)) or "no source was given"
            return
        self._repaired.append(pack)
        what = f"the object `{damaged.lost[0]}`" if len(damaged.lost) == 1 else count(len(damaged.lost), "object")
        reason = f"{repaired.how}: {what}, {spell_size(repaired.moved)} moved"
        self._emit(Result(kind="pack", id=pack, status="ok", reason=reason, bytes=repaired.moved))
        if others:
            links = count(others, "other hard link")
            self._warn(f"the damaged file of the pack `{pack}` has {links}, in channels published from this home")

    def _reindex(self, store: Store, pack: PackId) -> None:
        """Restore the stored hashes and the index rows of a pack that is whole."""
        hashes = hash_pack(pack_in(self._root, pack), pack)
        kept = read_sidecar(self._root, pack)
        if kept is None or kept[0] != hashes:
            write_sidecar(self._root, hashes, own=self._is_own(store, pack) if kept is None else kept[1])
        with open_pack(pack_in(self._root, pack)) as reader:
            entries = reader.footer()
            bases = local_bases(reader, entries, lambda item: read_or_none(store, item))
            deltas = [entry for entry in entries if entry.base and reader.holds(entry, bases(entry.base))]
        store.contents.replace(hashes, [*(entry for entry in entries if entry.base is None), *deltas])
        self._repaired.append(pack)
        reason = "its stored hashes and index rows were restored; the pack was undamaged"
        self._emit(Result(kind="pack", id=pack, status="ok", reason=reason))

    def _is_own(self, store: Store, pack: PackId) -> bool:
        return pack in self._before.own or store.is_own(pack)

    def _salvage(self, store: Store) -> None:
        """Salvage the packs that could not be repaired and fetch the objects they lost."""
        lost: dict[PackId, set[ObjectId]] = {}
        rights: dict[ObjectId, Rights] = {}
        for pack in self._unrepaired:
            self._stop.raise_if_set("the repair")
            known = read_sidecar(self._root, pack)
            if pack_in(self._root, pack).is_file():
                size = known[0].size if known else self._before.sizes.get(pack, self._released.sizes.get(pack, 0))
                lost[pack] = self._salvage_pack(store, pack, size)
            else:
                entries = self._before.entries.get(pack, ())
                lost[pack] = store.lacking(entry.id for entry in entries)
            if known is not None:
                rights |= dict.fromkeys(lost[pack], known[0].rights)
        wanted = {identifier for identifiers in lost.values() for identifier in identifiers}
        if self._channel is not None and wanted:
            reasons: list[str] = []
            fetch_lost(store, wanted, rights, self._sources[-1], reasons)
            for pack in (pack for pack, identifiers in lost.items() if identifiers):
                fresh = [reason for reason in reasons if reason not in self._unrepaired[pack]]
                self._unrepaired[pack] = "; ".join([self._unrepaired[pack], *fresh])
        for pack, identifiers in lost.items():
            self._report_unrepaired(pack, store.lacking(identifiers), len(identifiers))

    def _salvage_pack(self, store: Store, pack: PackId, size: int) -> set[ObjectId]:
        def read_base(identifier: ObjectId) -> bytes | None:
            return read_or_none(store, identifier)

        path = pack_in(self._root, pack)
        size = size or path.stat().st_size
        expected = Expectation(pack=pack, size=size, entries=tuple(store.contents.entries(pack)))
        return salvage_pack(store, pack, check_pack(path, expected, read_base, lambda _: None), read_base)

    def _report_unrepaired(self, pack: PackId, lost: set[ObjectId], wanted: int) -> None:
        releases = self._released.releases.get(pack, [])
        if not (lost or releases or wanted or pack in self._before.sizes) and not _is_quarantined(self._root, pack):
            return  # only hashes were written before a crash; the pack never existed
        reason = f"could not be repaired ({self._unrepaired[pack]})"
        if _is_quarantined(self._root, pack):
            reason += f"; its whole objects were moved to new packs, its file to `{self._root / DAMAGED}`"
        if lost:
            named = ", ".join(f"`{item}`" for item in sorted(lost)[:_MAX_NAMED])
            more = f" and {len(lost) - _MAX_NAMED:,} more" if len(lost) > _MAX_NAMED else ""
            reason += f"; {count(len(lost), 'object')} lost: {named}{more}"
        if releases:
            reason += f"; needed by {spell_releases(releases)}"
        self._gone.append(pack)
        self._failed += bool(lost or releases)
        self._emit(Result(kind="pack", id=pack, status="error" if lost or releases else "ok", reason=reason))

    def _report_incomplete(self, packages: list[PackageName]) -> None:
        for package in packages:
            hub, _, name = package.partition(":")
            reason = f"some of its objects are lost; clone it again: ptmtorrent clone {_HUBS.get(hub, hub)} --id {name}"
            self._failed += 1
            self._emit(Result(kind="package", id=package, status="error", reason=reason))

    def _warn(self, message: str) -> None:
        self._emit(Note(message=message, warning=True))

    def _result(self, incomplete: list[PackageName]) -> RepairResult:
        summary = Summary(
            packages=max(self._inspected, self._failed),
            files=self._inspected,
            bytes=self._bytes,
            bytes_moved=sum(source.moved for source in self._sources),
            seconds=time.monotonic() - self._began,
            failed=self._failed,
            unit="pack",
            sources={source.name: source.moved for source in self._sources if source.moved},
        )
        return RepairResult(
            summary=summary,
            repaired=tuple(self._repaired),
            unrepaired=tuple(self._gone),
            incomplete=tuple(incomplete),
        )


def _is_quarantined(root: Path, pack: PackId) -> bool:
    return (root / DAMAGED / f"{pack}.pack").is_file()


def _quarantine_index(root: Path, runs: Sequence[Path]) -> None:
    """Move the damaged `runs` of an index to `damaged/`, or without any its database.

    Its log moves first, so that it is never applied to the new index.

    Raises:
        StoreLocked: another process is writing the store.
        StoreError: it cannot be moved.
    """
    with WriteLock(root):
        folder = root / DAMAGED
        ensure_dir(folder)
        number = next(number for number in range(1 << 16) if not (folder / f"index-{number}.sqlite").exists())
        moves = [(path, folder / path.name) for path in runs] or [
            (root / f"{INDEX_NAME}{suffix}", folder / f"index-{number}.sqlite{suffix}")
            for suffix in ("-wal", "-shm", "")
        ]
        for path, target in moves:
            if path.exists():
                with disk_errors(path):
                    path.replace(target)
        for parent in {path.parent for path in runs}:
            sync_dir(parent)
        sync_dir(folder)
        sync_dir(root)
