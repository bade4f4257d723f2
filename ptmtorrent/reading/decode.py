"""Decode what a transport delivered, in a few threads; every object is hashed before it leaves this module.

A delta is decoded once its base is available, whichever arrives first (`deltas`). Decoded objects wait in memory for
their consumer, so no more than `AHEAD` batches are decoded at a time.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import open_regular, read_at
from ptmtorrent.errors import IntegrityError, PtmError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.plan import objects_in
from ptmtorrent.model.wanted import WantedObject
from ptmtorrent.reading.deltas import Deltas, Stored
from ptmtorrent.store import codecs
from ptmtorrent.transports.port import Delivered

THREADS = 2
AHEAD = 2 * THREADS
"""Batches being decoded, or decoded and not taken yet."""
BATCH_BYTES = 8 << 20
"""Raw bytes at which a batch ends; one object (16 MiB) may exceed it."""


class DecodedObject(msgspec.Struct, frozen=True):
    """An object whose bytes have the hash that is its id."""

    id: ObjectId
    data: bytes


@dataclass
class Batch:
    """The outcome of some objects of a delivery. `last` marks the last batch of it.

    `wrong` are objects whose bytes do not have their hash; they may stem from an earlier delivery, because a delta
    waits for its base. `lost` are bases that turned out to be unavailable, `unreadable` objects that this version
    cannot decode, `released` deltas that waited for a base of this batch.
    """

    delivered: Delivered | None
    last: bool
    objects: list[DecodedObject] = field(default_factory=list)
    wrong: list[Stored] = field(default_factory=list)
    lost: list[WantedObject] = field(default_factory=list)
    unreadable: list[tuple[ObjectId, PtmError]] = field(default_factory=list)
    released: list[Stored] = field(default_factory=list)


class Decoder:
    """Threads that decode deliveries in the order in which they were added. `close` drops what has not begun."""

    def __init__(self, deltas: Deltas) -> None:
        self._deltas = deltas
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        self._waiting: deque[tuple[Delivered | None, list[Stored], bool]] = deque()
        self._running: deque[Future[Batch]] = deque()

    def close(self) -> None:
        """Stop the threads after their current batches."""
        self._pool.shutdown(cancel_futures=True)

    def add(self, delivered: Delivered, wanted: Callable[[WantedObject], bool]) -> None:
        """Add the objects of `delivered` that are `wanted`, bases first."""
        items = [item for item in objects_in(delivered.request, delivered.extent) if wanted(item)]
        items.sort(key=lambda item: not self._deltas.needs(item.id))
        stored = [_stored(delivered, item) for item in items]
        batches = list(_batches(stored)) or [[]]
        for number, batch in enumerate(batches, 1):
            self._waiting.append((delivered, batch, number == len(batches)))
        self._start()

    def finished(self, most: int) -> Iterator[Batch]:
        """Yield decoded batches in order, waiting until at most `most` batches are left.

        Raises:
            NoSpace, StoreError: bases or deltas could not be written.
        """
        while self._running:
            if len(self._running) + len(self._waiting) <= most and not self._running[0].done():
                return
            batch = self._running.popleft().result()
            if batch.released:
                self._waiting.extendleft((None, part, False) for part in reversed(list(_batches(batch.released))))
            self._start()
            yield batch

    def _start(self) -> None:
        while self._waiting and len(self._running) < AHEAD:
            self._running.append(self._pool.submit(self._decode, *self._waiting.popleft()))

    def _decode(self, delivered: Delivered | None, batch: Sequence[Stored], last: bool) -> Batch:  # noqa: FBT001  # of one tuple
        found = Batch(delivered, last)
        with closing(OpenPack()) as pack:
            for stored in batch:
                self._decode_one(stored, pack, found)
        found.lost += self._deltas.take_lost()
        return found

    def _decode_one(self, stored: Stored, pack: "OpenPack", found: Batch) -> None:
        """Decode an object, or let a delta wait for its base."""
        item = stored.item
        base: bytes | None = None
        try:
            payload = pack.payload(stored)
            while item.base is not None and base is None:
                base = self._deltas.read(item.base)
                if base is None and self._deltas.park(stored, payload):
                    return
            data = _object(item, payload, base)
        except UnsupportedFormat as error:
            found.unreadable.append((item.id, error))
            return
        except IntegrityError:
            if self._deltas.is_obsolete(stored):
                return
            self._deltas.reject(item.id)
            found.wrong.append(stored)
            return
        found.objects.append(DecodedObject(item.id, data))
        found.released += self._deltas.arrived(item.id, data)


def decode_parked(deltas: Deltas, stored: Stored) -> bytes | None:
    """Return the object of a delta that waited; None when its bytes are wrong, or its base is not available."""
    base = deltas.read(stored.item.base) if stored.item.base else None
    if base is None:
        return None
    try:
        with closing(OpenPack()) as pack:
            return _object(stored.item, pack.payload(stored), base)
    except (IntegrityError, UnsupportedFormat):
        deltas.reject(stored.item.id)
        return None


def _stored(delivered: Delivered, item: WantedObject) -> Stored:
    start = delivered.start + item.at.offset - delivered.extent.offset
    return Stored(item=item, path=delivered.path, start=start, source=delivered)


class OpenPack:
    """Reads stored bytes; the file that was read last stays open."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._descriptor = -1

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            self._path = None
            os.close(self._descriptor)

    def payload(self, stored: Stored) -> bytes:
        """Return the stored bytes of an object.

        Raises:
            IntegrityError: they cannot be read.
        """
        try:
            if stored.path != self._path:
                self.close()
                self._descriptor = open_regular(stored.path)
                self._path = stored.path
            payload = read_at(self._descriptor, stored.start, stored.item.at.length)
        except OSError as error:
            raise IntegrityError(f"`{stored.path}` could not be read: {error.strerror}") from error
        if len(payload) != stored.item.at.length:
            raise IntegrityError(f"`{stored.path}` ends too early")
        return payload


def _object(item: WantedObject, payload: bytes, base: bytes | None) -> bytes:
    data = codecs.decode(item.at.codec, payload, item.size, base)
    if object_id(data) != item.id:
        raise IntegrityError(f"the bytes delivered for `{item.id}` have another hash")
    return data


def _batches(items: Sequence[Stored]) -> Iterator[list[Stored]]:
    batch: list[Stored] = []
    size = 0
    for stored in items:
        batch.append(stored)
        size += stored.item.size
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
