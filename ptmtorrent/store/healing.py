"""Bringing index and packs together again: after a crash, after files came or went, or from packs alone.

Readers go index → packs, so what is healed here is the index; packs are only ever read. What a pack says about hubs
(manifests, captures) is believed of our own packs alone: a file that an adopted pack calls known would not be
downloaded and checked again.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model import canonical
from ptmtorrent.model.capture import Capture, Rights
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId, is_hex64
from ptmtorrent.model.manifest import FileEntry, Manifest, decode_manifest
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.classes import PACK_CLASSES, PackClass
from ptmtorrent.store.durable import TEMPORARY_PREFIX, disk_errors
from ptmtorrent.store.files import StoredFile
from ptmtorrent.store.index import Index
from ptmtorrent.store.packs import PackReader, open_pack, pack_in
from ptmtorrent.store.parts import Part, reopen_part
from ptmtorrent.store.records import Entry
from ptmtorrent.store.sidecars import read_sidecar


def part_in(root: Path, pack_class: PackClass) -> Path:
    """Return where the store at `root` writes packs of `pack_class`."""
    return root / "open" / f"{pack_class.name}.part"


def heal(root: Path, index: Index) -> dict[PackClass, Part]:
    """Make the index say what is there, recheck unsealed parts, and return those, ready to be continued.

    Nothing unsealed is trusted: every object of a part is decoded and hashed, and a torn end is cut off.
    """
    remove_temporaries(root)
    dropped = {identifier for part in index.parts() for identifier in index.drop(part)}
    here = packs_on_disk(root)
    for pack, size in index.packs().items():
        if here.get(pack) != size:
            dropped |= index.drop(pack)
    fresh = [pack for pack in here if pack not in index.packs()]
    indexed = [(pack_in(root, pack), _index_by_footer(root, index, pack)) for pack in fresh]
    parts = _reopen_parts(root, index)
    index.forget_users_of({identifier for identifier in dropped if index.find(identifier) is None})
    ours = [*_own(root, indexed), *((part.path, part.entries) for part in parts.values())]
    for path, entries in ours:
        learn(index, path, entries)
    index.commit()
    return parts


def rebuild(root: Path, index: Index, parts: Iterable[Part]) -> None:
    """Fill an emptied index by a forward scan of all packs, reading neither footers nor the old index."""
    index.clear()
    scanned = [(pack_in(root, pack), _index_by_scan(root, index, pack)) for pack in packs_on_disk(root)]
    unsealed: list[tuple[Path, list[Entry]]] = []
    for part in parts:
        index.add_objects(index.row_of_part(part.path.name, part.pack_class.rights), part.entries)
        unsealed.append((part.path, part.entries))
    for path, entries in [*_own(root, scanned), *unsealed]:
        learn(index, path, entries)
    index.commit()


def add_pack(index: Index, hashes: PackHashes, entries: list[Entry]) -> None:
    """Say that `entries` lie in a sealed pack."""
    index.add_objects(index.row_of_pack(hashes.pack, hashes.size, hashes.rights), entries)


def learn(index: Index, path: Path, entries: Iterable[Entry]) -> None:
    """Take whole files and captures from the manifests and captures among `entries`, as far as they can be read."""
    telling = [entry for entry in entries if entry.kind in {"manifest", "capture"}]
    if not telling:
        return
    with open_pack(path) as reader:
        for entry in telling:
            with suppress(IntegrityError, UnsupportedFormat):
                data = reader.object(entry)
                if entry.kind == "capture":
                    index.add_capture(entry.id, canonical.decode(data, Capture, name=entry.id), data)
                else:
                    _learn_files(index, decode_manifest(data, SnapshotId(entry.id)))


def packs_on_disk(root: Path) -> dict[PackId, int]:
    """Return the sealed packs that are there, and their sizes, sorted."""
    found: dict[PackId, int] = {}
    for path in sorted(root.glob("packs/??/*.pack")):
        if is_hex64(path.stem) and path.parent.name == path.stem[:2]:
            with disk_errors(path):
                found[PackId(path.stem)] = path.stat().st_size
    return found


def remove_temporaries(root: Path) -> None:
    """Remove what writers of small files left when they were killed."""
    for folder in (root, root / "open", *root.glob("packs/??"), *root.glob("hashes/??")):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            with disk_errors(path):
                os.unlink(path)  # noqa: PTH108  # the same call, with the name in errors


def _own(root: Path, packs: Iterable[tuple[Path, list[Entry]]]) -> Iterator[tuple[Path, list[Entry]]]:
    """Keep the packs we captured: those whose hashes do not say they were adopted."""
    for path, entries in packs:
        known = read_sidecar(root, PackId(path.stem))
        if known is None or known[1]:
            yield path, entries


def _index_by_footer(root: Path, index: Index, pack: PackId) -> list[Entry]:
    """Index a pack that was sealed but not indexed; one whose footer does not hold is left alone."""
    with open_pack(pack_in(root, pack)) as reader, suppress(IntegrityError, UnsupportedFormat):
        entries = list(reader.footer())
        rights = _rights_of(root, pack, reader)
        index.add_objects(index.row_of_pack(pack, reader.size, rights), entries)
        return entries
    return []


def _index_by_scan(root: Path, index: Index, pack: PackId) -> list[Entry]:
    """Index what a forward scan finds; after damage only what hashes to its id, for bytes in between may be forged."""
    with open_pack(pack_in(root, pack)) as reader, suppress(IntegrityError, UnsupportedFormat):
        entries = [found.entry for found in reader.scan() if not found.after_damage or reader.holds(found.entry)]
        rights = _rights_of(root, pack, reader)
        index.add_objects(index.row_of_pack(pack, reader.size, rights), entries)
        return entries
    return []


def _rights_of(root: Path, pack: PackId, reader: PackReader) -> Rights:
    known = read_sidecar(root, pack)
    return known[0].rights if known is not None else reader.header()[0].rights


def _reopen_parts(root: Path, index: Index) -> dict[PackClass, Part]:
    parts: dict[PackClass, Part] = {}
    for pack_class in PACK_CLASSES:
        path = part_in(root, pack_class)
        if path.is_file():
            parts[pack_class] = part = reopen_part(path, pack_class)
            index.add_objects(index.row_of_part(path.name, pack_class.rights), part.entries)
    return parts


def _learn_files(index: Index, manifest: Manifest) -> None:
    for file in manifest.files:
        objects = tuple(manifest.objects[row] for row in manifest.objects_of(file.recipe))
        if all(_is_here(index, identifier) for identifier, _ in objects):
            index.add_file(_stored_file(file, objects))


def _stored_file(file: FileEntry, objects: tuple[tuple[ObjectId, int], ...]) -> StoredFile:
    return StoredFile(
        size=file.size,
        blake3=file.blake3,
        sha256=file.sha256,
        git_sha1=file.git_sha1,
        cutter=file.cutter,
        objects=objects,
    )


def _is_here(index: Index, identifier: ObjectId) -> bool:
    return index.find(identifier) is not None
