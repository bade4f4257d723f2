"""Looks up and reads many objects of a store, a block at a time: one pass over the index, and packs that stay open."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from ptmtorrent.errors import IntegrityError, NotFound, StoreError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.placement import Location
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.index.run import Found
from ptmtorrent.store.pack.columns import Ids, PlaceColumns
from ptmtorrent.store.pack.reader import PackReader, open_pack
from ptmtorrent.store.store import Store

_OPEN_PACKS = 16


class Lookup:
    """What `Store` says of objects that were prefetched, and of others too. Nothing may be stored meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[ObjectId, Found | None] = {}
        self._hashes: dict[PackId, PackHashes] = {}
        self._open: dict[PackId, tuple[AbstractContextManager[PackReader], PackReader]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for opened, _ in self._open.values():
            opened.__exit__(None, None, None)
        self._open.clear()

    def prefetch(self, identifiers: Iterable[ObjectId]) -> None:
        """Look up these objects, in place of those that were looked up before."""
        wanted = list(dict.fromkeys(identifiers))
        self._found = dict(zip(wanted, self._store.contents.find_all(wanted), strict=True))

    def find_places(self, ids: Ids) -> PlaceColumns | None:
        """Return where sealed packs have objects whole, in columns; see `Contents.find_places`."""
        return self._store.contents.find_places(ids)

    def pack_of(self, number: int) -> tuple[PackId, int]:
        """Return id and size of the pack with a number of `find_places`; see `Contents.pack_of`."""
        return self._store.contents.pack_of(number)

    def location(self, identifier: ObjectId) -> Location:
        """Return the pack and offset of a sealed object; see `Store.location`."""
        found = self._found.get(identifier)
        if found is None or found.pack is None:
            return self._store.location(identifier)
        entry = found.entry
        return Location(
            pack=found.pack, pack_size=found.size, offset=entry.offset, length=entry.stored, codec=entry.codec
        )

    def base_of(self, identifier: ObjectId) -> ObjectId | None:
        """Return the base of an object that is stored as a delta; see `Store.base_of`."""
        found = self._found.get(identifier)
        return self._store.base_of(identifier) if found is None else found.entry.base

    def pack_hashes(self, pack: PackId) -> PackHashes:
        """Return the hashes of a pack; see `Store.pack_hashes`. They are read once."""
        if pack not in self._hashes:
            self._hashes[pack] = self._store.pack_hashes(pack)
        return self._hashes[pack]

    def read(self, identifier: ObjectId) -> bytes:
        """Return the raw bytes of an object; see `Store.read`."""
        found = self._found.get(identifier)
        if found is None or found.pack is None or found.entry.base is not None:
            return self._store.read(identifier)
        try:
            return self._reader(found.pack).object(found.entry)
        except (IntegrityError, NotFound, StoreError):
            return self._store.read(identifier)

    def _reader(self, pack: PackId) -> PackReader:
        if pack not in self._open:
            if len(self._open) >= _OPEN_PACKS:
                oldest = next(iter(self._open))
                self._open.pop(oldest)[0].__exit__(None, None, None)
            opened = open_pack(self._store.pack_file(pack))
            self._open[pack] = opened, opened.__enter__()
        return self._open[pack][1]
