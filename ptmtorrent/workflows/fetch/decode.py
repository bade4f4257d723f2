"""Decode what arrived, in a few threads: every object is hashed before it is written into a file.

A delta is decoded with its base once both are here, whichever came first (`bases`). Memory holds three objects of each
thread: stored bytes, base and result.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ptmtorrent.disk.durable import read_at
from ptmtorrent.errors import IntegrityError, NoSpace, PtmError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.plan import WantedObject, objects_in
from ptmtorrent.store import codecs
from ptmtorrent.transports.port import Delivered
from ptmtorrent.workflows.fetch.assemble import Assembler, Assembly
from ptmtorrent.workflows.fetch.deltas import Bases, Stored

DECODERS = 2
BATCH_BYTES = 32 << 20
"""Raw bytes that one decoder takes at a time."""


@dataclass
class Decoded:
    """What became of the objects of one delivery; `files` are complete now, or have their `error` set.

    `right` may be of earlier deliveries, deltas that had waited for their base, and so may `wrong`: objects whose bytes
    are not what their id says. `lost` are bases that were said to be here. `unreadable` is what this version cannot
    decode.
    """

    delivered: Delivered
    right: list[ObjectId] = field(default_factory=list)
    wrong: list[Stored] = field(default_factory=list)
    lost: list[WantedObject] = field(default_factory=list)
    unreadable: list[tuple[ObjectId, PtmError]] = field(default_factory=list)
    files: list[Assembly] = field(default_factory=list)


class Decoding:
    """Deliveries being decoded. Leaving it drops what has not begun."""

    def __init__(self, assembler: Assembler, bases: Bases) -> None:
        self._assembler = assembler
        self._bases = bases
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._waiting: deque[tuple[Delivered, list[Future[Decoded]]]] = deque()

    def close(self) -> None:
        """End the threads, after what they are doing now."""
        self._pool.shutdown(cancel_futures=True)

    def add(self, delivered: Delivered) -> None:
        """Begin to decode the objects of `delivered` that are still wanted, bases first."""
        items = [item for item in objects_in(delivered.request, delivered.extent) if self._is_wanted(item)]
        items.sort(key=lambda item: not self._bases.needs(item.id))
        futures = [self._pool.submit(self._decode, delivered, batch) for batch in _batches(items)]
        self._waiting.append((delivered, futures))

    def ended(self, most: int) -> Iterator[Decoded]:
        """Yield what is decoded, oldest first, waiting until at most `most` batches are still out.

        Raises:
            NoSpace, StoreError: the files could not be written.
        """
        while self._waiting:
            delivered, futures = self._waiting[0]
            out = sum(not future.done() for _, futures in self._waiting for future in futures)
            if out <= most and not all(future.done() for future in futures):
                return
            self._waiting.popleft()
            yield _join(delivered, [future.result() for future in futures])

    def _is_wanted(self, item: WantedObject) -> bool:
        return self._assembler.wants(item.id) or self._bases.needs(item.id)

    def _decode(self, delivered: Delivered, items: Sequence[WantedObject]) -> Decoded:
        found = Decoded(delivered)
        for item in items:
            start = delivered.start + item.at.offset - delivered.extent.offset
            self._take(found, Stored(item=item, path=delivered.path, start=start, source=delivered))
        for file in found.files:
            finish(self._assembler, file)
        found.lost += self._bases.take_lost()
        return found

    def _take(self, found: Decoded, stored: Stored, base: bytes | None = None) -> None:
        """Decode an object into the files that want it, then the deltas that waited for it; or let it wait itself."""
        item = stored.item
        try:
            payload = _payload(stored)
            while item.base is not None and base is None:
                base = self._bases.read(item.base)
                if base is None and self._bases.park(stored, payload):
                    return
            data = _object(item, payload, base)
        except UnsupportedFormat as error:
            found.unreadable.append((item.id, error))
            return
        except IntegrityError:
            self._bases.reject(item.id)
            found.wrong.append(stored)
            return
        found.right.append(item.id)
        found.files += self._assembler.put(item.id, data)
        self._bases.done(item.id)
        for waiting in self._bases.arrived(item.id, data):
            self._take(found, waiting, data)


def decode_waiting(bases: Bases, stored: Stored) -> bytes | None:
    """Return the object of a delta that waited; None when its bytes are wrong, or its base is not here after all."""
    base = bases.read(stored.item.base) if stored.item.base else None
    if base is None:
        return None
    try:
        return _object(stored.item, _payload(stored), base)
    except (IntegrityError, UnsupportedFormat):
        bases.reject(stored.item.id)
        return None


def finish(assembler: Assembler, file: Assembly) -> None:
    """Verify and name a complete file; what is wrong with it is kept in its `error`. Raises `NoSpace` alone."""
    try:
        assembler.finish(file)
        assembler.link(file)
    except NoSpace:
        raise
    except PtmError as error:
        file.error = error
    else:
        file.here = True


def _payload(stored: Stored) -> bytes:
    try:
        descriptor = os.open(stored.path, os.O_RDONLY)
        try:
            payload = read_at(descriptor, stored.start, stored.item.at.length)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise IntegrityError(f"`{stored.path}` could not be read: {error.strerror}") from error
    if len(payload) != stored.item.at.length:
        raise IntegrityError(f"`{stored.path}` ends too early")
    return payload


def _object(item: WantedObject, payload: bytes, base: bytes | None) -> bytes:
    data = codecs.decode(item.at.codec, payload, item.size, base)
    if object_id(data) != item.id:
        raise IntegrityError(f"what was delivered for `{item.id}` is something else")
    return data


def _batches(items: Sequence[WantedObject]) -> Iterator[list[WantedObject]]:
    batch: list[WantedObject] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.size
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _join(delivered: Delivered, parts: Sequence[Decoded]) -> Decoded:
    joined = Decoded(delivered)
    for part in parts:
        joined.right += part.right
        joined.wrong += part.wrong
        joined.lost += part.lost
        joined.unreadable += part.unreadable
        joined.files += part.files
    return joined
