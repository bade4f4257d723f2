"""`store repair`: find what is bad and make it what it was, alone.

First every pack that can be repaired is repaired in place. Then, for packs that cannot, what is whole in them
moves to new packs, lost objects are asked for wherever a channel has them, and what needs lost ones is forgotten, so
that a clone captures it again. Nothing half-written is ever visible; running it again goes on where it stopped.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, ensure_dir, sync_dir
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.model.ids import ObjectId, PackageName, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.records import Emit, Note, PlanMade, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.stop import Stop
from ptmtorrent.store.contents import INDEX_NAME
from ptmtorrent.store.maintenance.quick_check import check_index
from ptmtorrent.store.maintenance.verify_pack import Expectation, check_pack, local_bases
from ptmtorrent.store.pack.hashes import read_sidecar, write_sidecar
from ptmtorrent.store.pack.reader import hash_pack, open_pack, pack_in
from ptmtorrent.store.recovery.quarantine import DAMAGED
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.captured import read_or_none, require_store
from ptmtorrent.workflows.maintain.channel_links import mend_links, other_links
from ptmtorrent.workflows.maintain.damaged_packs import NOTHING, Before, find_patients, look_before, released_or_nothing
from ptmtorrent.workflows.maintain.inspect import Glass, Level, Looked
from ptmtorrent.workflows.maintain.released import read_released
from ptmtorrent.workflows.maintain.repair_pack import Patient, mend
from ptmtorrent.workflows.maintain.salvage import fetch_lost, forget_incomplete, salvage
from ptmtorrent.workflows.maintain.sources import sources_of

_HUBS = {"hf": "huggingface"}
_MAX_NAMED = 16
"""More lost objects than this are counted, not named."""


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair did: packs that are whole again, packs that are gone, packages that must be captured again."""

    summary: Summary
    mended: tuple[PackId, ...]
    gone: tuple[PackId, ...]
    again: tuple[PackageName, ...]


def repair(  # noqa: PLR0913  # what, from whom, how closely, how far, and who watches
    home: Home,
    named: OpenChannel | None,
    *,
    level: Level = "data",
    rebuild: bool = False,
    dry_run: bool = False,
    emit: Emit,
    stop: Stop,
) -> Repaired:
    """Mend the store of `home`, with the packs of the channel `named` where one is; a record for all that was bad.

    `level` says how closely to look for what is bad; `rebuild` makes the index again even when it seems whole.

    Raises:
        NotFound: there is no store.
        StoreLocked: another process writes it.
        NoSpace: the disk is full; run again to go on.
        StoreError: the store cannot be written.
        Interrupted: `stop` was set.
    """
    require_store(home)
    return _Run(home, named, level, emit, stop).repair(rebuild=rebuild, dry_run=dry_run)


