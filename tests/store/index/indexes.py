"""Indexes of made-up packs, and what they must list, kept beside them in plain dicts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.index import Index, open_index
from ptmtorrent.store.pack.format import RIGHTS, Entry

SIZE = 1 << 20


def id_of(text: str) -> ObjectId:
    return ObjectId(blake3(text.encode()).hexdigest())


def pack_of(number: int) -> PackId:
    return PackId(id_of(f"pack {number}"))


def entries_of(names: Sequence[str], base: str | None = None) -> list[Entry]:
    """Objects with these names, one after another; deltas of `base` if it is given."""
    return [
        Entry(
            id=id_of(name),
            offset=100 * number + 60,
            stored=10 + number % 30,
            raw=40 + number % 30,
            codec=7 if base else 2,
            kind="data",
            base=id_of(base) if base else None,
        )
        for number, name in enumerate(names)
    ]


def add(index: Index, pack: int, entries: Sequence[Entry], rights: Rights = "open") -> None:
    with index.transaction():
        index.add_objects(index.row_of_pack(pack_of(pack), SIZE, rights), entries)


def new_index(folder: Path) -> Index:
    return open_index(folder / "index.sqlite", write=True)


def listed(index: Index) -> dict[PackId, list[Entry]]:
    """All that the index lists, by pack."""
    return {pack: index.entries(pack) for pack in index.packs()}


@dataclass
class Model:
    """What an index must list: the best place of each object, first come first kept, as in one table of rows."""

    rights: dict[PackId, Rights] = field(default_factory=dict)
    places: dict[ObjectId, list[tuple[PackId, Entry]]] = field(default_factory=dict)
    """All places an object was listed at; the last one counts, and one before it once its pack is dropped."""

    def add(self, pack: PackId, entries: Sequence[Entry], rights: Rights) -> None:
        rights = self.rights.setdefault(pack, rights)
        for entry in entries:
            places = self.places.setdefault(entry.id, [])
            if not places or self._replaces(entry, rights, *places[-1]):
                places[:] = [place for place in places if place[0] != pack]
                places.append((pack, entry))

    def drop(self, pack: PackId) -> None:
        self.rights.pop(pack, None)
        for places in self.places.values():
            places[:] = [place for place in places if place[0] != pack]

    def find(self, identifier: ObjectId) -> tuple[PackId, Entry] | None:
        places = self.places.get(identifier)
        if not places:
            return None
        pack, entry = places[-1]
        return (pack, entry) if entry.base is None or self._has_base(pack, entry) else None

    def _replaces(self, entry: Entry, rights: Rights, pack: PackId, old: Entry) -> bool:
        if entry.base is None:
            return old.base is not None or RIGHTS.index(rights) < RIGHTS.index(self.rights[pack])
        return old.base is not None and not self._has_base(pack, old)

    def _has_base(self, pack: PackId, entry: Entry) -> bool:
        places = self.places.get(entry.base or ObjectId(""))
        if not places or places[-1][1].base is not None:
            return False
        return RIGHTS.index(self.rights[places[-1][0]]) <= RIGHTS.index(self.rights[pack])
