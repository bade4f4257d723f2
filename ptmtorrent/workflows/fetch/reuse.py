"""Local objects: in the home's store, and in files that were written, begun or are to be replaced.

They are copied from there and hashed on the way; one whose hash does not hold is fetched like any other.
"""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ptmtorrent.disk.durable import link_or_copy, open_regular
from ptmtorrent.errors import PtmError
from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId, PackId, object_id
from ptmtorrent.reading.deltas import LocalObjects
from ptmtorrent.transports.port import Delivered
from ptmtorrent.workflows.fetch.assembly import Assembly
from ptmtorrent.workflows.fetch.select import Selection

if TYPE_CHECKING:
    from ptmtorrent.store.store import Store

Place = tuple[int, int]
"""`(row of the file, number of its part)`."""


class LocalStore:
    """The objects of `wanted`, and the bases it needs, that are available locally.

    With `keep`, packs that arrive whole are added to the store.

    Raises:
        StoreError: packs are to be kept, and the store cannot be written.
    """

    def __init__(self, root: Path, wanted: Selection, *, keep: bool) -> None:
        self._wanted = wanted
        lacking = wanted.lacking()
        self._places = _places(wanted, lacking)
        self._being_written = _being_written(wanted, lacking)
        self._keep = keep
        self._lost: set[ObjectId] = set()
        self._half_known: list[PackId] = []
        self._store = _open_store(root, keep=keep) if keep or root.is_dir() else None

    def __enter__(self) -> Self:
        if self._store is not None:
            self._store.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.__exit__(kind, error, trace)

    @property
    def local(self) -> LocalObjects:
        """The same, as the deltas of a transfer see it."""
        return LocalObjects(
            has=self.has,
            read=self.read,
            forget=self.forget,
            will_hold=lambda base: base in self._being_written,
            has_any=bool(self._places) or self._store is not None,
        )

    def has(self, identifier: ObjectId) -> bool:
        """Return whether the object is believed to be available locally."""
        if identifier in self._lost:
            return False
        return identifier in self._places or (self._store is not None and self._store.has(identifier))

    def read(self, identifier: ObjectId) -> bytes | None:
        """Return the object with its hash checked; None when it is not available."""
        for places in (self._being_written, self._places):
            place = places.get(identifier)
            if place is not None and (data := read_part(self._wanted.assembly(place[0]), place[1])) is not None:
                return data
        with suppress(PtmError):
            if self._store is not None and self._store.has(identifier):
                return self._store.read(identifier)
        return None

    def forget(self, identifier: ObjectId) -> None:
        """Stop believing that the object is available."""
        self._lost.add(identifier)
        self._being_written.pop(identifier, None)

    def adopt(self, delivered: Delivered, staging: Path) -> None:
        """Add the pack of `delivered` to the store, if packs are kept and all of it arrived.

        Raises:
            IntegrityError: its objects are right, and yet it is not that pack.
            NoSpace, StoreError: it cannot be kept.
        """
        if not self._keep or self._store is None or delivered.extent.length != delivered.request.size:
            return
        path = delivered.path
        if not delivered.temporary:
            path = staging / f"{delivered.request.pack}.pack"
            link_or_copy(delivered.path, path)
        self._store.adopt_pack(path, delivered.request.pack)
        if not all(self._store.has(item.id) for item in delivered.request.objects):
            self._half_known.append(delivered.request.pack)

    def adopt_deltas(self) -> None:
        """Read kept packs again whose deltas arrived before their bases: the store indexes only what it can decode.

        Raises:
            IntegrityError, StoreError: one of them cannot be read any more.
        """
        while self._half_known and self._store is not None:
            pack = self._half_known.pop()
            self._store.adopt_pack(self._store.pack_file(pack), pack)


def _open_store(root: Path, *, keep: bool) -> "Store | None":
    from ptmtorrent.store.store import Store  # most readers have no store

    if keep:
        return Store.open(root, write=True)
    # A store that cannot be read does not stop a fetch: its objects are transferred then.
    with suppress(PtmError):
        return Store.open(root)
    return None


def read_part(file: Assembly, number: int) -> bytes | None:
    """Return an object from a file, finished or not, with its hash checked; None when it is not there."""
    identifier, offset, size = file.parts[number]
    # The unfinished file first: it may get its name between the two reads, and keeps it.
    for path in (file.target,) if _is_in_target(file, number) else (file.incoming, file.target):
        data = _read(path, offset, size)
        if data is not None and object_id(data) == identifier:
            return data
    return None


def _places(wanted: Selection, lacking: Numbers) -> dict[ObjectId, Place]:
    """Return the objects that one file lacks, or the bases of such, and another file has."""
    if not wanted.has_any:
        return {}
    objects, bases = wanted.objects.objects, wanted.objects.bases
    needed = {objects.id(row) for row in lacking.tolist()} | {bases.id(row) for row in range(len(bases))}
    found = ((wanted.id_of(*place), place) for place in wanted.present())
    return {identifier: place for identifier, place in found if identifier in needed}


def _being_written(wanted: Selection, lacking: Numbers) -> dict[ObjectId, Place]:
    """Return a place in an unfinished file for each base that one of them wants."""
    table = wanted.objects
    rows = table.that_are_bases(lacking, range(len(table.bases)))
    return {table.objects.id(row): wanted.place_of(row) for row in rows}


def _is_in_target(file: Assembly, number: int) -> bool:
    return file.here or number in file.in_target


def _read(path: Path, offset: int, size: int) -> bytes | None:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError:
        return None
