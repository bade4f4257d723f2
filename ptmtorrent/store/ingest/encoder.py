"""From the bytes of a piece to an object ready to be appended: by itself, or as a delta against what is here."""

import threading
from collections.abc import Callable, Iterable

from ptmtorrent.model.capture import Rights
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store import codecs
from ptmtorrent.store.cutters import ByteSource, Piece
from ptmtorrent.store.ingest.delta_base import Bases, Declared, keys_of
from ptmtorrent.store.ingest.encode_pool import Coded
from ptmtorrent.store.ingest.files import StoredFile
from ptmtorrent.store.ingest.similarity import sketch

_MAX_KNOWN = 64
"""Files whose keys are remembered."""


class Coder:
    """Codes objects that the store lacks. Thread-safe."""

    def __init__(self, bases: Bases, source: Callable[[StoredFile], ByteSource], *, delta: bool) -> None:
        """`source` reads a stored file; without `delta` every object stands by itself."""
        self._bases = bases
        self._source = source
        self._delta = delta
        self._keys: dict[str, dict[str, ObjectId]] = {}
        self._lock = threading.Lock()

    def code(self, data: memoryview, identifier: ObjectId, piece: Piece, declared: Declared, rights: Rights) -> Coded:
        """Encode an object that is not here as free as `rights`; one that is here at all is no delta the second time.

        Deltas may have been taken against it, and a base is never a delta.
        """
        keys: tuple[int, ...] = ()
        if self._delta and self._bases.find(identifier) is None:
            keys = sketch(data, piece.dtype)
            if (found := self._bases.delta(data, piece, declared, keys, rights)) is not None:
                base, encoded = found
                return Coded(identifier, len(data), encoded, base)
        return Coded(identifier, len(data), codecs.encode(data, piece.dtype), None, keys)

    def declared(self, files: Iterable[StoredFile]) -> Declared:
        """Return where the pieces of `files` lie, by key; the first of a key counts."""
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
