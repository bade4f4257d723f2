"""Bring the index into agreement with the packs: after a crash, after files came or went, or from packs alone.

Readers go from the index to the packs, so recovery changes the index; packs are only read. Manifests and captures are
trusted in our own packs alone: a file that an adopted pack claims to be known would not be downloaded and checked.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import TEMPORARY_PREFIX, disk_errors, files_in, sync_dir
from ptmtorrent.errors import IntegrityError, PackMissing, UnsupportedFormat
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId, is_hex64
from ptmtorrent.model.manifest import Capture, Manifest, Rights, decode_manifest
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.index import Index
from ptmtorrent.store.pack.format import PACK_CLASSES, Entry, PackClass
from ptmtorrent.store.pack.hashes import has_sidecars, read_sidecar, sidecar_in
from ptmtorrent.store.pack.reader import PackReader, local_bases, open_pack, pack_in
from ptmtorrent.store.pack.writer import Part, part_in, reopen_part, reopened_size
from ptmtorrent.store.recovery.quarantine import DamagedPart, cuts_committed, new_mark, salvage_part
from ptmtorrent.store.recovery.recheck import SealedObject, good_entries, has_header
from ptmtorrent.store.stored_file import file_in


def recover_store(root: Path, index: Index, pool: Executor) -> list[Part]:
    """Make the index agree with the files on disk and recheck unsealed parts; return the parts, ready to be continued.

    No other process may write the store meanwhile. Unsealed parts are not trusted: their objects are decoded and
    hashed. A torn end is cut off; a part that is damaged before committed objects is salvaged to a new part. Only a
    committed delta may stay in its part without its base, because the pack of the base may come back.
    """
    remove_temporaries(root)
    with index.transaction():
        committed = {part: frozenset(index.entries(part)) for part in index.parts()}
        dropped = {identifier for part in committed for identifier in index.drop(part)}
        here = packs_on_disk(root)
        for pack in lost_packs(root, index):
            dropped |= index.drop(pack)
        known = index.packs()
        alone = not known and not committed and not has_sidecars(root)
        fresh = [read for pack in here if pack not in known and (read := _by_footer(root, pack)) is not None]
        _make_durable(root, [pack.pack for pack in fresh])
        parts = _index_all(root, index, fresh, lambda: _reopen_parts(root, index, pool, committed))
        index.drop_dependents({identifier for identifier in dropped if index.find(identifier) is None})
        _index_all_documents(root, index, fresh, parts, here.keys() if alone else ())
    return parts


def lost_packs(root: Path, index: Index) -> list[PackId]:
    """Return the packs in the index that are missing from the disk or have another size there."""
    here = packs_on_disk(root)
    return [pack for pack, size in index.packs().items() if here.get(pack) != size]


def rebuild(root: Path, index: Index, parts: list[Part]) -> None:
    """Rebuild the index by a forward scan of all packs, without their footers."""
    with index.transaction():
        own = {pack for pack in index.packs() if index.has_documents_of(pack)}
        index.clear()
        scanned = [read for pack in packs_on_disk(root) if (read := _by_scan(root, pack)) is not None]
        _index_all(root, index, scanned, lambda: parts)
        _index_all_documents(root, index, scanned, parts, own)


def _make_durable(root: Path, packs: Iterable[PackId]) -> None:
    """Sync the folders of parts and `packs` before they are indexed: a killed writer may not have synced them."""
    folders = {root / "open"}
    for pack in packs:
        for path in (pack_in(root, pack), sidecar_in(root, pack)):
            folders |= {path.parent, path.parent.parent}
    for folder in sorted(folders):
        if folder.is_dir():
            sync_dir(folder)


class _Sealed(msgspec.Struct, frozen=True):
    """The contents of a sealed pack, as read from its footer or by a scan."""

    pack: PackId
    size: int
    rights: Rights
    entries: list[Entry]


def _index_all(root: Path, index: Index, packs: Sequence[_Sealed], parts: Callable[[], list[Part]]) -> list[Part]:
    """Index packs and parts, plain objects first: the deltas of an adopted pack are verified against them."""
    for pack in packs:
        plain = [entry for entry in pack.entries if entry.base is None]
        index.add_objects(index.row_of_pack(pack.pack, pack.size, pack.rights), plain)
    opened = parts()
    for part in opened:
        index.add_objects(index.row_of_part(part.path.name, part.pack_class.rights), part.entries)
    for pack in packs:
        index.add_objects(index.row_of_pack(pack.pack, pack.size, pack.rights), _deltas_of(root, index, pack))
    return opened


def _deltas_of(root: Path, index: Index, pack: _Sealed) -> list[Entry]:
    """Return the deltas of a pack; for an adopted pack, only those that can be verified with their base.

    Its other objects were verified on adoption; deltas whose base was missing then were not.
    """
    deltas = [entry for entry in pack.entries if entry.base is not None]
    known = read_sidecar(root, pack.pack)
    if not deltas or (known is not None and known[1]):
        return deltas
    with open_pack(pack_in(root, pack.pack)) as reader:
        bases = local_bases(reader, pack.entries, lambda base: _sealed_object(root, index, base))
        return [entry for entry in deltas if entry.base and reader.holds(entry, bases(entry.base))]


def _index_all_documents(
    root: Path, index: Index, packs: Iterable[_Sealed], parts: Iterable[Part], own: Collection[PackId]
) -> None:
    """Index the documents of our own packs: those whose stored hashes say so, or that are in `own` without hashes."""
    for pack in packs:
        known = read_sidecar(root, pack.pack)
        if pack.pack in own if known is None else known[1]:
            index_documents(index, pack_in(root, pack.pack), pack.entries)
    for part in parts:
        index_documents(index, part.path, part.entries)


def add_pack(index: Index, hashes: PackHashes, entries: list[Entry]) -> None:
    """Index `entries` as objects of a sealed pack."""
    index.add_objects(index.row_of_pack(hashes.pack, hashes.size, hashes.rights), entries)


def index_documents(index: Index, path: Path, entries: Iterable[Entry]) -> None:
    """Index known files and captures from the readable manifests and captures among `entries`."""
    documents = [entry for entry in entries if entry.kind in {"manifest", "capture"}]
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


def packs_on_disk(root: Path) -> dict[PackId, int]:
    """Return the sealed packs on disk and their sizes, sorted."""
    found: dict[PackId, int] = {}
    for path in _below(root / "packs", "*.pack"):
        if is_hex64(path.stem) and path.parent.name == path.stem[:2]:
            with disk_errors(path):
                found[PackId(path.stem)] = path.stat().st_size
    return found


def remove_temporaries(root: Path) -> None:
    """Remove temporary files that killed writers left."""
    pattern = f"{TEMPORARY_PREFIX}*"
    folders = (root, root / "open")
    left = [path for folder in folders for path in files_in(folder, pattern)]
    for path in (*left, *_below(root / "packs", pattern), *_below(root / "hashes", pattern)):
        with disk_errors(path):
            os.unlink(path)  # noqa: PTH108  # the same call, with the name in errors


def _below(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files that match `pattern` in the two-character folders below `folder`."""
    for each in files_in(folder, "??"):
        yield from files_in(each, pattern)


