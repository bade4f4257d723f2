"""The writing half of a store: its open parts, what was put and is not durable yet, sealing. Not thread-safe."""

import secrets
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from ptmtorrent.disk.durable import ensure_dir, name_file
from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.store import codecs
from ptmtorrent.store.index import Found, Index
from ptmtorrent.store.ingest.encode_pool import Coded
from ptmtorrent.store.ingest.pending import Pending
from ptmtorrent.store.pack.format import Entry, ObjectKind, PackClass, PackInfo
from ptmtorrent.store.pack.hashes import write_sidecar
from ptmtorrent.store.pack.reader import pack_in
from ptmtorrent.store.pack.writer import Part, new_part
from ptmtorrent.store.recovery.recover import part_in

COMMIT_OBJECTS = 50_000
"""Objects after which a commit is made unasked: their rows are in memory until then."""


class Writer:
    """What one process writes into the store at `root`: its own parts, which no other process continues."""

    def __init__(self, root: Path, index: Index, parts: list[Part], pool: Executor, *, first: bool) -> None:
        """Continue `parts`; `first` when no other process had the store open to write, so that plain names are free."""
        self.pending = Pending()
        self.parts = parts
        self._root = root
        self._index = index
        self._pool = pool
        self._mark = "" if first else secrets.token_hex(4)
        self._info = PackInfo(libraries=codecs.versions(), parameters=codecs.parameters())

    @property
    def is_whole(self) -> bool:
        """Tell whether every part can still be written."""
        return not any(part.closed for part in self.parts)

    def find(self, identifier: ObjectId) -> Found | None:
        """Return where an object lies, durable or not."""
        return self.pending.objects.get(identifier) or self._index.find(identifier)

    def append(self, coded: Coded, kind: ObjectKind, pack_class: PackClass) -> None:
        """Write an object to the open part of its class; a full one is sealed first.

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
        """Make everything so far survive a power cut: the parts first, then what the index says of them."""
        for part in self.parts:
            part.sync()
        self.pending.write(self._index)

    def seal(self, parts: Sequence[Part]) -> list[PackId]:
        """Seal parts: bytes, then hashes, then the name, then the index. A crash in between is healed at next open.

        That the part's old name is gone need not be durable: a pack that still has it is no part.
        Everything else is committed first: no sealed delta may outlive its base.
        """
        self.commit()
        sealed: list[PackId] = []
        for part in parts:
            hashes = part.finish(self._info)
            write_sidecar(self._root, hashes, own=True)
            target = pack_in(self._root, hashes.pack)
            ensure_dir(target.parent, sure=True)
            name_file(part.path, target)
            self.parts.remove(part)
            with self._index.transaction():
                self._index.seal_part(part.path.name, hashes.pack, hashes.size)
            sealed.append(hashes.pack)
        return sealed

    def seal_all(self) -> list[PackId]:
        """Seal every part that holds anything; return the packs that came of them."""
        return self.seal(sorted((part for part in self.parts if part.entries), key=lambda part: part.pack_class))

    def close(self) -> None:
        """Close the parts without committing."""
        for part in self.parts:
            part.close()
        self.parts = []

    def _part_for(self, pack_class: PackClass, stored: int) -> Part:
        for part in [part for part in self.parts if part.pack_class == pack_class]:
            if part.has_room(stored):
                return part
            self.seal([part])
        path = part_in(self._root, pack_class, self._mark)
        if any(part.path == path for part in self.parts):
            raise StoreError(f"`{path}` is written twice")
        part = new_part(path, pack_class, self._pool)
        self.parts.append(part)
        return part
