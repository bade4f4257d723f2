"""Decode what arrived, in a few threads: every object is hashed before it is written anywhere."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from ptmtorrent.errors import IntegrityError, NoSpace, PtmError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.plan import WantedObject, objects_in
from ptmtorrent.store import codecs
from ptmtorrent.store.durable import read_at
from ptmtorrent.transports.port import Delivered
from ptmtorrent.workflows.fetch.assembling import Assembler, Assembly

DECODERS = 2
BATCH_BYTES = 32 << 20
"""Raw bytes that one decoder takes at a time."""


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the objects of one delivery; `files` are complete now, or have their `error` set.

    `wrong` are objects whose bytes are not what their id says, `unreadable` those this version cannot decode.
    """

    delivered: Delivered
    right: tuple[ObjectId, ...]
    wrong: tuple[WantedObject, ...]
    unreadable: tuple[tuple[ObjectId, PtmError], ...]
    files: tuple[Assembly, ...]


class Decoding:
    """Deliveries being decoded. Leaving it drops what has not begun."""

    def __init__(self, assembler: Assembler) -> None:
        self._assembler = assembler
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._waiting: deque[tuple[Delivered, list[Future[Decoded]]]] = deque()

    def close(self) -> None:
        """End the threads, after what they are doing now."""
        self._pool.shutdown(cancel_futures=True)

    def add(self, delivered: Delivered) -> None:
        """Begin to decode the objects of `delivered` that are still wanted."""
        items = [item for item in objects_in(delivered.request, delivered.extent) if self._assembler.wants(item.id)]
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

    def _decode(self, delivered: Delivered, items: Sequence[WantedObject]) -> Decoded:
        right: list[ObjectId] = []
        wrong: list[WantedObject] = []
        unreadable: list[tuple[ObjectId, PtmError]] = []
        files: list[Assembly] = []
        for item in items:
            try:
                data = _read(delivered, item)
            except UnsupportedFormat as error:
                unreadable.append((item.id, error))
                continue
            except IntegrityError:
                wrong.append(item)
                continue
            right.append(item.id)
            files += self._assembler.put(item.id, data)
        for file in files:
            finish(self._assembler, file)
        return Decoded(
            delivered=delivered,
            right=tuple(right),
            wrong=tuple(wrong),
            unreadable=tuple(unreadable),
            files=tuple(files),
        )


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


def _read(delivered: Delivered, item: WantedObject) -> bytes:
    start = delivered.start + item.at.offset - delivered.extent.offset
    try:
        descriptor = os.open(delivered.path, os.O_RDONLY)
        try:
            payload = read_at(descriptor, start, item.at.length)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise IntegrityError(f"`{delivered.path}` could not be read: {error.strerror}") from error
    if len(payload) != item.at.length:
        raise IntegrityError(f"`{delivered.path}` ends too early")
    data = codecs.decode(item.at.codec, payload, item.size)
    if object_id(data) != item.id:
        raise IntegrityError(f"`{delivered.path}` holds other bytes than it should")
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
    return Decoded(
        delivered=delivered,
        right=tuple(item for part in parts for item in part.right),
        wrong=tuple(item for part in parts for item in part.wrong),
        unreadable=tuple(item for part in parts for item in part.unreadable),
        files=tuple(file for part in parts for file in part.files),
    )
