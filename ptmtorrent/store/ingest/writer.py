"""Writes to a store: its open parts, the objects that are not durable yet, and sealing. Not thread-safe.

Objects that are not durable are kept out of the index until they are committed, so that several processes can write: a
transaction lasts as long as writing the rows takes, not as long as making them.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import ensure_dir, name_file
from ptmtorrent.errors import StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, object_id
from ptmtorrent.model.manifest import Capture
from ptmtorrent.store import codecs
from ptmtorrent.store.index import Found, Index
from ptmtorrent.store.ingest.encode_pool import Coded
from ptmtorrent.store.pack.format import Entry, ObjectKind, PackClass, PackInfo
from ptmtorrent.store.pack.hashes import write_sidecar
from ptmtorrent.store.pack.reader import pack_in
from ptmtorrent.store.pack.writer import Part, PartState, new_part, part_in
from ptmtorrent.store.stored_file import StoredFile

COMMIT_OBJECTS = 50_000
"""Number of objects after which the writer commits by itself, because their rows are in memory until then."""

Kept = tuple[ObjectId, Capture, bytes]
"""A capture: its id, its record, and the bytes of the record."""


class Pending:
    """Rows for the index, in the order in which they were added."""

    def __init__(self) -> None:
        self.unnumbered: list[Capture] = []
        """Captures that get their numbers when they are committed."""
        self.clear()

    def clear(self) -> None:
        """Discard all rows."""
        self.objects: dict[ObjectId, Found] = {}
        self._files: dict[str, StoredFile] = {}
        self._captures: list[Kept] = []
        self._sketches: dict[int, list[ObjectId]] = {}

    def add_object(self, found: Found, keys: tuple[int, ...]) -> None:
        """Add an object and the keys of its sketch."""
        self.objects[found.entry.id] = found
        for key in keys:
            self._sketches.setdefault(key, []).append(found.entry.id)

    def add_file(self, file: StoredFile) -> None:
        """Add a file."""
        self._files[f"blake3:{file.blake3}"] = file
        self._files[f"sha256:{file.sha256}"] = file
        if file.git_sha1 is not None:
            self._files[f"git:{file.git_sha1}"] = file

    def add_capture(self, kept: Kept) -> None:
        """Add a capture."""
        self._captures.append(kept)

    def file(self, oid: str) -> StoredFile | None:
        """Return the file with this name; None if there is none."""
        return self._files.get(oid)

    def similar_objects(self, keys: Iterable[int], most: int) -> list[ObjectId]:
        """Return up to `most` objects that share a key, the newest of each key."""
        found = [identifier for key in keys for identifier in self._sketches.get(key, ())[: -most - 1 : -1]]
        return list(islice(dict.fromkeys(found), most))

    def newest(self, captures: Iterable[bytes]) -> list[Capture]:
        """Return the newest capture of each package, of those in the index and of these; sorted by package."""
        newest: dict[PackageName, Capture] = {}
        decoded = (canonical.decode(data, Capture, name="a capture") for data in captures)
        for capture in (*decoded, *(capture for _, capture, _ in self._captures)):
            before = newest.get(capture.package)
            if before is None or capture.order >= before.order:
                newest[capture.package] = capture
        newest |= {capture.package: capture for capture in self.unnumbered}
        return [newest[package] for package in sorted(newest)]

    def write(self, index: Index, states: Mapping[str, PartState]) -> None:
        """Write all rows to the index, durably, in one transaction. What they refer to must be durable.

        `states` are those of the parts that hold the objects, by their names.
        """
        if not (self.objects or self._files or self._captures):
            return
        with index.transaction():
            by_part: dict[str, list[Entry]] = {}
            rights = {str(found.part): found.rights for found in self.objects.values()}
            for found in self.objects.values():
                by_part.setdefault(str(found.part), []).append(found.entry)
            for part, entries in by_part.items():
                row = index.row_of_part(part, rights[part])
                index.add_objects(row, entries)
                index.record_part(row, states[part])
            for file in {file.blake3: file for file in self._files.values()}.values():
                index.add_file(file)
            for key, identifiers in self._sketches.items():
                index.add_sketches(key, identifiers)
            for kept in self._captures:
                index.add_capture(*kept)
        self.clear()


class Writer:
    """The parts that one process writes in the store at `root`; no other process continues them."""

    def __init__(self, root: Path, index: Index, parts: list[Part], pool: Executor, *, first: bool) -> None:
        """Continue `parts`; `first` if no other process writes the store, so that names without a mark are free."""
        self.pending = Pending()
        self.parts = parts
        self._root = root
        self._index = index
        self._pool = pool
        self._mark = "" if first else secrets.token_hex(4)
        self._info = PackInfo(libraries=codecs.versions(), parameters=codecs.parameters())

    @property
    def is_whole(self) -> bool:
        """Return whether every part can still be written."""
        return not any(part.closed for part in self.parts)

    def find(self, identifier: ObjectId) -> Found | None:
        """Return the location of an object, whether it is durable or not."""
        return self.pending.objects.get(identifier) or self._index.find(identifier)

    def append(self, coded: Coded, kind: ObjectKind, pack_class: PackClass) -> None:
        """Write an object to the open part of its class; a full part is sealed first.

        Raises:
            NoSpace: the disk is full; nothing changed.
        """
        encoded = coded.encoded
        if encoded is None:
            return
        part = self._part_for(pack_class, encoded.size)
        draft = Entry(
            id=coded.id, offset=0, stored=encoded.size, raw=coded.size, codec=encoded.codec, kind=kind, base=coded.base
        )
        entry = part.append(draft, encoded.chunks)
        found = Found(entry=entry, rights=pack_class.rights, pack=None, part=part.path.name, size=0)
        self.pending.add_object(found, coded.keys)
        if len(self.pending.objects) >= COMMIT_OBJECTS:
            self.commit()

    def commit(self) -> None:
        """Make everything so far survive a power cut: first the parts, then their rows in the index."""
        self._number_captures()
        for part in self.parts:
            part.sync()
        held = {found.part for found in self.pending.objects.values()}
        self.pending.write(self._index, {part.path.name: part.state for part in self.parts if part.path.name in held})
        self._index.settle_many()

    def seal(self, parts: Sequence[Part]) -> list[PackId]:
        """Seal parts: bytes, then hashes, then the name, then the index. Opening recovers from a crash between them.

        The rows of sealed packs then become a run of the index.

        The removal of the old name of a part need not be durable: a sealed pack is not taken for a part.
        Everything else is committed first: no sealed delta may outlive its base.
        """
        self.commit()
        sealed: list[PackId] = []
        for part in parts:
            if part not in self.parts:  # the commit sealed it
                continue
            hashes = part.finish(self._info)
            write_sidecar(self._root, hashes, own=True)
            target = pack_in(self._root, hashes.pack)
            ensure_dir(target.parent, sure=True)
            name_file(part.path, target)
            self.parts.remove(part)
            with self._index.transaction():
                self._index.seal_part(part.path.name, hashes.pack, hashes.size)
            sealed.append(hashes.pack)
        if sealed:
            self._index.settle()
        return sealed

    def seal_all(self) -> list[PackId]:
        """Seal every part that has objects; return the new packs."""
        self.commit()
        return self.seal(sorted((part for part in self.parts if part.objects), key=lambda part: part.pack_class))

    def close(self) -> None:
        """Close the parts without committing."""
        for part in self.parts:
            part.close()
        self.parts = []

    def _number_captures(self) -> None:
        """Store the captures of this commit, with numbers that are reserved durably before a part has them.

        So no number is given twice, also when a process ends before the index lists its captures, and a commit that
        begins after another one has ended gives higher numbers.
        """
        captures, self.pending.unnumbered = self.pending.unnumbered, []
        try:
            first = self._index.reserve_sequences(len(captures)) if captures else 0
            for number in range(first, first + len(captures)):
                self._store_capture(msgspec.structs.replace(captures[0], sequence=number))
                del captures[0]
        finally:
            self.pending.unnumbered[:0] = captures

    def _store_capture(self, capture: Capture) -> None:
        data = canonical.encode(capture)
        identifier = object_id(data)
        coded = Coded(identifier, len(data), codecs.encode(data, None))
        self.append(coded, "capture", PackClass("meta", capture.rights))
        self.pending.add_capture((identifier, capture, data))

    def _part_for(self, pack_class: PackClass, stored: int) -> Part:
        while (part := next((part for part in self.parts if part.pack_class == pack_class), None)) is not None:
            if part.has_room(stored):
                return part
            self.seal([part])
        path = part_in(self._root, pack_class, self._mark)
        if any(part.path == path for part in self.parts):
            raise StoreError(f"`{path}` is written twice")
        part = new_part(path, pack_class, self._pool)
        self.parts.append(part)
        return part
