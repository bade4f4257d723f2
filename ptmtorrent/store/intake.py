"""From a cut file to objects: read, encode on two threads, append in file order; memory is bounded by a few pieces."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import msgspec
from blake3 import blake3

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.cutters import Cut
from ptmtorrent.store.files import FileHashes, Steady, changed

IN_FLIGHT = 3
"""Pieces that are read but not yet appended: with 16 MiB each, under 100 MiB with what is made of them."""

INLINE_BYTES = 1 << 20
"""Files up to this size are encoded where they are read: a thread would cost more than it gives."""


class Coded(msgspec.Struct, frozen=True):
    """An object ready to be appended. `payload` is None when the store has it."""

    id: ObjectId
    size: int
    codec: int
    payload: bytes | None


@dataclass(frozen=True)
class Put:
    """What the store lends to an intake: encoding (on any thread), appending (in order), and its workers."""

    encode: Callable[[bytes, str | None], Coded]
    append: Callable[[Coded], None]
    pool: Callable[[], Executor]


def put_pieces(steady: Steady, cut: Cut, hashes: FileHashes, put: Put) -> tuple[tuple[ObjectId, int], ...]:
    """Put the pieces of a file in order; return its objects.

    Raises:
        IntegrityError: the file is no longer the one that was hashed.
    """
    whole = blake3()
    objects: list[tuple[ObjectId, int]] = []
    waiting: deque[Future[Coded]] = deque()

    def append(coded: Coded) -> None:
        put.append(coded)
        objects.append((coded.id, coded.size))

    try:
        for piece in cut.pieces:
            data = steady.source.read(piece.offset, piece.length)
            if len(data) != piece.length:
                raise changed(steady.path)
            whole.update(data)
            if hashes.size <= INLINE_BYTES:
                append(put.encode(data, piece.dtype))
                continue
            waiting.append(put.pool().submit(put.encode, data, piece.dtype))
            if len(waiting) >= IN_FLIGHT:
                append(waiting.popleft().result())
        while waiting:
            append(waiting.popleft().result())
    finally:
        for future in waiting:
            future.cancel()
    steady.check()
    if whole.hexdigest() != hashes.blake3:
        raise changed(steady.path)
    return tuple(objects)