def _by_footer(root: Path, pack: PackId) -> _Sealed | None:
    """Read a pack that was sealed but not indexed; return None if its footer is damaged."""
    return _read(root, pack, lambda reader: list(reader.footer()))


def _by_scan(root: Path, pack: PackId) -> _Sealed | None:
    """Scan a pack; after damage only objects that hash to their ids count, because records there may be forged."""
    return _read(
        root,
        pack,
        lambda reader: [found.entry for found in reader.scan() if not found.after_damage or reader.holds(found.entry)],
    )


def _read(root: Path, pack: PackId, entries_of: Callable[[PackReader], list[Entry]]) -> _Sealed | None:
    with open_pack(pack_in(root, pack)) as reader, suppress(IntegrityError, UnsupportedFormat):
        return _Sealed(pack, reader.size, _rights_of(root, pack, reader), entries_of(reader))
    return None


def _rights_of(root: Path, pack: PackId, reader: PackReader) -> Rights:
    known = read_sidecar(root, pack)
    return known[0].rights if known is not None else reader.header()[0].rights


def _reopen_parts(root: Path, index: Index, pool: Executor, committed: Mapping[str, AbstractSet[Entry]]) -> list[Part]:
    with ExitStack() as stack:
        found = [(stack.enter_context(open_pack(path)), of) for path, of in _parts_on_disk(root)]
        if not found:
            return []
        headed = [reader for reader, pack_class in found if has_header(reader, pack_class)]
        sealed = partial(_sealed_object, root, index)
        kept = dict(zip(headed, good_entries(headed, sealed, committed), strict=True))
        parts: list[Part | None] = []
        for reader, pack_class in found:
            cut = reopened_size(reader, kept[reader]) if reader in kept else 0
            known = committed.get(reader.path.name, frozenset())
            if cuts_committed(reader.size, cut, known):
                target = part_in(root, pack_class, new_mark())
                damaged = DamagedPart(reader, pack_class, known)
                parts.append(salvage_part(damaged, root, target, partial(_object_beside, kept, sealed), pool))
            elif reader in kept:
                parts.append(reopen_part(reader, pack_class, kept[reader], pool))
            else:
                _remove(reader.path)
        return [part for part in parts if part is not None]


def _object_beside(
    kept: Mapping[PackReader, Sequence[Entry]], sealed: SealedObject, identifier: ObjectId
) -> bytes | None:
    """Return a plain object from a part or a sealed pack; None if neither holds it."""
    for reader, entries in kept.items():
        for entry in entries:
            if entry.id == identifier and entry.base is None:
                return reader.object(entry)
    return sealed(identifier)


def _parts_on_disk(root: Path) -> Iterator[tuple[Path, PackClass]]:
    by_name = {pack_class.name: pack_class for pack_class in PACK_CLASSES}
    for path in files_in(root / "open", "*.part"):
        pack_class = by_name.get(path.name.partition(".")[0])
        if pack_class is None or not path.is_file():
            continue
        if _is_sealed(root, path):
            _remove(path)
        else:
            yield path, pack_class


def _is_sealed(root: Path, part: Path) -> bool:
    """Return whether a part is also a sealed pack: after a power cut some filesystems keep both names of a moved file.

    Continuing such a part would truncate the pack.
    """
    with disk_errors(part):
        status = part.stat()
        return status.st_nlink > 1 and any(pack.samefile(part) for pack in _below(root / "packs", "*.pack"))


def _sealed_object(root: Path, index: Index, identifier: ObjectId) -> bytes | None:
    found = index.find(identifier)
    if found is None or found.pack is None or found.entry.base is not None:
        return None
    with suppress(IntegrityError, UnsupportedFormat, PackMissing), open_pack(pack_in(root, found.pack)) as reader:
        return reader.object(found.entry)
    return None


def _remove(path: Path) -> None:
    with disk_errors(path):
        path.unlink()
    sync_dir(path.parent)


def _index_files(index: Index, manifest: Manifest) -> None:
    for file in manifest.files:
        stored = file_in(manifest, file)
        if all(index.find(identifier) is not None for identifier, _ in stored.objects):
            index.add_file(stored)
