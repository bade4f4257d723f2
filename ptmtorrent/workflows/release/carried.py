"""Decides which objects a release may carry, and moves those its members need out of packs that hold others.

A pack is published as a whole. It may be named by a release if every object in it is needed by a member, or belongs to
an older snapshot of a package that has a member, where that snapshot may be redistributed too. From any other pack,
what the members need is stored again in a pack of its own; a delta whose base may not be carried is stored whole.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from ptmtorrent.errors import IntegrityError, NotFound, StoreError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId
from ptmtorrent.model.manifest import Capture, objects_in
from ptmtorrent.store.lookup import Lookup
from ptmtorrent.store.maintenance.references import NONE, SHARED, References
from ptmtorrent.store.maintenance.rewrite_pack import rewrite_pack, store_whole
from ptmtorrent.store.pack.columns import EntryColumns, Flags, Ids, columns_of, hex_ids
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.store.store import Store

_NEEDED = 0
_ALLOWED = 1
_BLOCK = 256
_UNREADABLE = (IntegrityError, NotFound, UnsupportedFormat)


class Undecided(Exception):
    """What is known of the previous release does not suffice; every package has to be looked at."""


class Carried:
    """What a release of `store`, which is open exclusively, may carry; `references` is an empty table for its use.

    Packs of which `known` says that they may be carried are not looked at. With them, `add` may be given some captures
    alone; a pack that is not known and holds more than these need is then `Undecided`.
    """

    def __init__(self, store: Store, references: References, known: Callable[[PackId], bool] | None = None) -> None:
        self._store = store
        self._known = known
        self._references = references
        self._snapshots: dict[SnapshotId, int] = {}
        self._clean: dict[PackId, bool] = {}

    def add(
        self,
        chosen: Sequence[Capture],
        may_carry: Callable[[Capture], bool],
        captures: Iterable[tuple[ObjectId, Capture]] | None = None,
    ) -> None:
        """Add what the packages of `chosen` need, and the objects of their older captures that `may_carry` accepts.

        `captures` are all, or those that matter. A chosen capture may have another licence than its record: a policy
        may state it.
        """
        newest = {capture.package: capture for capture in chosen}
        block: list[tuple[ObjectId, SnapshotId, int]] = []
        with Lookup(self._store) as lookup:
            for identifier, capture in self._store.contents.captures() if captures is None else captures:
                current = newest.get(capture.package)
                if current is None:
                    continue
                stated = msgspec.structs.replace(capture, licence=current.licence, sources=current.sources)
                if current in (capture, stated):  # captures have no hash
                    block.append((identifier, capture.snapshot, _NEEDED))
                elif may_carry(capture):
                    block.append((identifier, capture.snapshot, _ALLOWED))
                if len(block) == _BLOCK:
                    self._add_block(lookup, block)
                    block.clear()
            self._add_block(lookup, block)

    def separate(self) -> None:
        """Store apart what the members need and lies beside other objects. Everything must be sealed, and is again.

        Raises:
            NoSpace: the disk is full.
            StoreError: a pack cannot be read or written.
        """
        for pack in self._store.packs():
            self._separate_deltas(pack)
        self._store.seal()
        for pack in self._store.packs():
            columns = self._store.contents.columns(pack)
            if self._are_wanted(columns.ids).any():
                self._rewrite_unless_clean(pack, columns)

    def is_clean(self, pack: PackId, columns: EntryColumns | None = None) -> bool:
        """Return whether every object in the pack may be carried; a pack that cannot be read may hold anything.

        `columns` are its objects, if they were read from the index already.

        Raises:
            Undecided: only some captures were added, and the pack holds more than these need.
        """
        if pack not in self._clean:
            if self._known is not None and self._known(pack):
                self._clean[pack] = True
            else:
                self._clean[pack] = self._read_clean(pack, columns)
                if self._known is not None and not self._clean[pack]:
                    raise Undecided(pack)
        return self._clean[pack]

    def may_pass_on(self, snapshot: SnapshotId) -> bool:
        """Return whether a snapshot may be redistributed: that of a member, or an older one of the same package."""
        return snapshot in self._snapshots

    def check(self, packs: Iterable[PackId]) -> None:
        """Refuse packs that may not be carried.

        Raises:
            StoreError: naming the first of them.
        """
        for pack in sorted(set(packs)):
            if not self.is_clean(pack):
                raise StoreError(
                    f"it needs the pack `{pack}`, which has objects that may not be redistributed, and is damaged",
                    hint="find the damage: ptmtorrent store check --data",
                )

    def _add_block(self, lookup: Lookup, block: Sequence[tuple[ObjectId, SnapshotId, int]]) -> None:
        """Add captures, and what their snapshots consist of; of a manifest that cannot be read nothing is known."""
        lookup.prefetch(ObjectId(snapshot) for _, snapshot, _ in block)
        found: tuple[list[ObjectId], list[ObjectId]] = [], []
        for capture, snapshot, owner in block:
            found[owner].append(capture)
            if self._snapshots.get(snapshot, _ALLOWED + 1) <= owner:
                continue
            self._snapshots[snapshot] = owner
            with suppress(*_UNREADABLE):
                objects = objects_in(lookup.read(ObjectId(snapshot)), snapshot)
                found[owner].append(ObjectId(snapshot))
                found[owner].extend(objects)
        for owner, identifiers in enumerate(found):
            self._references.add(owner, identifiers)

    def _separate_deltas(self, pack: PackId) -> None:
        """Store the needed deltas of a pack whole whose base may not be carried; other bases are needed too."""
        columns = self._store.contents.columns(pack)
        wanted = self._are_wanted(columns.ids[columns.deltas])
        deltas, bases = columns.deltas[wanted], columns.bases[wanted]
        carried = self._references.owners(bases) != NONE
        self._references.add(_NEEDED, map(ObjectId, hex_ids(bases[carried])))
        lost = {*hex_ids(columns.ids[deltas[~carried]])}
        for entry in self._store.contents.entries(pack) if lost else ():
            if entry.id in lost:
                with suppress(*_UNREADABLE):
                    store_whole(self._store, pack, entry)

    def _rewrite_unless_clean(self, pack: PackId, columns: EntryColumns) -> None:
        if self.is_clean(pack, columns):
            return
        with suppress(*_UNREADABLE):
            rewrite_pack(self._store, pack, self._is_needed)

    def _are_wanted(self, ids: Ids) -> Flags:
        owners = self._references.owners(ids)
        wanted: Flags = (owners == _NEEDED) | (owners == SHARED)
        return wanted

    def _is_wanted(self, identifier: ObjectId) -> bool:
        return self._references.owner(identifier) in {_NEEDED, SHARED}

    def _is_needed(self, entry: Entry) -> bool:
        """Return whether a member needs the object. A delta that could not be stored whole cannot be copied either."""
        return self._is_wanted(entry.id)

    def _read_clean(self, pack: PackId, columns: EntryColumns | None) -> bool:
        """Look at every record: the index lists an object once, and packs may hold more."""
        known = self._store.contents.columns(pack) if columns is None else columns
        try:
            with open_pack(self._store.pack_file(pack)) as reader:
                if not reader.holds_only(known):
                    known = columns_of(reader.footer())
                    if not reader.holds_only(known):
                        return False
        except _UNREADABLE:
            return False
        if (self._references.owners(known.ids) == NONE).any():
            return False
        others = known.bases[self._references.owners(known.bases) == NONE]
        return all(self._is_known_base(ObjectId(base)) for base in hex_ids(others))

    def _is_known_base(self, base: ObjectId) -> bool:
        with suppress(NotFound):
            return self._known is not None and self._known(self._store.location(base).pack)
        return False
