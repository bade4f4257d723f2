"""Deltas and their bases, which come in any order: whoever comes first waits in the layout's `incoming` folder.

::

    <object id>.base         a base, decoded, for as long as a missing delta needs it
    <40 hex digits>.delta    the stored bytes of a delta whose base has not come

A file that wants the base itself does as well as the first. Both outlive a kill, and neither is believed before a hash
proves it.
"""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from threading import RLock

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import TEMPORARY_PREFIX, disk_errors, new_temporary, write_all
from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.plan import Plan, WantedObject
from ptmtorrent.transports.port import Delivered
from ptmtorrent.workflows.fetch.reuse import Place, Stock, read_part
from ptmtorrent.workflows.fetch.select import Wanted, missing_objects, needed_bases

_OURS = re.compile(rf"[0-9a-f]{{64}}\.base|[0-9a-f]{{40}}\.delta|{re.escape(TEMPORARY_PREFIX)}[0-9a-f]+")


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The stored bytes of `item`, at `path` from byte `start` on; `source` brought them, None: an earlier run did."""

    item: WantedObject
    path: Path
    start: int
    source: Delivered | None


class Bases:
    """The missing deltas of `wanted` and their bases. Used from several threads.

    `places` says where in packs the bases lie.

    Raises:
        StoreError: what an earlier run left cannot be read.
    """

    def __init__(self, folder: Path, wanted: Wanted, stock: Stock) -> None:
        self._folder = folder
        self._stock = stock
        self._lock = RLock()
        self.places: Mapping[ObjectId, WantedObject] = {item.id: item for item in needed_bases(wanted)}
        self._deltas = {item.id: item for item in missing_objects(wanted) if item.base is not None}
        self._needing: dict[ObjectId, set[ObjectId]] = defaultdict(set)
        for delta in self._deltas.values():
            if delta.base is not None:
                self._needing[delta.base].add(delta.id)
        self._in_files = _in_files(wanted, self.places)
        self._arrived: set[ObjectId] = set()
        self._kept = {base for base in self._needing if self._read_kept(base) is not None}
        self._parked = {item.id: parked for item in self._deltas.values() if (parked := self._left(item)) is not None}
        self._lost: list[WantedObject] = []

    @property
    def parked(self) -> Collection[ObjectId]:
        """The deltas whose stored bytes wait here."""
        return self._parked

    def has(self, identifier: ObjectId) -> bool:
        """Is the object, a base or any other, said to be here?"""
        return identifier in self._kept or identifier in self._arrived or self._stock.has(identifier)

    def needs(self, identifier: ObjectId) -> bool:
        """Is a delta missing that was taken against the object?"""
        return identifier in self._needing

    def read(self, identifier: ObjectId) -> bytes | None:
        """Return the object, proven by its hash; None when it is not here, and then it is not said to be any more."""
        if not self.has(identifier):
            return None
        data = self._read(identifier)
        if data is None:
            self._lose(identifier)
        return data

    def park(self, stored: Stored, payload: bytes) -> bool:
        """Keep the stored bytes of a delta until its base comes; false: the base has come meanwhile.

        Raises:
            NoSpace, StoreError: they cannot be kept.
        """
        item, path = stored.item, self._parked_path(stored.item)
        if item.id not in self._deltas or item.base is None:
            return True
        if item.id not in self._parked:
            _write_whole(path, payload)
        with self._lock:
            if self.has(item.base):
                return False
            if item.id in self._deltas:
                self._parked[item.id] = Stored(item=item, path=path, start=0, source=stored.source)
        return True

    def arrived(self, identifier: ObjectId, data: bytes) -> list[Stored]:
        """Keep an object that is a base while it is needed; return the deltas that waited for it.

        Raises:
            NoSpace, StoreError: it cannot be kept.
        """
        if not self.needs(identifier):
            return []
        if identifier not in self._in_files and identifier not in self._kept:
            _write_whole(self._kept_path(identifier), data)
        with self._lock:
            (self._arrived if identifier in self._in_files else self._kept).add(identifier)
            waited = [self._parked.get(delta) for delta in sorted(self._needing.get(identifier, ()))]
            return [stored for stored in waited if stored is not None]

    def ready(self) -> list[Stored]:
        """Return the deltas that wait here beside their bases."""
        return [stored for stored in self._parked.values() if stored.item.base and self.has(stored.item.base)]

    def reject(self, identifier: ObjectId) -> None:
        """Forget the stored bytes of a delta: they are wrong."""
        with self._lock:
            stored = self._parked.pop(identifier, None)
        if stored is not None:
            _remove(stored.path)

    def done(self, identifier: ObjectId) -> None:
        """Take note that an object is in every file that wants it; what only it needed is removed, if it is a delta."""
        with self._lock:
            item = self._deltas.pop(identifier, None)
            if item is None or item.base is None:
                return
            needing = self._needing[item.base]
            needing.discard(identifier)
            if needing:
                base = None
            else:
                base = item.base
                del self._needing[base]
                self._kept.discard(base)
            self._parked.pop(identifier, None)
        _remove(self._parked_path(item))
        if base is not None:
            _remove(self._kept_path(base))

    def take_lost(self) -> list[WantedObject]:
        """Return the needed bases that turned out not to be here since this was last asked."""
        with self._lock:
            lost, self._lost = self._lost, []
        return lost

    def room(self, plan: Plan) -> int:
        """Return the most bytes that bases and deltas take here while they wait for one another."""
        moved = {item.id: item.size for request in plan.requests for item in request.objects if self.needs(item.id)}
        waiting: dict[ObjectId, int] = defaultdict(int)
        for item in (item for request in plan.requests for item in request.objects):
            if item.base in moved and item.base is not None:
                waiting[item.base] += item.at.length
        return sum(max(0 if base in self._in_files else size, waiting[base]) for base, size in moved.items())

    def explain(self, errors: dict[ObjectId, PtmError]) -> None:
        """Say of every delta that lacks its base why that could not be had."""
        for item in self._deltas.values():
            if item.base in errors and item.base is not None:
                errors.setdefault(item.id, errors[item.base])

    def clear(self) -> None:
        """Remove whatever this run or earlier ones left waiting."""
        if self._folder.is_dir():
            with disk_errors(self._folder):
                names = [path for path in self._folder.iterdir() if _OURS.fullmatch(path.name)]
            for path in names:
                _remove(path)

    def _read(self, identifier: ObjectId) -> bytes | None:
        if identifier in self._kept and (data := self._read_kept(identifier)) is not None:
            return data
        if identifier in self._arrived and (data := read_part(self._in_files[identifier])) is not None:
            return data
        return self._stock.read(identifier)

    def _lose(self, identifier: ObjectId) -> None:
        """Believe that the object is nowhere here; a file that lost it will not be asked again."""
        with self._lock:
            self._kept.discard(identifier)
            self._arrived.discard(identifier)
            self._in_files.pop(identifier, None)
            self._stock.forget(identifier)
            if self.needs(identifier) and identifier in self.places:
                self._lost.append(self.places[identifier])

    def _read_kept(self, base: ObjectId) -> bytes | None:
        data = _read_whole(self._kept_path(base), self.places[base].size)
        return data if data is not None and object_id(data) == base else None

    def _left(self, item: WantedObject) -> Stored | None:
        """Return the stored bytes of a delta that an earlier run left, if they are as many as they should be."""
        path = self._parked_path(item)
        try:
            if path.lstat().st_size != item.at.length:
                return None
        except OSError:
            return None
        return Stored(item=item, path=path, start=0, source=None)

    def _kept_path(self, base: ObjectId) -> Path:
        return self._folder / f"{base}.base"

    def _parked_path(self, item: WantedObject) -> Path:
        """Name the stored bytes of `item` by where they lie and what they are, so that no others are taken for them."""
        place = f"{item.id} {item.base} {item.at.pack} {item.at.offset} {item.at.length} {item.at.codec}"
        return self._folder / f"{blake3(place.encode()).hexdigest(length=20)}.delta"


def _in_files(wanted: Wanted, bases: Collection[ObjectId]) -> dict[ObjectId, Place]:
    """Find a file that wants each base, if any does."""
    return {
        identifier: (file, number)
        for file in wanted.unfinished
        for number, (identifier, _, _) in enumerate(file.parts)
        if identifier in bases and number in file.missing
    }


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that has its name only when it is whole; it need not survive a power cut."""
    temporary = new_temporary(path)
    try:
        with disk_errors(path, len(data)):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _read_whole(path: Path, size: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with suppress(OSError), os.fdopen(descriptor, "rb") as file:
        return file.read(size)
    return None


def _remove(path: Path) -> None:
    with disk_errors(path):
        path.unlink(missing_ok=True)
