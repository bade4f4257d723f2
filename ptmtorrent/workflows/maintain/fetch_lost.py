"""Fetch objects that damaged packs lost, from whichever packs of a channel hold them."""

from collections.abc import Iterable
from contextlib import suppress

from ptmtorrent.errors import IntegrityError, NotFound, TransportError, TrustError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.maintenance.salvage import append_encoded
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.sources import RepairSource


def fetch_lost(
    store: Store, lost: Iterable[ObjectId], rights: dict[ObjectId, Rights], source: RepairSource, reasons: list[str]
) -> int:
    """Fetch the objects `lost` from the packs of a channel and store them; return how many were fetched.

    `rights` are the rights that objects had, where known; otherwise those of the pack in the channel apply. An object
    that is a base in this store is stored plain, whatever its form in the channel. If the channel fails, the reason is
    appended to `reasons`, no more objects are requested from it, and the repair continues.

    Raises:
        NoSpace: the disk is full.
    """
    fetched = 0
    bases = {entry.base for entry in store.contents.all_entries() if entry.base}
    try:
        for remote in source.find(set(lost)):
            with suppress(IntegrityError, UnsupportedFormat, NotFound):
                payload, data = (b"", remote.document) if remote.document else source.read_object(remote)
                pack_class = source.class_of(remote.at.pack)
                if remote.id in rights:
                    pack_class = PackClass(pack_class.temper, rights[remote.id])
                if remote.document is not None:
                    store.put(data, kind=remote.kind, pack_class=PackClass("meta", pack_class.rights))
                elif remote.id in bases and remote.base is not None:
                    store.put(data, kind=remote.kind, pack_class=pack_class)
                else:
                    append_encoded(store, remote.entry, payload, data, pack_class)
                fetched += 1
    except (TransportError, IntegrityError, UnsupportedFormat, NotFound, TrustError) as error:
        reasons.append(error.message)
    store.commit()
    return fetched
