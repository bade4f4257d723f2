"""What a store holds, read: objects, known files, captures and packs, committed or not.

Every object that is read is checked against its id.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ptmtorrent.errors import IntegrityError, NotFound, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, SnapshotId
from ptmtorrent.model.manifest import Capture, Rights
from ptmtorrent.model.placement import Location
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.contents import Contents
from ptmtorrent.store.cutters import ByteSource
from ptmtorrent.store.index import Found, Index
from ptmtorrent.store.ingest.writer import Writer
from ptmtorrent.store.pack.format import RIGHTS, encode_record
from ptmtorrent.store.pack.hashes import read_sidecar, write_sidecar
from ptmtorrent.store.pack.reader import hash_pack, open_pack, pack_in
from ptmtorrent.store.stored_file import StoredFile, StoredSource

_SEALING_SECONDS, _POLL_SECONDS = 2.0, 0.02
"""Time to wait for the index row of a pack that another process has just sealed, and how often to look."""

MAX_DEPTH = 2
"""Limit of deltas between an object and plain bytes, in packs of any writer."""


class Stored:
    """The contents of an open store, to read. Thread-safe."""

    def __init__(self, root: Path, index: Index, writer: Writer | None) -> None:
        self.root = root
        self._index = index
        self._writer = writer
        self._lock = threading.RLock()

    def has(self, id: ObjectId) -> bool:  # noqa: A002  # the word of the formats
        """Return whether the store has the object, sealed or not."""
        return self._lookup(id) is not None

    def lacking(self, ids: Iterable[ObjectId]) -> set[ObjectId]:
        """Return those of `ids` that the store lacks: one pass through the index for all of them."""
        wanted = [*dict.fromkeys(ids)]
        return {each for each, found in zip(wanted, self._lookup_all(wanted), strict=True) if found is None}

    def can_be_base(self, id: ObjectId, rights: Rights) -> bool:  # noqa: A002
        """Return whether the object can be the base of a delta in packs of `rights`: as free, and no delta itself."""
        found = self._lookup(id)
        return found is not None and found.entry.base is None and self._is_stored(id, rights)

    def location(self, id: ObjectId) -> Location:  # noqa: A002
        """Return the pack and offset of a sealed object.

        Raises:
            NotFound: the store lacks it, or its part is not sealed yet.
        """
        found = self._find(id)
        if found.pack is None:
            raise NotFound(f"the object `{id}` is not in a sealed pack yet")
        entry = found.entry
        return Location(
            pack=found.pack, pack_size=found.size, offset=entry.offset, length=entry.stored, codec=entry.codec
        )

    def base_of(self, id: ObjectId) -> ObjectId | None:  # noqa: A002
        """Return the base of an object that is stored as a delta; None if it is stored plain.

        Raises:
            NotFound: the store lacks it.
        """
        return self._find(id).entry.base

    def read(self, id: ObjectId) -> bytes:  # noqa: A002
        """Return the raw bytes of an object, sealed or not, checked against its id.

        Raises:
            NotFound: the store lacks it.
            IntegrityError: its pack or that of its base is damaged.
        """
        return self._read(id, MAX_DEPTH)

    def source(self, file: StoredFile) -> ByteSource:
        """Return a source that reads a stored file at any offset."""
        return StoredSource(file, self.read)

    def known_file(self, oid: str, rights: Rights | None = None) -> StoredFile | None:
        """Return the file with the oid `sha256:...`, `git:...` or `blake3:...`; None unless the store has all of it.

        With `rights`, all objects of the file must be in packs with the same or freer rights.
        """
        with self._lock:
            file = self._writer.pending.file(oid) if self._writer is not None else None
            if file is not None:
                places = self._lookup_all([identifier for identifier, _ in file.objects])
                strictest = max((RIGHTS.index(place.rights) for place in places if place is not None), default=0)
            elif (found := self._index.file(oid)) is not None:
                file, strictest = found[0], RIGHTS.index(found[1])
        if file is None or (rights is not None and strictest > RIGHTS.index(rights)):
            return None
        return file

    def captures(self) -> list[Capture]:
        """Return the newest capture of every package, sorted by package."""
        with self._lock:
            rows = self._index.captures()
            if self._writer is not None:
                return self._writer.pending.newest(rows)
        return [canonical.decode(data, Capture, name="a capture") for data in rows]

    def newest_captures(self) -> Iterator[tuple[PackageName, SnapshotId, Rights]]:
        """Yield package, snapshot and rights of the newest committed capture of every package, sorted by package."""
        return self._index.newest_captures(self._lock)

    def latest_moment(self) -> str | None:
        """Return the latest time that a capture in the index says it was made at, None without a capture."""
        with self._lock:
            return self._index.latest_moment()

    def pack_hashes(self, pack: PackId) -> PackHashes:
        """Return the hashes computed when the pack was sealed; if they are lost, hash the pack again.

        Raises:
            NotFound: the store lacks the pack.
            IntegrityError: the pack had to be hashed again and is damaged.
        """
        path = self.pack_file(pack)
        known = read_sidecar(self.root, pack)
        if known is not None:
            return known[0]
        hashes = hash_pack(path, pack)
        if self._writer is not None:
            write_sidecar(self.root, hashes, own=self.is_own(pack))
        return hashes

    def is_own(self, pack: PackId) -> bool:
        """Return whether a pack without stored hashes is our own, according to the index."""
        with self._lock:
            return pack in self._index.packs() and self._index.has_documents_of(pack)

    def pack_file(self, pack: PackId) -> Path:
        """Return the path of a sealed pack.

        Raises:
            NotFound: the store lacks the pack.
        """
        path = pack_in(self.root, pack)
        if not path.is_file():
            raise NotFound(f"the store `{self.root}` has no pack `{pack}`")
        return path

    @property
    def contents(self) -> Contents:
        """The packs, parts and objects that the index lists, for maintenance."""
        return Contents(self._index, self._lock)

    def packs(self) -> list[PackId]:
        """Return the sealed packs, sorted."""
        with self._lock:
            return list(self._index.packs())

    def _lookup(self, identifier: ObjectId) -> Found | None:
        with self._lock:
            return self._index.find(identifier) if self._writer is None else self._writer.find(identifier)

    def _lookup_all(self, identifiers: Sequence[ObjectId]) -> list[Found | None]:
        with self._lock:
            fresh = {} if self._writer is None else self._writer.pending.objects
            older = iter(self._index.find_all([each for each in identifiers if each not in fresh]))
            return [fresh[each] if each in fresh else next(older) for each in identifiers]

    def _find(self, identifier: ObjectId) -> Found:
        found = self._lookup(identifier)
        if found is None:
            raise NotFound(f"the store `{self.root}` has no object `{identifier}`")
        return found

    def _read(self, identifier: ObjectId, depth: int) -> bytes:
        found = self._find(identifier)
        base: bytes | None = None
        if found.entry.base is not None:
            if not depth:
                raise IntegrityError(f"the object `{identifier}` needs a chain of more than {MAX_DEPTH} bases")
            base = self._read(found.entry.base, depth - 1)
        until = time.monotonic() + _SEALING_SECONDS
        while True:
            try:
                with open_pack(self._path_of(found)) as reader:
                    return reader.object(found.entry, base)
            except (IntegrityError, StoreError):
                # The part was sealed after the lookup, and a new part may have its name: wait for the index.
                again = self._find(identifier)
                if again == found:
                    if found.pack is not None or time.monotonic() > until or self._is_recorded(found):
                        raise
                    time.sleep(_POLL_SECONDS)
                if again.entry.base != found.entry.base:
                    return self._read(identifier, depth)
                found = again

    def _is_recorded(self, found: Found) -> bool:
        """Return whether the part is the one that the index lists: it has the record of the object at its offset."""
        record = encode_record(found.entry)
        with suppress(IntegrityError, StoreError), open_pack(self._path_of(found)) as reader:
            return reader.read(max(0, found.entry.offset - len(record)), len(record)) == record
        return False

    def _read_plain(self, identifier: ObjectId) -> bytes:
        """Return an object that is stored plain and can be the base of a delta."""
        if self.base_of(identifier) is not None:
            raise IntegrityError(f"the object `{identifier}` is stored as a delta and cannot be a base")
        return self.read(identifier)

    def _path_of(self, found: Found) -> Path:
        if found.pack is not None:
            return pack_in(self.root, found.pack)
        return self.root / "open" / str(found.part)

    def _similar_objects(self, keys: Sequence[int], limit: int) -> list[ObjectId]:
        with self._lock:
            fresh = self._writer.pending.similar_objects(keys, limit) if self._writer is not None else []
            return [*fresh, *self._index.similar_objects(keys, limit)]

    def _is_stored(self, identifier: ObjectId, rights: Rights) -> bool:
        found = self._lookup(identifier)
        return found is not None and RIGHTS.index(found.rights) <= RIGHTS.index(rights)
