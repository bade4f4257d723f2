"""Salvage a pack that cannot be repaired: whole objects move to new packs, and the damaged file to `damaged/`.

The order makes a crash harmless: the index drops the pack, its whole objects are stored again and committed, then the
file moves. Until it has moved, `packs/` holds a pack that the index does not list; the next run finds it and starts
over.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ptmtorrent.disk.durable import disk_errors, ensure_dir, sync_dir
from ptmtorrent.errors import IntegrityError, PackMissing, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.codecs import Encoded
from ptmtorrent.store.ingest.encode_pool import Coded
from ptmtorrent.store.maintenance.verify_pack import CheckedPack
from ptmtorrent.store.pack.format import Entry, PackClass
from ptmtorrent.store.pack.hashes import read_sidecar, sidecar_in
from ptmtorrent.store.pack.reader import PackReader, ReadBase, local_bases, open_pack, pack_in
from ptmtorrent.store.recovery.quarantine import DAMAGED
from ptmtorrent.store.store import Store

_BAD = (IntegrityError, UnsupportedFormat, PackMissing)


def salvage_pack(store: Store, pack: PackId, checked: CheckedPack, read_base: ReadBase) -> set[ObjectId]:
    """Store the whole objects of a damaged pack again, durably, and quarantine its file; return the objects it lost.

    Raises:
        NoSpace: the disk is full; run again to continue.
        StoreError: the store cannot be written.
    """
    with open_pack(pack_in(store.root, pack)) as reader:
        pack_class = _class_of(store, pack, reader, checked.entries)
        store.contents.drop([pack])
        bases = local_bases(reader, checked.entries, read_base)
        # Plain objects first: a delta can be stored only once its base is.
        for entry in sorted(checked.entries, key=lambda entry: (entry.base is not None, entry.offset)):
            if entry.id not in checked.lost and not store.has(entry.id):
                _store_again(store, reader, entry, bases, pack_class)
    store.commit()
    lost = store.lacking(entry.id for entry in checked.entries)
    quarantine_pack(store.root, pack)
    return lost


def quarantine_pack(root: Path, pack: PackId) -> Path:
    """Move the file of a pack and its stored hashes to `damaged/`, durably; return the new path of the file."""
    folder = root / DAMAGED
    ensure_dir(folder)
    target = folder / f"{pack}.pack"
    for path, to in ((pack_in(root, pack), target), (sidecar_in(root, pack), folder / f"{pack}.json")):
        if path.is_file():
            with disk_errors(path):
                path.replace(to)
                path.unlink(missing_ok=True)  # `rename` does nothing if a power cut left both names
            sync_dir(folder)
            sync_dir(path.parent)
    return target


def append_encoded(store: Store, entry: Entry, payload: bytes, data: bytes, pack_class: PackClass) -> None:
    """Store an object in its encoded form, without encoding it again.

    A delta whose base cannot be a base in this store is stored from its raw bytes, `data`.
    """
    if entry.base is None or store.can_be_base(entry.base, pack_class.rights):
        encoded = Encoded(entry.codec, (payload,), len(payload))
        store.append(Coded(entry.id, entry.raw, encoded, entry.base), entry.kind, pack_class)
    else:
        store.put(data, kind=entry.kind, pack_class=pack_class)


def _store_again(store: Store, reader: PackReader, entry: Entry, bases: ReadBase, pack_class: PackClass | None) -> None:
    try:
        data = reader.object(entry, None if entry.base is None else bases(entry.base))
        payload = reader.read(entry.offset, entry.stored)
    except _BAD:
        return
    append_encoded(store, entry, payload, data, pack_class or _class_by_kind(entry, "gated"))


def _class_of(store: Store, pack: PackId, reader: PackReader, entries: Sequence[Entry]) -> PackClass | None:
    """Return the class of a damaged pack; if its header is lost, derive it from its rights and its objects."""
    with suppress(*_BAD):
        return reader.header()[0]
    known = read_sidecar(store.root, pack)
    if not entries:
        return None
    rights = known[0].rights if known is not None else store.contents.rights_of(entries[0].id)
    return None if rights is None else _class_by_kind(entries[0], rights)


def _class_by_kind(entry: Entry, rights: Rights) -> PackClass:
    """Return a class for an object of a pack whose header cannot be read."""
    return PackClass("weights-cold" if entry.kind == "data" else "meta", rights)
