"""`store gc`: delete packs that are no longer needed, in two steps.

Objects are live if the newest capture of a package needs them (manifest, capture, answers, data, bases of deltas),
unless the package was withdrawn.
Packs stay if they hold a live object, if a release of our own channel refers to them, or if they were adopted, with all
that their manifests need; one of our own packs without stored hashes counts as adopted. The first run marks the dead
packs; a later run, after the grace period, deletes those still dead: first from the index, then the file, then its
hashes. A crash in between leaves a pack that is indexed again when the store is next opened, and that is still marked.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import msgspec

from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.disk.durable import disk_errors, sync_dir
from ptmtorrent.disk.elapsed import Uptime, read_instant, read_uptime
from ptmtorrent.errors import PtmError, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, SnapshotId, object_id
from ptmtorrent.model.manifest import Capture, Manifest, decode_manifest
from ptmtorrent.model.moments import Clock, behind_note
from ptmtorrent.model.records import Emit, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.store.contents import INDEX_NAME, Contents
from ptmtorrent.store.maintenance.gc_marks import Mark, age_marks, last_moment, write_marks
from ptmtorrent.store.maintenance.references import References
from ptmtorrent.store.pack.hashes import read_sidecar, sidecar_in
from ptmtorrent.store.pack.reader import pack_in, packs_on_disk
from ptmtorrent.store.store import Store
from ptmtorrent.trust.withdrawals import own_withdrawn
from ptmtorrent.workflows.maintain.captured import add_bases, read_captured, require_store
from ptmtorrent.workflows.maintain.damaged_packs import read_index_state
from ptmtorrent.workflows.maintain.released import read_released_packs

GRACE = timedelta(hours=24)
"""Default grace period before an unreferenced pack is deleted."""

_LIVE = 0
"""The owner of live objects."""


class GcResult(msgspec.Struct, frozen=True, kw_only=True):
    """Packs that were deleted, packs that are marked for deletion, and bytes of dead objects in packs that stay."""

    summary: Summary
    packs_freed: int
    bytes_freed: int
    packs_marked: int
    bytes_marked: int
    bytes_dead: int


def gc(  # noqa: PLR0913  # the home, what to delete and when, and where records go
    home: Home,
    *,
    grace: timedelta = GRACE,
    kept: bool = False,
    dry_run: bool = False,
    clock: Clock,
    emit: Emit,
    uptime: Uptime = read_uptime,
) -> GcResult:
    """Mark dead packs and delete those that have been marked for `grace`; emit one record per dead pack.

    How long a pack has been marked follows from `uptime`, and from `clock` only as far as that says less.

    Packs that a fetch kept (`--keep-packs`) stay unless `kept` is set.

    Raises:
        NotFound: there is no store.
        StoreLocked: another process is writing the store.
        StoreError: the index is missing, a release or a manifest cannot be read, or a pack that may hold manifests is
            missing or damaged, so that it is unknown what is needed; nothing was marked or deleted.
    """
    began = time.monotonic()
    require_store(home)
    _refuse_gaps(home)
    with Store.open(home.store, exclusive=True) as store, References() as references:
        _refuse_strays(store)
        sizes = store.contents.packs()
        adopted = set() if kept else _adopted(store, sizes)
        staying = adopted | (sizes.keys() & read_released_packs(home.channel).sizes.keys())
        _add_described(store, adopted, references)
        _add_live(store, staying, own_withdrawn(OwnReader(home.channel)).packages, references)
        dead, bytes_dead = _find_dead(store.contents, references, sizes.keys() - staying)
        if note := behind_note(clock(), last_moment(home.store), "the last run of `store gc`"):
            emit(note)
        now = read_instant(clock, uptime)
        marks = age_marks(home.store, dead, now, grace)
        due = {pack for pack, mark in marks.items() if mark.waited >= grace.total_seconds()}
        if not dry_run:
            write_marks(home.store, marks, now)
            _delete(store, home.store, due)
            write_marks(home.store, {pack: mark for pack, mark in marks.items() if pack not in due}, now)
        _report(dead, due, sizes, marks, emit, dry_run=dry_run)
    return _result({pack: sizes[pack] for pack in dead}, due, bytes_dead, time.monotonic() - began)


def _result(dead: Mapping[PackId, int], due: set[PackId], bytes_dead: int, seconds: float) -> GcResult:
    freed = sum(dead[pack] for pack in due)
    return GcResult(
        summary=Summary(packages=len(due), files=len(due), bytes=freed, bytes_moved=0, seconds=seconds, unit="pack"),
        packs_freed=len(due),
        bytes_freed=freed,
        packs_marked=len(dead) - len(due),
        bytes_marked=sum(dead.values()) - freed,
        bytes_dead=bytes_dead,
    )


def _refuse_gaps(home: Home) -> None:
    """Refuse an incomplete store before it is opened for writing, which would drop missing packs from the index.

    Raises:
        StoreError: the index, a pack or a manifest is missing or cannot be read.
    """
    if not (home.store / INDEX_NAME).is_file():
        raise StoreError(
            f"the index of `{home.store}` is missing, so it is unknown what is needed",
            hint="rebuild it first: ptmtorrent store repair --index",
        )
    gone = sorted(read_index_state(home).entries)
    if gone:
        packs = f"the pack `{gone[0]}` is" if len(gone) == 1 else f"{len(gone):,} packs (first: `{gone[0]}`) are"
        raise StoreError(
            f"{packs} missing or cut short, so it is unknown what is needed",
            hint="put the files back, or repair the store first: ptmtorrent store repair",
        )
    with Store.open(home.store) as store:
        for _ in _read_manifests(store):
            pass


def _refuse_strays(store: Store) -> None:
    """Refuse packs on disk that opening the store did not index: they are damaged or of a newer version."""
    strays = sorted(packs_on_disk(store.root).keys() - store.contents.packs().keys())
    if strays:
        raise StoreError(
            f"the pack `{strays[0]}` cannot be read, so it is unknown what its manifests need",
            hint="repair it first: ptmtorrent store repair",
        )


def _read_manifests(store: Store) -> Iterator[tuple[Capture, Manifest]]:
    """Yield the newest captures and their manifests.

    Raises:
        StoreError: a manifest cannot be read.
    """
    for captured in read_captured(store):
        capture, manifest = captured.capture, captured.manifest
        if manifest is None:
            why = "" if captured.error is None else f": {captured.error.message}"
            raise StoreError(
                f"the manifest of `{capture.package}` cannot be read, so it is unknown what it needs{why}",
                hint="repair it first: ptmtorrent store repair",
            )
        yield capture, manifest


def _add_live(store: Store, kept: Iterable[PackId], withdrawn: Collection[PackageName], references: References) -> None:
    """Add every object that the newest captures need, and the bases of these and of all objects in packs `kept`.

    Captures of packages that were `withdrawn` need nothing any more.

    Raises:
        StoreError: a manifest cannot be read.
    """
    for capture, manifest in _read_manifests(store):
        if capture.package in withdrawn:
            continue
        references.add(_LIVE, [ObjectId(capture.snapshot), object_id(canonical.encode(capture))])
        references.add(_LIVE, (identifier for identifier, _ in manifest.objects))
    references.add(_LIVE, (entry.base for pack in kept for entry in store.contents.entries(pack) if entry.base))
    add_bases(store.contents, references, _LIVE)


def _add_described(store: Store, packs: Iterable[PackId], references: References) -> None:
    """Add what the readable manifests in adopted `packs` need: these may be our own packs that lost their hashes."""
    for pack in packs:
        for entry in store.contents.entries(pack):
            if entry.kind == "manifest":
                with suppress(PtmError):
                    manifest = decode_manifest(store.read(entry.id), SnapshotId(entry.id))
                    references.add(_LIVE, (identifier for identifier, _ in manifest.objects))


def _find_dead(contents: Contents, references: References, packs: Iterable[PackId]) -> tuple[set[PackId], int]:
    """Return the packs without a live object, and the stored bytes of dead objects in the others."""
    dead: set[PackId] = set()
    bytes_dead = 0
    for pack in packs:
        entries = contents.entries(pack)
        unused = [entry.stored for entry in entries if references.owner(entry.id) is None]
        if len(unused) == len(entries):
            dead.add(pack)
        else:
            bytes_dead += sum(unused)
    return dead, bytes_dead


def _adopted(store: Store, packs: Iterable[PackId]) -> set[PackId]:
    """Return the packs that a fetch kept, and those whose hashes are lost, which may be such packs."""
    known = {pack: read_sidecar(store.root, pack) for pack in packs}
    return {pack for pack, sidecar in known.items() if not (store.is_own(pack) if sidecar is None else sidecar[1])}


def _delete(store: Store, root: Path, packs: set[PackId]) -> None:
    """Drop the packs and their dependents from the index, durably, then delete the files."""
    if not packs:
        return
    store.contents.drop_with_dependents(packs)
    here = packs_on_disk(root)
    for pack in sorted(packs):
        if pack in here:
            _remove(pack_in(root, pack))
        if sidecar_in(root, pack).is_file():
            _remove(sidecar_in(root, pack))


def _remove(path: Path) -> None:
    with disk_errors(path):
        path.unlink()
    sync_dir(path.parent)


def _report(  # noqa: PLR0913  # all that a record says
    dead: set[PackId],
    due: set[PackId],
    sizes: dict[PackId, int],
    marks: dict[PackId, Mark],
    emit: Emit,
    *,
    dry_run: bool,
) -> None:
    for pack in sorted(dead):
        since = f"unreferenced since {marks[pack].since}"
        deleted = "would be deleted" if dry_run else "deleted"
        reason = f"{since}; {deleted}" if pack in due else f"{since}; will be deleted after the grace period"
        emit(
            Result(
                kind="pack",
                id=pack,
                status="ok" if pack in due and not dry_run else "notneeded",
                reason=reason,
                bytes=sizes[pack],
            )
        )
