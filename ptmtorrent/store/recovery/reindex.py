"""Put the objects and documents of packs into the index, pack by pack, so that memory does not depend on their number.

Manifests and captures are trusted in our own packs alone: a file that an adopted pack claims to be known would not be
downloaded and checked.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId, SnapshotId
from ptmtorrent.model.manifest import Capture, Manifest, Rights, decode_manifest
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.index import Index
from ptmtorrent.store.pack.format import ALONE, Entry
from ptmtorrent.store.pack.hashes import read_sidecar
from ptmtorrent.store.pack.reader import PackReader, local_bases, open_pack, pack_in
from ptmtorrent.store.recovery.reopen import Reopened, stored_object
from ptmtorrent.store.stored_file import file_in

MANY_ROWS = 1 << 16
"""Rows of sealed packs that lie in SQLite before they become a run, while an index is rebuilt."""

_DOCUMENTS = frozenset({"manifest", "capture"})


class Sealed(msgspec.Struct, frozen=True):
    """The contents of a sealed pack, as read from its footer or by a scan."""

    pack: PackId
    size: int
    rights: Rights
    entries: list[Entry]


Read = Callable[[PackId], Sealed | None]
"""Reads a sealed pack; returns None if what lists its objects is damaged."""


def reindex(
    root: Path, index: Index, packs: Iterable[PackId], read: Read, parts: Callable[[], list[Reopened]]
) -> tuple[list[Reopened], list[PackId]]:
    """Index packs and parts, plain objects first: the deltas of an adopted pack are verified against them.

    Return the parts, and the packs that have documents.
    """
    with_deltas, with_documents = list[PackId](), list[PackId]()
    for sealed in filter(None, map(read, packs)):
        plain = [entry for entry in sealed.entries if entry.base is None]
        index.add_objects(index.row_of_pack(sealed.pack, sealed.size, sealed.rights), plain)
        index.flush(MANY_ROWS)
        with_deltas += [sealed.pack] * (len(plain) < len(sealed.entries))
        with_documents += [sealed.pack] * any(entry.kind in _DOCUMENTS for entry in sealed.entries)
    opened = parts()
    for part, fresh in opened:
        row = index.row_of_part(part.path.name, part.pack_class.rights)
        index.add_objects(row, fresh)
        if index.part_state(part.path.name) != part.state:
            index.record_part(row, part.state)
    for sealed in filter(None, map(read, with_deltas)):
        index.add_objects(index.row_of_pack(sealed.pack, sealed.size, sealed.rights), _deltas_of(root, index, sealed))
        index.flush(MANY_ROWS)
    return opened, with_documents


def reindex_documents(  # noqa: PLR0913, PLR0917  # packs and parts, how to read them, which are trusted
    root: Path, index: Index, packs: Iterable[PackId], read: Read, parts: Iterable[Reopened], own: Collection[PackId]
) -> None:
    """Index the documents of our own packs: those whose stored hashes say so, or that are in `own` without hashes."""
    for pack in packs:
        known = read_sidecar(root, pack)
        sealed = read(pack) if (pack in own if known is None else known[1]) else None
        if sealed is not None:
            index_documents(index, pack_in(root, pack), sealed.entries)
    for part, fresh in parts:
        index_documents(index, part.path, fresh)


def add_pack(index: Index, hashes: PackHashes, entries: Sequence[Entry]) -> None:
    """Index `entries` as objects of a sealed pack."""
    index.add_objects(index.row_of_pack(hashes.pack, hashes.size, hashes.rights), entries)


def index_documents(index: Index, path: Path, entries: Iterable[Entry]) -> None:
    """Index known files and captures from the readable manifests and captures among `entries`."""
    documents = [entry for entry in entries if entry.kind in _DOCUMENTS]
    if not documents:
        return
    with open_pack(path) as reader:
        for entry in documents:
            with suppress(IntegrityError, UnsupportedFormat):
                data = reader.object(entry)
                if entry.kind == "capture":
                    index.add_capture(entry.id, canonical.decode(data, Capture, name=entry.id), data)
                else:
                    _index_files(index, decode_manifest(data, SnapshotId(entry.id)))


def by_footer(root: Path) -> Read:
    """Return a function that reads a pack by its footer."""
    return partial(_read, root, lambda reader: list(reader.footer()))


def by_scan(root: Path) -> Read:
    """Return a function that scans a pack; after damage only objects that hash to their ids count.

    Records there may be forged.
    """
    return partial(
        _read,
        root,
        lambda reader: [found.entry for found in reader.scan() if not found.after_damage or reader.holds(found.entry)],
    )


def _read(root: Path, entries_of: Callable[[PackReader], list[Entry]], pack: PackId) -> Sealed | None:
    with open_pack(pack_in(root, pack)) as reader, suppress(IntegrityError, UnsupportedFormat):
        known = read_sidecar(root, pack)
        rights = known[0].rights if known is not None else reader.header()[0].rights
        # Our own packs of whole forms are listed without their objects: every look-up finds the deltas.
        is_beside = known is not None and known[1] and _is_alone(reader)
        return Sealed(pack, reader.size, rights, [] if is_beside else entries_of(reader))
    return None


def _is_alone(reader: PackReader) -> bool:
    with suppress(IntegrityError, UnsupportedFormat):
        return reader.header()[0].temper == ALONE
    return False


def _deltas_of(root: Path, index: Index, pack: Sealed) -> list[Entry]:
    """Return the deltas of a pack; for an adopted pack, only those that can be verified with their base.

    Its other objects were verified on adoption; deltas whose base was missing then were not.
    """
    deltas = [entry for entry in pack.entries if entry.base is not None]
    known = read_sidecar(root, pack.pack)
    if not deltas or (known is not None and known[1]):
        return deltas
    with open_pack(pack_in(root, pack.pack)) as reader:
        bases = local_bases(reader, pack.entries, partial(stored_object, root, index, frozenset()))
        return [entry for entry in deltas if entry.base and reader.holds(entry, bases(entry.base))]


def _index_files(index: Index, manifest: Manifest) -> None:
    stored = [file_in(manifest, file) for file in manifest.files]
    listed = index.find_all([identifier for file in stored for identifier, _ in file.objects])
    here = {found.entry.id for found in listed if found is not None}
    for file in stored:
        if all(identifier in here for identifier, _ in file.objects):
            index.add_file(file)
