"""Salvage a pack that cannot be repaired: whole objects move to new packs, lost ones leave the index.

The damaged file is kept, in `damaged/` of the store. The order is what a crash is survived by: the index forgets the
pack, its whole objects are put again and durable, then the file goes aside. Until it has, a pack that the index does
not know lies in `packs/`: the next run finds it there and begins again.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ptmtorrent.disk.durable import disk_errors, ensure_dir, sync_dir
from ptmtorrent.errors import (
    IntegrityError,
    NotFound,
    PackMissing,
    StoreError,
    TransportError,
    TrustError,
    UnsupportedFormat,
)
from ptmtorrent.model.ids import ObjectId, PackageName, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.codecs import Encoded
from ptmtorrent.store.ingest.encode_pool import Coded
from ptmtorrent.store.maintenance.verify_pack import CheckedPack, ReadBase, local_bases
from ptmtorrent.store.pack.format import Entry, PackClass
from ptmtorrent.store.pack.hashes import read_sidecar, sidecar_in
from ptmtorrent.store.pack.reader import PackReader, open_pack, pack_in
from ptmtorrent.store.recovery.quarantine import DAMAGED
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.captured import read_captured, read_or_none
from ptmtorrent.workflows.maintain.sources import Source

_BAD = (IntegrityError, UnsupportedFormat, PackMissing)


def salvage(store: Store, pack: PackId, checked: CheckedPack) -> set[ObjectId]:
    """Put the whole objects of a damaged pack again, durably, and put its file aside; return the objects it lost.

    Raises:
        NoSpace: the disk is full; run again to go on.
        StoreError: the store cannot be written.
    """
    path = pack_in(store.root, pack)
    with open_pack(path) as reader:
        pack_class = _class_of(store, pack, reader, checked.entries)
        store.contents.drop([pack])
        bases = local_bases(reader, checked.entries, lambda identifier: read_or_none(store, identifier))
        # Plain objects first: a delta is put only where its base is.
        for entry in sorted(checked.entries, key=lambda entry: (entry.base is not None, entry.offset)):
            if entry.id not in checked.lost and not store.has(entry.id):
                _put_again(store, reader, entry, bases, pack_class)
    store.commit()
    lost = {entry.id for entry in checked.entries if not store.has(entry.id)}
    set_aside(store.root, pack)
    return lost


def fetch_lost(
    store: Store, lost: Iterable[ObjectId], rights: dict[ObjectId, Rights], source: Source, reasons: list[str]
) -> int:
    """Get the objects `lost` from wherever else the channel has them, and put them; return how many came.

    `rights` are those they had, as far as they are known; else those of the pack they come from count. What others here
    lean on comes as a plain object, whatever it is in the channel. A channel that fails is asked no more, and `reasons`
    gets the reason; the rest of the repair goes on.

    Raises:
        NoSpace: the disk is full.
    """
    came = 0
    bases = _bases_here(store)
    try:
        for place in source.find(set(lost)):
            with suppress(IntegrityError, UnsupportedFormat, NotFound):
                payload, data = source.read_object(place)
                pack_class = source.class_of(place.at.pack)
                if place.id in rights:
                    pack_class = PackClass(pack_class.temper, rights[place.id])
                if place.id in bases and place.base is not None:
                    store.put(data, kind=place.kind, pack_class=pack_class)
                else:
                    _append(store, place.entry, payload, data, pack_class)
                came += 1
    except (TransportError, IntegrityError, UnsupportedFormat, NotFound, TrustError) as error:
        reasons.append(error.message)
    store.commit()
    return came


def forget_incomplete(store: Store) -> list[PackageName]:
    """Let the index forget what is no longer all here, so that a clone captures it again; return those packages."""
    gone: set[ObjectId] = set()
    incomplete: list[PackageName] = []
    for captured in read_captured(store):
        capture, manifest = captured.capture, captured.manifest
        if isinstance(captured.error, StoreError) and not isinstance(captured.error, PackMissing):
            raise captured.error
        missing = set() if manifest is None else {item for item, _ in manifest.objects if not store.has(item)}
        if manifest is None or missing:
            incomplete.append(capture.package)
            gone |= {ObjectId(capture.snapshot), *missing}
    store.contents.drop_users(gone)
    return incomplete


def set_aside(root: Path, pack: PackId) -> Path:
    """Move the file of a pack, and its hashes, to `damaged/`, durably; return where it is now."""
    folder = root / DAMAGED
    ensure_dir(folder)
    target = folder / f"{pack}.pack"
    for path, to in ((pack_in(root, pack), target), (sidecar_in(root, pack), folder / f"{pack}.json")):
        if path.is_file():
            with disk_errors(path):
                path.replace(to)
                path.unlink(missing_ok=True)  # where a power cut left both names, `rename` does nothing
            sync_dir(folder)
            sync_dir(path.parent)
    return target


def class_by_kind(entry: Entry, rights: Rights) -> PackClass:
    """Return a class for an object of a pack whose header cannot be read."""
    return PackClass("weights-cold" if entry.kind == "data" else "meta", rights)


def _put_again(store: Store, reader: PackReader, entry: Entry, bases: ReadBase, pack_class: PackClass | None) -> None:
    try:
        data = reader.object(entry, None if entry.base is None else bases(entry.base))
        payload = reader.read(entry.offset, entry.stored)
    except _BAD:
        return
    _append(store, entry, payload, data, pack_class or class_by_kind(entry, "gated"))


def _append(store: Store, entry: Entry, payload: bytes, data: bytes, pack_class: PackClass) -> None:
    """Put an object as it is stored, which spares coding it again; a delta whose base is no base here as it is."""
    if entry.base is None or store.can_be_base(entry.base, pack_class.rights):
        encoded = Encoded(entry.codec, (payload,), len(payload))
        store.append(Coded(entry.id, entry.raw, encoded, entry.base), entry.kind, pack_class)
    else:
        store.put(data, kind=entry.kind, pack_class=pack_class)


def _bases_here(store: Store) -> set[ObjectId]:
    """Return what the deltas of the store were taken against, whether it is here or not."""
    return {entry.base for entry in store.contents.all_entries() if entry.base}


def _class_of(store: Store, pack: PackId, reader: PackReader, entries: Sequence[Entry]) -> PackClass | None:
    """Return the class of a damaged pack; where its header is lost, by its rights and what is in it."""
    with suppress(*_BAD):
        return reader.header()[0]
    known = read_sidecar(store.root, pack)
    if not entries:
        return None
    rights = known[0].rights if known is not None else store.contents.rights_of(entries[0].id)
    return None if rights is None else class_by_kind(entries[0], rights)
