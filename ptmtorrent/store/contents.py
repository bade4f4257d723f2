"""The contents of a store according to its index: packs, unsealed parts, and their objects. For maintenance.

The index is private to the store. Maintenance reads it through `Contents`, on a connection of its own (`open_contents`)
or under the store's lock (`Store.contents`), and changes it with the five operations that drop, replace or move rows.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from ptmtorrent.errors import NotFound
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId
from ptmtorrent.model.manifest import Capture, Rights
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.index import STAGED_ROWS, Found, Index, open_index
from ptmtorrent.store.pack.columns import EntryColumns, Ids, PlaceColumns
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.recovery.reindex import add_pack

INDEX_NAME = "index.sqlite"


class CaptureMark(NamedTuple):
    """What the index says of its captures at one time: how many, the sum and highest of their numbers, the last row."""

    number: int
    total: int
    highest: int
    row: int


class Contents:
    """The contents that `index` lists. Each call holds `lock`."""

    def __init__(self, index: Index, lock: AbstractContextManager[object]) -> None:
        self._index = index
        self._lock = lock

    def packs(self) -> dict[PackId, int]:
        """Return the size of every sealed pack, sorted by id."""
        with self._lock:
            return self._index.packs()

    def parts(self) -> list[str]:
        """Return the file names of the unsealed parts."""
        with self._lock:
            return self._index.parts()

    def entries(self, container: str | PackId) -> list[Entry]:
        """Return the objects of a pack, or of the part with that name, by offset."""
        with self._lock:
            return self._index.entries(container)

    def columns(self, container: str | PackId) -> EntryColumns:
        """Return what `entries` does, in columns."""
        with self._lock:
            return self._index.columns(container)

    def find_places(self, ids: Ids) -> PlaceColumns | None:
        """Return where objects lie that sealed packs list whole, in one pass; None if rows are not in runs yet."""
        with self._lock:
            return self._index.find_places(ids)

    def pack_of(self, number: int) -> tuple[PackId, int]:
        """Return id and size of the sealed pack with a number of `find_places`.

        Raises:
            NotFound: the index does not list it any more.
        """
        with self._lock:
            found = self._index.container(number)
        if found is None or found.pack is None:
            raise NotFound("the index does not list a pack any more that it listed just now")
        return found.pack, found.size

    def all_entries(self) -> Iterator[Entry]:
        """Yield every object, pack by pack, then part by part."""
        for container in (*self.packs(), *self.parts()):
            yield from self.entries(container)

    def lacking(self, identifiers: Iterable[ObjectId]) -> set[ObjectId]:
        """Return those of `identifiers` that the index lists nowhere, or whose base it does not."""
        with self._lock:
            return self._index.lacking(identifiers)

    def find_all(self, identifiers: Sequence[ObjectId]) -> list[Found | None]:
        """Return where the index lists each of `identifiers`, in one pass; None for those that it does not list."""
        with self._lock:
            return self._index.find_all(identifiers)

    def rights_of(self, identifier: ObjectId) -> Rights | None:
        """Return the rights of the pack that holds an object; None if no pack does."""
        with self._lock:
            found = self._index.find(identifier)
        return None if found is None else found.rights

    def captures(self) -> Iterator[tuple[ObjectId, Capture]]:
        """Yield every capture, older ones too, with the id of its object, sorted by package.

        Raises:
            IntegrityError: one of them is damaged.
        """
        with self._lock:
            rows = self._index.all_captures()
        for identifier, data in rows:
            yield identifier, canonical.decode(data, Capture, name="a capture")

    def mark_captures(self) -> CaptureMark:
        """Return a mark by which `captures_since` finds the captures that are added from now on."""
        with self._lock:
            return CaptureMark(*self._index.capture_mark())

    def captures_since(self, mark: CaptureMark) -> list[tuple[ObjectId, Capture]] | None:
        """Return the captures that were added since `mark`, sorted by package, as `captures` does.

        None if any of those before it changed, which includes that the index was rebuilt with new ones.

        Raises:
            IntegrityError: one of them is damaged.
        """
        with self._lock:
            now = CaptureMark(*self._index.capture_mark())
            rows = self._index.captures_after(mark.row)
        numbers = [number for _, _, number in rows if number is not None and number > mark.highest]
        if len(numbers) != len(rows) or (now.number - len(rows), now.total - sum(numbers)) != (mark.number, mark.total):
            return None
        return [(identifier, canonical.decode(data, Capture, name="a capture")) for identifier, data, _ in rows]

    def captures_of(self, packages: Iterable[PackageName]) -> list[Capture]:
        """Return every capture of some packages, sorted by package.

        Raises:
            IntegrityError: one of them is damaged.
        """
        with self._lock:
            rows = self._index.captures_of(packages)
        return [canonical.decode(data, Capture, name="a capture") for data in rows]

    def move(self, source: PackId, hashes: PackHashes, entries: Sequence[Entry]) -> None:
        """List objects of the pack `source` in another pack, at the places in `entries`, durably."""
        with self._lock:
            with self._index.transaction():
                self._index.move(source, self._index.row_of_pack(hashes.pack, hashes.size, hashes.rights), entries)
            self._index.settle(STAGED_ROWS)

    def drop(self, packs: Iterable[PackId]) -> set[ObjectId]:
        """Drop the rows of packs and of their objects, durably; return these objects."""
        with self._lock, self._index.transaction():
            return {identifier for pack in packs for identifier in self._index.drop(pack)}

    def drop_with_dependents(self, packs: Iterable[PackId]) -> None:
        """Drop packs, and the files, captures and sketches that need their objects, in one durable transaction."""
        with self._lock:
            with self._index.transaction():
                dropped = {identifier for pack in packs for identifier in self._index.drop(pack)}
                self._index.drop_dependents(self._index.lacking(dropped))
                self._index.drop_unused_sketches()
            self._index.settle(STAGED_ROWS)

    def drop_dependents(self, lost: set[ObjectId]) -> None:
        """Drop the files and captures that need one of the objects `lost`, durably."""
        with self._lock, self._index.transaction():
            self._index.drop_dependents(lost)

    def replace(self, hashes: PackHashes, entries: Sequence[Entry]) -> None:
        """Replace the rows of a pack by `entries`, durably; bases are added before the deltas that need them."""
        with self._lock, self._index.transaction():
            self._index.drop(hashes.pack)
            add_pack(self._index, hashes, [entry for entry in entries if entry.base is None])
            add_pack(self._index, hashes, [entry for entry in entries if entry.base is not None])


@contextmanager
def open_contents(root: Path) -> Iterator[Contents]:
    """Open the contents of the store at `root` for reading, on a connection for the calling thread.

    Raises:
        StoreError: the index is missing, damaged or not readable.
        UnsupportedFormat: a newer version wrote it.
    """
    index = open_index(root / INDEX_NAME, write=False)
    try:
        yield Contents(index, threading.Lock())
    finally:
        index.close()
