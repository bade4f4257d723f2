"""Deltas and their bases, which arrive in any order; whichever is first waits in a folder.

::

    <object id>.base         a base, decoded, for as long as a missing delta needs it
    <40 hex digits>.delta    the stored bytes of a delta whose base has not arrived

A base that a file being written contains is read back from that file instead. Both kinds of file survive a kill, and
neither is used before its hash is checked.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import RLock

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import TEMPORARY_PREFIX, disk_errors, new_temporary, write_all
from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.wanted import WantedObject
from ptmtorrent.transports.port import Delivered

_NAME = re.compile(rf"[0-9a-f]{{64}}\.base|[0-9a-f]{{40}}\.delta|{re.escape(TEMPORARY_PREFIX)}[0-9a-f]+")


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The stored bytes of `item`, at `path` from byte `start` on, from `source`; None: from an earlier run."""

    item: WantedObject
    path: Path
    start: int
    source: Delivered | None


class LocalObjects(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that the reader has already.

    `has` returns whether an object is believed to be available, `read` returns it with its hash checked or None, and
    `forget` makes `has` false. `will_hold` returns whether a file being written contains the object, so that `read`
    finds it there once the consumer of a transfer has taken it. Without `has_any`, `has` is false for every object.
    """

    has: Callable[[ObjectId], bool]
    read: Callable[[ObjectId], bytes | None]
    forget: Callable[[ObjectId], None]
    will_hold: Callable[[ObjectId], bool]
    has_any: bool = True


class Deltas:
    """The missing deltas among `missing` and the `bases` they need. Used from several threads.

    `places` maps each base to its place in a pack.

    Raises:
        StoreError: what an earlier run left cannot be read.
    """

    def __init__(
        self, folder: Path, missing: Iterable[WantedObject], bases: Iterable[WantedObject], local: LocalObjects
    ) -> None:
        self._folder = folder
        self._local = local
        self._lock = RLock()
        self.places: Mapping[ObjectId, WantedObject] = {item.id: item for item in bases}
        self._deltas = {item.id: item for item in missing if item.base is not None}
        self._needing: dict[ObjectId, set[ObjectId]] = defaultdict(set)
        for delta in self._deltas.values():
            if delta.base is not None:
                self._needing[delta.base].add(delta.id)
        self._untaken: dict[ObjectId, bytes] = {}
        self._arrived: set[ObjectId] = set()
        self._kept = {base for base in self._needing if self._read_kept(base) is not None}
        self._parked = {item.id: parked for item in self._deltas.values() if (parked := self._left(item)) is not None}
        self._lost: list[WantedObject] = []

    @property
    def parked(self) -> Collection[ObjectId]:
        """The deltas whose stored bytes wait in the folder."""
        return self._parked

    @property
    def has_any(self) -> bool:
        """Whether anything may be available locally."""
        return self._local.has_any or bool(self._kept or self._arrived)

    def has(self, identifier: ObjectId) -> bool:
        """Return whether the object, a base or any other, is believed to be available locally."""
        return identifier in self._kept or identifier in self._arrived or self._local.has(identifier)

    def needs(self, identifier: ObjectId) -> bool:
        """Return whether the object is the base of a missing delta."""
        return identifier in self._needing

    def read(self, identifier: ObjectId) -> bytes | None:
        """Return the object with its hash checked; None when it is not available, and `has` is false from then on."""
        if not self.has(identifier):
            return None
        data = self._read(identifier)
        if data is None:
            self._lose(identifier)
        return data

    def park(self, stored: Stored, payload: bytes) -> bool:
        """Keep the stored bytes of a delta until its base arrives; return False when the base has arrived meanwhile.

        Raises:
            NoSpace, StoreError: they cannot be written.
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
            NoSpace, StoreError: it cannot be written.
        """
        if not self.needs(identifier):
            return []
        in_file = self._local.will_hold(identifier)
        if not in_file and identifier not in self._kept:
            _write_whole(self._kept_path(identifier), data)
        with self._lock:
            if in_file:
                self._untaken[identifier] = data
            (self._arrived if in_file else self._kept).add(identifier)
            waited = [self._parked.get(delta) for delta in sorted(self._needing.get(identifier, ()))]
            return [stored for stored in waited if stored is not None]

    def ready(self) -> list[Stored]:
        """Return the waiting deltas whose base is available."""
        return [stored for stored in self._parked.values() if stored.item.base and self.has(stored.item.base)]

    def reject(self, identifier: ObjectId) -> None:
        """Delete the stored bytes of a delta, because they are wrong."""
        with self._lock:
            stored = self._parked.pop(identifier, None)
        if stored is not None:
            _remove(stored.path)

    def taken(self, identifier: ObjectId) -> None:
        """Record that every file that wants the object contains it; delete what only this delta needed."""
        with self._lock:
            self._untaken.pop(identifier, None)
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

    def is_obsolete(self, stored: Stored) -> bool:
        """Return whether a delta that waited was taken from another copy, so that its file may be gone.

        A base that arrives twice releases the deltas that wait for it twice.
        """
        with self._lock:
            return stored.item.id not in self._deltas and stored.path == self._parked_path(stored.item)

    def take_lost(self) -> list[WantedObject]:
        """Return the needed bases that turned out to be unavailable since the last call."""
        with self._lock:
            lost, self._lost = self._lost, []
        return lost

    def disk_needed(self) -> int:
        """Return the most bytes that bases and deltas take in the folder while they wait for one another."""
        moved = {base: self.places[base].size for base in self._needing if not self.has(base)}
        waiting: dict[ObjectId, int] = defaultdict(int)
        for item in self._deltas.values():
            if item.base in moved and item.id not in self._parked and not self.has(item.id):
                waiting[item.base] += item.at.length
        return sum(max(0 if self._local.will_hold(base) else size, waiting[base]) for base, size in moved.items())

    def explain(self, errors: dict[ObjectId, PtmError]) -> None:
        """Give every delta that lacks its base the error of that base."""
        for item in self._deltas.values():
            if item.base in errors and item.base is not None:
                errors.setdefault(item.id, errors[item.base])

    def clear(self) -> None:
        """Delete everything that this run or earlier ones left in the folder."""
        if self._folder.is_dir():
            with disk_errors(self._folder):
                names = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
            for path in names:
                _remove(path)

    def _read(self, identifier: ObjectId) -> bytes | None:
        untaken = self._untaken.get(identifier)
        if untaken is not None:
            return untaken
        if identifier in self._kept and (data := self._read_kept(identifier)) is not None:
            return data
        return self._local.read(identifier)

    def _lose(self, identifier: ObjectId) -> None:
        """Stop believing that the object is available; a base that is needed is reported as lost."""
        with self._lock:
            self._kept.discard(identifier)
            self._arrived.discard(identifier)
            self._local.forget(identifier)
            if self.needs(identifier) and identifier in self.places:
                self._lost.append(self.places[identifier])

    def _read_kept(self, base: ObjectId) -> bytes | None:
        data = _read_whole(self._kept_path(base), self.places[base].size)
        return data if data is not None and object_id(data) == base else None

    def _left(self, item: WantedObject) -> Stored | None:
        """Return the stored bytes of a delta that an earlier run left, when their number is right."""
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
        """Return a name that depends on the place and the coding of `item`, so that no other bytes have it."""
        place = f"{item.id} {item.base} {item.at.pack} {item.at.offset} {item.at.length} {item.at.codec}"
        return self._folder / f"{blake3(place.encode()).hexdigest(length=20)}.delta"


def is_kept(folder: Path, base: ObjectId) -> bool:
    """Return whether an earlier run left a base in the folder; its hash is not checked yet."""
    return os.path.lexists(folder / f"{base}.base")


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that gets its name once it is whole. It need not survive a power cut."""
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
