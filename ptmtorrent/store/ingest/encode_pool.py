"""Turns a cut file into objects: read, encode on all cores, append in file order. A few pieces are in memory at a time.

A piece is encoded by itself, or as a delta against an object of the store.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from functools import partial

import msgspec
from blake3 import blake3

from ptmtorrent.errors import StoreError, UsageError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import MAX_OBJECT_BYTES, Rights
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import Encoded
from ptmtorrent.store.codecs.scratch import take_bytes
from ptmtorrent.store.cutters import ByteSource, Piece
from ptmtorrent.store.ingest.delta_base import Bases, Declared, Sketch, keys_of, sketch_all
from ptmtorrent.store.ingest.files import StableFile, changed
from ptmtorrent.store.stored_file import StoredFile

MIN_MEMORY_BYTES = 256 << 20
PROCESS_BYTES = 192 << 20
"""Memory of a process besides pieces: Python, its libraries, and buffers of the files that are hashed (192 MiB)."""

PIECE_BYTES = 4 * MAX_OBJECT_BYTES
"""Memory of a piece in flight: its bytes, those of its base, their encoding, and scratch memory (64 MiB)."""


class Coded(msgspec.Struct, frozen=True):
    """An object ready to be appended. `encoded` is None if the store has it; `keys` are those of its sketch."""

    id: ObjectId
    size: int
    encoded: Encoded | None
    base: ObjectId | None = None
    keys: tuple[int, ...] = ()


@dataclass(frozen=True)
class Put:
    """Access to the store: encoding (on any thread), appending (in order), its worker threads and their number."""

    is_here: Callable[[ObjectId], bool]
    code: Callable[[memoryview, ObjectId, Piece], Coded]
    append: Callable[[Coded], None]
    pool: Executor
    in_flight: int


def pieces_in_flight(memory: int) -> int:
    """Return how many pieces may be in flight for the process to stay below `memory` bytes.

    Raises:
        UsageError: that is too little for one.
    """
    if memory < MIN_MEMORY_BYTES:
        raise UsageError(
            f"{memory} bytes of memory are too little to store weights", hint=f"give {MIN_MEMORY_BYTES} or more"
        )
    return (memory - PROCESS_BYTES) // PIECE_BYTES


def put_pieces(stable: StableFile, pieces: Sequence[Piece], ids: Sequence[ObjectId], put: Put) -> None:
    """Store the pieces of a file in order; their ids are known since it was hashed.

    Raises:
        IntegrityError: the file is no longer the one that was hashed.
    """
    waiting: deque[Future[Coded]] = deque()

    def code(identifier: ObjectId, piece: Piece) -> Coded:
        buffer = take_bytes("piece", MAX_OBJECT_BYTES).data
        name = blake3()
        for block in stable.blocks(piece, buffer):
            name.update(block)
        if name.hexdigest() != identifier:
            raise changed(stable.path)
        return put.code(stable.whole(piece, buffer), identifier, piece)

    try:
        for identifier, piece in dict(zip(ids, pieces, strict=True)).items():
            if put.is_here(identifier):
                continue
            waiting.append(_submit(put.pool, partial(code, identifier, piece)))
            if len(waiting) >= put.in_flight:
                put.append(waiting.popleft().result())
        while waiting:
            put.append(waiting.popleft().result())
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)  # threads that still run read from the file, which is closed next
    stable.check()


def _submit(pool: Executor, work: Callable[[], Coded]) -> Future[Coded]:
    try:
        return pool.submit(work)
    except RuntimeError as error:
        raise StoreError("the store was closed while a file was put into it") from error


_MAX_KNOWN = 64
"""Limit of files whose keys are kept in memory."""


class Coder:
    """Encodes objects that the store lacks. Thread-safe."""

    def __init__(self, bases: Bases, source: Callable[[StoredFile], ByteSource], *, delta: bool) -> None:
        """`source` reads a stored file; without `delta` no object is stored as a delta."""
        self._bases = bases
        self._source = source
        self._delta = delta
        self._keys: dict[str, dict[str, ObjectId]] = {}
        self._lock = threading.Lock()

    def code(self, data: memoryview, identifier: ObjectId, piece: Piece, declared: Declared, rights: Rights) -> Coded:
        """Encode an object that is not here as free as `rights`; one that is here at all is no delta the second time.

        Deltas may have been taken against it, and a base is never a delta.
        """
        sketch = Sketch()
        if self._delta and self._bases.find(identifier) is None:
            sketch = sketch_all(data, piece.dtype)
            if (found := self._bases.delta(data, piece, declared, sketch, rights)) is not None:
                base, encoded = found
                # A transpose is no base, but versions with the same layout are deltas from it.
                keys = sketch.signs if encoded.codec == codecs.TRANSPOSED else ()
                return Coded(identifier, len(data), encoded, base, keys)
        keys = (*sketch.signs, *sketch.turned)
        return Coded(identifier, len(data), codecs.encode(data, piece.dtype), None, keys)

    def declared(self, files: Iterable[StoredFile]) -> Declared:
        """Return the objects of the pieces of `files` by key; the first object of a key counts."""
        declared: dict[str, ObjectId] = {}
        for file in files if self._delta else ():
            declared = {**self._keys_of(file), **declared}
        return declared

    def _keys_of(self, file: StoredFile) -> dict[str, ObjectId]:
        with self._lock:
            known = self._keys.get(file.blake3)
        if known is None:
            known = keys_of(file, self._source(file))
            with self._lock:
                if len(self._keys) >= _MAX_KNOWN:
                    self._keys.clear()
                self._keys[file.blake3] = known
        return known
