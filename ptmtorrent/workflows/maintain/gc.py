"""`store gc`: delete packs that are not needed any more, in two steps.

Alive is what the newest capture of a package needs (manifest, capture, answers, data, and the bases of deltas), every
pack that a release of our own channel refers to, and packs that were adopted with all that their manifests need: a pack
of our own whose hashes were lost is called adopted too. The first run marks the packs with nothing alive in them; a
later one, after the grace, lets those go that are still dead: from the index first, then the file, then its hashes. A
crash in between leaves a pack that is indexed again when the store is next opened, and still marked.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, sync_dir
from ptmtorrent.errors import PtmError, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId, object_id
from ptmtorrent.model.manifest import Capture, Manifest, decode_manifest
from ptmtorrent.model.moments import Clock, spell
from ptmtorrent.model.records import Emit, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.store.contents import INDEX_NAME, Contents
from ptmtorrent.store.maintenance.gc_marks import read_marks, write_marks
from ptmtorrent.store.maintenance.references import Uses
from ptmtorrent.store.pack.hashes import read_sidecar, sidecar_in
from ptmtorrent.store.pack.reader import pack_in
from ptmtorrent.store.recovery.recover import packs_on_disk
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.captured import add_bases, read_captured, require_store
from ptmtorrent.workflows.maintain.damaged_packs import look_before
from ptmtorrent.workflows.maintain.released import read_released

GRACE = timedelta(hours=24)
"""Default grace period before an unreferenced pack is deleted."""

_OURS = 0


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """Packs that were deleted, that are marked for deletion, and unneeded bytes inside packs that stay."""

    summary: Summary
    packs_freed: int
    bytes_freed: int
    packs_marked: int
    bytes_marked: int
    bytes_dead: int


def gc(  # noqa: PLR0913  # where, how long to wait, what to spare, whether to, and who watches
    home: Home,
    *,
    grace: timedelta = GRACE,
    kept: bool = False,
    dry_run: bool = False,
    clock: Clock,
    emit: Emit,
) -> Collected:
    """Mark dead packs, and let those go that have been marked for `grace`; a record for each.

    Packs that a fetch kept (`--keep-packs`) are spared, unless `kept` says that they count as dead.

    Raises:
        NotFound: there is no store.
        StoreLocked: another process writes it.
        StoreError: the index is missing, a release or a manifest cannot be read, or a pack that may hold manifests is
            missing or damaged, so that it is unknown what is needed; nothing was marked or deleted.
    """
    began = time.monotonic()
    require_store(home)
    _refuse_gaps(home)
    with Store.open(home.store, alone=True) as store, Uses() as uses:
        _refuse_strays(store)
        sizes = store.contents.packs()
        adopted = set() if kept else _adopted(store, sizes)
        spared = adopted | (sizes.keys() & read_released(home.channel).sizes.keys())
        _note_described(store, adopted, uses)
        _note_alive(store, spared, uses)
        dead, bytes_dead = _find_dead(store.contents, uses, sizes.keys() - spared)
        now = clock()
        marks = {pack: since for pack, since in read_marks(home.store).items() if pack in dead}
        due = {pack for pack in dead if _is_due(marks.get(pack), now, grace)}
        for pack in dead:
            marks.setdefault(pack, spell(now))
        if not dry_run:
            write_marks(home.store, marks)
            _let_go(store, home.store, due)
            write_marks(home.store, {pack: since for pack, since in marks.items() if pack not in due})
        _report(dead, due, sizes, marks, emit, dry_run=dry_run)
    return _collected({pack: sizes[pack] for pack in dead}, due, bytes_dead, time.monotonic() - began)


def _collected(dead: Mapping[PackId, int], due: set[PackId], bytes_dead: int, seconds: float) -> Collected:
    freed = sum(dead[pack] for pack in due)
    return Collected(
        summary=Summary(packages=len(due), files=len(due), bytes=freed, bytes_moved=0, seconds=seconds, unit="pack"),
        packs_freed=len(due),
        bytes_freed=freed,
        packs_marked=len(dead) - len(due),
        bytes_marked=sum(dead.values()) - freed,
        bytes_dead=bytes_dead,
    )


def _refuse_gaps(home: Home) -> None:
    """Refuse a store that lacks what its index knew, before it is opened to write, which makes the index forget it.

    Raises:
        StoreError: the index, a pack or a manifest is missing or cannot be read.
    """
    if not (home.store / INDEX_NAME).is_file():
        raise StoreError(
            f"the index of `{home.store}` is missing, so it is unknown what is needed",
            hint="make it again first: ptmtorrent store repair --index",
        )
    gone = sorted(look_before(home).entries)
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise StoreError(
            f"the pack `{gone[0]}`{more} is missing or cut short, so it is unknown what its manifests need",
            hint="put it back, or mend the store first: ptmtorrent store repair",
        )
    with Store.open(home.store) as store:
        for _ in _read_manifests(store):
            pass


def _refuse_strays(store: Store) -> None:
    """Refuse packs that are there and not in the index even now: damaged, or of a newer version."""
    strays = sorted(packs_on_disk(store.root).keys() - store.contents.packs().keys())
    if strays:
        raise StoreError(
            f"the pack `{strays[0]}` cannot be read, so it is unknown what its manifests need",
            hint="mend it first: ptmtorrent store repair",
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
                hint="mend it first: ptmtorrent store repair",
            )
        yield capture, manifest


def _note_alive(store: Store, spared: Iterable[PackId], uses: Uses) -> None:
    """Note every object that the newest captures need, and the bases of those and of whatever lies in `spared` packs.

    Raises:
        StoreError: a manifest cannot be read.
    """
    for capture, manifest in _read_manifests(store):
        uses.add(_OURS, [ObjectId(capture.snapshot), object_id(canonical.encode(capture))])
        uses.add(_OURS, (identifier for identifier, _ in manifest.objects))
    uses.add(_OURS, (entry.base for pack in spared for entry in store.contents.entries(pack) if entry.base))
    add_bases(store.contents, uses, _OURS)


def _note_described(store: Store, packs: Iterable[PackId], uses: Uses) -> None:
    """Note what the manifests in adopted `packs` need, as far as they can be read: they may have been our own."""
    for pack in packs:
        for entry in store.contents.entries(pack):
            if entry.kind == "manifest":
                with suppress(PtmError):
                    manifest = decode_manifest(store.read(entry.id), SnapshotId(entry.id))
                    uses.add(_OURS, (identifier for identifier, _ in manifest.objects))


def _find_dead(contents: Contents, uses: Uses, packs: Iterable[PackId]) -> tuple[set[PackId], int]:
    """Return the packs with nothing alive in them, and the stored bytes of dead objects in the others."""
    dead: set[PackId] = set()
    bytes_dead = 0
    for pack in packs:
        entries = contents.entries(pack)
        unused = [entry.stored for entry in entries if uses.owner(entry.id) is None]
        if len(unused) == len(entries):
            dead.add(pack)
        else:
            bytes_dead += sum(unused)
    return dead, bytes_dead


def _adopted(store: Store, packs: Iterable[PackId]) -> set[PackId]:
    """Return the packs that a fetch kept on purpose, and those whose hashes were lost and that may be such."""
    known = {pack: read_sidecar(store.root, pack) for pack in packs}
    return {pack for pack, sidecar in known.items() if not (store.is_own(pack) if sidecar is None else sidecar[1])}


def _is_due(since: str | None, now: datetime, grace: timedelta) -> bool:
    if since is None:
        return grace <= timedelta(0)
    try:
        return now - datetime.fromisoformat(since) >= grace
    except (TypeError, ValueError):
        return False


def _let_go(store: Store, root: Path, packs: set[PackId]) -> None:
    """Forget the packs and what needs them, durably, before the first file goes."""
    if not packs:
        return
    store.contents.drop_with_users(packs)
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


def _report(  # noqa: PLR0913  # what there is to say
    dead: set[PackId],
    due: set[PackId],
    sizes: dict[PackId, int],
    marks: dict[PackId, str],
    emit: Emit,
    *,
    dry_run: bool,
) -> None:
    for pack in sorted(dead):
        since = f"nothing needs it since {marks[pack]}"
        gone = "it would be deleted" if dry_run else "it was deleted"
        reason = f"{since}; {gone}" if pack in due else f"{since}; it goes when the grace is over"
        emit(
            Result(
                kind="pack",
                id=pack,
                status="ok" if pack in due and not dry_run else "notneeded",
                reason=reason,
                bytes=sizes[pack],
            )
        )