class _Run:
    """One repair. `_left` are packs that could not be repaired, with the reasons; `_misfiled` are whole themselves."""

    def __init__(self, home: Home, named: OpenChannel | None, level: Level, emit: Emit, stop: Stop) -> None:
        self._home, self._root, self._level, self._emit, self._stop = home, home.store, level, emit, stop
        self._named = named
        self._sources = sources_of(home.channel, named)
        self._began = time.monotonic()
        self._before: Before = NOTHING
        self._released = released_or_nothing(lambda: read_released(home.channel), self._warn)
        self._meter: Meter = new_meter("repair", emit, time.monotonic)
        self._left: dict[PackId, str] = {}
        self._misfiled: list[PackId] = []
        self._mended: list[PackId] = []
        self._gone: list[PackId] = []
        self._looked = self._bytes = self._failed = 0

    def repair(self, *, rebuild: bool, dry_run: bool) -> Repaired:
        """Do it."""
        problems = check_index(self._root / INDEX_NAME)
        self._before = NOTHING if problems else look_before(self._home)
        if dry_run:
            self._plan(problems)
            return self._repaired([])
        if problems:
            _set_index_aside(self._root)
        with Store.open(self._root, alone=True) as store:
            if problems or rebuild:
                store.rebuild_index()
                self._emit(Result(kind="index", id="index", status="ok", reason="made again from the packs"))
            for patient in self._patients(store):
                self._mend(patient, store)
            for pack in self._misfiled:  # now that no other step reads the index
                self._set_right(store, pack)
            sound = self._released.sizes.keys() - self._left.keys()
            mend_links(self._root, self._home.channel, set(self._mended), sound)
        # Opened again, the store takes in the packs that are back.
        with Store.open(self._root, alone=True) as store:
            self._salvage(store)
            forgotten = set(forget_incomplete(store))
            now = {capture.package for capture in store.captures()}
        again = sorted(forgotten | (self._before.packages - now))
        self._say_again(again)
        return self._repaired(again)

    def _patients(self, store: Store) -> Iterator[Patient]:
        def count(size: int) -> None:
            self._stop.raise_if_set("the repair")
            self._meter.add(bytes=size // 2)

        def looked(found: Looked) -> None:
            self._looked += 1
            self._bytes += found.size

        glass = Glass(self._level, store.has, lambda identifier: read_or_none(store, identifier), count)
        yield from find_patients(self._root, self._before, self._released, glass, looked)
        self._meter.finish()

    def _plan(self, problems: list[str]) -> None:
        """Say what would be done, and what would have to be moved for it."""
        if problems:
            self._emit(Result(kind="index", id="index", status="ok", reason="it would be made again from the packs"))
            return
        packs = sizes = wanted = requests = disk = 0
        with Store.open(self._root) as store:
            for patient in self._patients(store):
                extents = [] if patient.is_sound else patient.extents
                moved = sum(extent.length for extent in extents)
                size = patient.expected.size
                packs, sizes, wanted, requests = packs + 1, sizes + size, wanted + moved, requests + len(extents)
                disk = max(disk, size)
                self._emit(self._expect(patient.expected.pack, moved))
        self._emit(
            PlanMade(packages=packs, files=packs, bytes=sizes, bytes_to_move=wanted, requests=requests, disk=disk)
        )

    def _expect(self, pack: PackId, moved: int) -> Result:
        """Say what would become of a damaged pack, `moved` bytes of which only others can have."""
        if moved and not self._sources:
            reason = f"it is damaged, and no source was given for {moved:,} bytes of it: name one with --from"
            return Result(kind="pack", id=pack, status="impossible", reason=reason)
        asked = (
            f"{moved:,} bytes of it would be asked for" if moved else "it would be put right from what is left of it"
        )
        return Result(kind="pack", id=pack, status="ok", reason=f"it is damaged; {asked}", bytes=moved)

    def _mend(self, patient: Patient, store: Store) -> None:
        self._stop.raise_if_set("the repair")
        pack = patient.expected.pack
        if patient.is_sound:
            if patient.lost:
                self._left[pack] = "objects in it are not what they are called"
            else:
                self._misfiled.append(pack)
            return
        path, reasons = pack_in(self._root, pack), list[str]()
        others = other_links(path, self._home.channel, pack) if path.is_file() else 0
        mended = mend(self._root, patient, self._sources, reasons, own=self._is_own(store, pack))
        if mended is None:
            self._left[pack] = "; ".join(dict.fromkeys(reasons)) or "no source was given"
            return
        self._mended.append(pack)
        objects = len(patient.lost)
        what = f"{objects} objects" if objects != 1 else f"the object `{patient.lost[0]}`"
        reason = f"{mended.how}: {what}, {mended.moved:,} bytes moved"
        self._emit(Result(kind="pack", id=pack, status="ok", reason=reason, bytes=mended.moved))
        if others:
            self._warn(
                f"the damaged file of the pack `{pack}` has {others} more names, in channels published from here"
            )

    def _set_right(self, store: Store, pack: PackId) -> None:
        """Put right what is kept of a pack that is whole: its hashes, and its rows in the index."""
        hashes = hash_pack(pack_in(self._root, pack), pack)
        kept = read_sidecar(self._root, pack)
        if kept is None or kept[0] != hashes:
            write_sidecar(self._root, hashes, own=self._is_own(store, pack) if kept is None else kept[1])
        with open_pack(pack_in(self._root, pack)) as reader:
            entries = reader.footer()
            bases = local_bases(reader, entries, lambda item: read_or_none(store, item))
            deltas = [entry for entry in entries if entry.base and reader.holds(entry, bases(entry.base))]
        store.contents.replace(hashes, [*(entry for entry in entries if entry.base is None), *deltas])
        self._mended.append(pack)
        self._emit(Result(kind="pack", id=pack, status="ok", reason="what is kept of it was put right; it was whole"))

    def _is_own(self, store: Store, pack: PackId) -> bool:
        return pack in self._before.own or store.is_own(pack)

    def _salvage(self, store: Store) -> None:
        """Save what can be of the packs that are left."""
        lost: dict[PackId, set[ObjectId]] = {}
        rights: dict[ObjectId, Rights] = {}
        for pack in self._left:
            self._stop.raise_if_set("the repair")
            known = read_sidecar(self._root, pack)
            if pack_in(self._root, pack).is_file():
                size = known[0].size if known else self._before.sizes.get(pack, self._released.sizes.get(pack, 0))
                size = size or pack_in(self._root, pack).stat().st_size
                expected = Expectation(pack=pack, size=size, entries=tuple(store.contents.entries(pack)))
                found = check_pack(
                    pack_in(self._root, pack), expected, lambda item: read_or_none(store, item), lambda _: None
                )
                lost[pack] = salvage(store, pack, found)
            else:
                entries = self._before.entries.get(pack, ())
                lost[pack] = {entry.id for entry in entries if not store.has(entry.id)}
            if known is not None:
                rights |= dict.fromkeys(lost[pack], known[0].rights)
        wanted = {identifier for identifiers in lost.values() for identifier in identifiers}
        if self._named is not None and wanted:
            reasons: list[str] = []
            fetch_lost(store, wanted, rights, self._sources[-1], reasons)
            for pack in (pack for pack, identifiers in lost.items() if identifiers):
                fresh = [reason for reason in reasons if reason not in self._left[pack]]
                self._left[pack] = "; ".join([self._left[pack], *fresh])
        for pack, identifiers in lost.items():
            self._report_left(pack, {item for item in identifiers if not store.has(item)}, len(identifiers))

    def _report_left(self, pack: PackId, lost: set[ObjectId], asked: int) -> None:
        releases = self._released.releases.get(pack, [])
        if not (lost or releases or asked or pack in self._before.sizes) and not _is_aside(self._root, pack):
            return  # hashes of a pack that never came to be
        reason = f"it could not be mended ({self._left[pack]})"
        if _is_aside(self._root, pack):
            reason += f"; what was whole in it lies in new packs, its file in `{self._root / DAMAGED}`"
        if lost:
            named = ", ".join(f"`{item}`" for item in sorted(lost)[:_MAX_NAMED])
            reason += f"; {len(lost)} objects are lost: {named}"
        if releases:
            reason += f"; needed by the releases {', '.join(f'`{name}`' for name in releases)}"
        self._gone.append(pack)
        self._failed += bool(lost or releases)
        self._emit(Result(kind="pack", id=pack, status="error" if lost or releases else "ok", reason=reason))

    def _say_again(self, packages: list[PackageName]) -> None:
        for package in packages:
            hub, _, name = package.partition(":")
            command = f"ptmtorrent clone {_HUBS.get(hub, hub)} --id {name}"
            self._failed += 1
            self._emit(
                Result(
                    kind="package",
                    id=package,
                    status="error",
                    reason=f"parts of it are lost; clone it again: {command}",
                )
            )

    def _warn(self, message: str) -> None:
        self._emit(Note(message=message, warning=True))

    def _repaired(self, again: list[PackageName]) -> Repaired:
        summary = Summary(
            packages=max(self._looked, self._failed),
            files=self._looked,
            bytes=self._bytes,
            bytes_moved=sum(source.moved for source in self._sources),
            seconds=time.monotonic() - self._began,
            failed=self._failed,
            unit="pack",
            sources={source.name: source.moved for source in self._sources if source.moved},
        )
        return Repaired(summary=summary, mended=tuple(self._mended), gone=tuple(self._gone), again=tuple(again))


def _is_aside(root: Path, pack: PackId) -> bool:
    return (root / DAMAGED / f"{pack}.pack").is_file()


def _set_index_aside(root: Path) -> None:
    """Move a damaged index to `damaged/`; its log goes first, so that it is never taken for that of the new one.

    Raises:
        StoreLocked: another process writes the store.
        StoreError: it cannot be moved.
    """
    with WriteLock(root):
        folder = root / DAMAGED
        ensure_dir(folder)
        number = next(number for number in range(1 << 16) if not (folder / f"index-{number}.sqlite").exists())
        for suffix in ("-wal", "-shm", ""):
            path = root / f"{INDEX_NAME}{suffix}"
            if path.exists():
                with disk_errors(path):
                    path.replace(folder / f"index-{number}.sqlite{suffix}")
        sync_dir(folder)
        sync_dir(root)
