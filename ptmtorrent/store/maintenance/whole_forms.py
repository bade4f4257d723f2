"""Whole forms of objects that are stored as deltas, in packs of the class `alone`.

A reader of one package takes them instead of a delta and its base. The index lists the packs, and not what is in them:
every look-up finds the delta. What they hold is read from their footers.

Write order as for any pack: bytes, hashes, name, index. A crash leaves a temporary file, which the next writer removes,
or a pack that the next release finds.
"""

from contextlib import suppress

from ptmtorrent.disk.durable import new_temporary
from ptmtorrent.errors import IntegrityError, NotFound, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.placement import Location
from ptmtorrent.store import codecs
from ptmtorrent.store.maintenance.rewrite_pack import publish_part
from ptmtorrent.store.pack.format import ALONE, Entry, PackClass, PackInfo
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.store.pack.writer import Part, new_part
from ptmtorrent.store.store import Store


def find_whole_forms(store: Store) -> dict[PackId, tuple[Rights, list[Entry]]]:
    """Return the objects in the packs of whole forms, by pack, with the rights of each pack.

    A pack that cannot be read is left out: what is needed of it is written again.
    """
    found: dict[PackId, tuple[Rights, list[Entry]]] = {}
    for pack in store.packs():
        with suppress(IntegrityError, NotFound, UnsupportedFormat), open_pack(store.pack_file(pack)) as reader:
            pack_class, _ = reader.header()
            if pack_class.temper == ALONE:
                found[pack] = pack_class.rights, list(reader.footer())
    return found


def is_alone(store: Store, pack: PackId) -> bool:
    """Return whether a pack has whole forms beside deltas.

    Raises:
        IntegrityError, NotFound, StoreError: its header cannot be read.
    """
    with open_pack(store.pack_file(pack)) as reader:
        return reader.header()[0].temper == ALONE


class WholeFormWriter:
    """Writes whole forms into new packs of `store`, which must be open exclusively; `close` drops what is not sealed.

    The same objects in the same order make the same packs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parts: dict[Rights, Part] = {}
        self._sealed: list[tuple[PackId, int, list[Entry]]] = []
        self._info = PackInfo(libraries=codecs.versions(), parameters=codecs.parameters())

    def add(self, identifier: ObjectId, size: int, place: Location, rights: Rights) -> None:
        """Write an object of `size` bytes that is stored as a delta in `place`, into a pack of `rights`.

        Raises:
            IntegrityError, NotFound: it or its base is damaged or missing.
            NoSpace, StoreError: it cannot be written.
        """
        with open_pack(self._store.pack_file(place.pack)) as reader:
            dtype = codecs.dtype_of_delta(reader.read(place.offset, place.length))
        encoded = codecs.encode(self._store.read(identifier), dtype)
        part = self._part_for(rights, encoded.size)
        draft = Entry(id=identifier, offset=0, stored=encoded.size, raw=size, codec=encoded.codec, kind="data")
        part.append(draft, encoded.chunks)

    def seal(self) -> list[tuple[PackId, int, list[Entry]]]:
        """Seal what was written; return every new pack with its size and its objects.

        Raises:
            NoSpace, StoreError: a pack cannot be written.
        """
        for rights in sorted(self._parts):
            self._seal(rights)
        return self._sealed

    def close(self) -> None:
        """Drop what was not sealed."""
        for part in self._parts.values():
            part.close()
            with suppress(OSError):
                part.path.unlink()
        self._parts = {}

    def _part_for(self, rights: Rights, stored: int) -> Part:
        part = self._parts.get(rights)
        if part is not None and not part.has_room(stored):
            self._seal(rights)
            part = None
        if part is None:
            path = new_temporary(self._store.root / "open" / ALONE)
            part = self._parts[rights] = new_part(path, PackClass(ALONE, rights))
        return part

    def _seal(self, rights: Rights) -> None:
        part = self._parts[rights]
        hashes = publish_part(self._store, part, self._info, own=True)
        del self._parts[rights]
        self._store.contents.replace(hashes, [])
        self._sealed.append((hashes.pack, hashes.size, list(part.entries)))
