"""Store objects of a pack again, without the rest of the pack: records are copied as they are, or deltas made whole.

Write order as for any pack: bytes, hashes, name, index. The old pack stays as it is. A crash leaves a temporary file,
which the next writer removes, or a pack that the index does not use yet; the same rewrite makes the same pack again.
"""

from collections.abc import Callable
from contextlib import suppress

from ptmtorrent.disk.durable import ensure_dir, name_file, new_temporary
from ptmtorrent.errors import IntegrityError, NotFound, UnsupportedFormat
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store import codecs
from ptmtorrent.store.ingest.encode_pool import Coded
from ptmtorrent.store.maintenance.pack_draft import read_pack_info
from ptmtorrent.store.pack.format import Entry, PackInfo
from ptmtorrent.store.pack.hashes import read_sidecar, write_sidecar
from ptmtorrent.store.pack.reader import PackReader, open_pack, pack_in
from ptmtorrent.store.pack.writer import Part, new_part
from ptmtorrent.store.store import Store

_NO_INFO = PackInfo(libraries={}, parameters={})


def rewrite_pack(store: Store, pack: PackId, keep: Callable[[Entry], bool]) -> PackHashes | None:
    """Copy the objects of `pack` that `keep` accepts to a new pack of the same class, and list them there.

    The store must be open exclusively. Each record is verified and copied unchanged, in order, so that the same choice
    makes the same pack. A damaged object stays where it is. Returns the hashes of the new pack; None if there is none.

    Raises:
        NoSpace: the disk is full.
        StoreError: the pack cannot be read, or the new one cannot be written.
        IntegrityError: the header of `pack` is damaged.
    """
    source = store.pack_file(pack)
    info = read_pack_info(source) or _NO_INFO
    with open_pack(source) as reader:
        pack_class, _ = reader.header()
        part = new_part(new_temporary(store.root / "open" / "rewritten"), pack_class)
        try:
            copies = [_copy(store, reader, part, entry) for entry in store.contents.entries(pack) if keep(entry)]
            moved = [entry for entry in copies if entry is not None]
            if not moved:
                return None
            hashes = publish_part(store, part, info, own=_is_own(store, pack))
        finally:
            part.close()
            with suppress(OSError):
                part.path.unlink()
    store.contents.move(pack, hashes, moved)
    return hashes


def store_whole(store: Store, pack: PackId, entry: Entry) -> None:
    """Store a delta of `pack` again without its base; once that is committed, the index lists no delta any more.

    Raises:
        IntegrityError: it or its base is damaged.
        NotFound: the store lacks its base.
        StoreError: it cannot be written.
    """
    with open_pack(store.pack_file(pack)) as reader:
        pack_class, _ = reader.header()
        dtype = codecs.dtype_of_delta(reader.read(entry.offset, entry.stored))
    encoded = codecs.encode(store.read(entry.id), dtype)
    store.append(Coded(entry.id, entry.raw, encoded), entry.kind, pack_class, again=True)


def _copy(store: Store, reader: PackReader, part: Part, entry: Entry) -> Entry | None:
    """Append the record of `entry` unchanged and return its place; None if it is damaged or its base is lost."""
    try:
        reader.object(entry, None if entry.base is None else store.read(entry.base))
        payload = reader.read(entry.offset, entry.stored)
    except (IntegrityError, NotFound, UnsupportedFormat):
        return None
    return part.append(entry, [payload])


def publish_part(store: Store, part: Part, info: PackInfo, *, own: bool) -> PackHashes:
    """Make a part a pack of `store`, durably; the index does not list it yet.

    Raises:
        NoSpace, StoreError: it cannot be written.
    """
    hashes = part.finish(info)
    write_sidecar(store.root, hashes, own=own)
    target = pack_in(store.root, hashes.pack)
    ensure_dir(target.parent, sure=True)
    name_file(part.path, target)
    return hashes


def _is_own(store: Store, pack: PackId) -> bool:
    known = read_sidecar(store.root, pack)
    return store.is_own(pack) if known is None else known[1]
