"""Finding an object to take a delta against: one that is declared to be its base, or one that looks alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ptmtorrent.errors import PtmError
from ptmtorrent.model.capture import Rights
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import Encoded
from ptmtorrent.store.cutters import KEYLESS, ByteSource, Piece, cut_as
from ptmtorrent.store.index import Found
from ptmtorrent.store.ingest.files import StoredFile
from ptmtorrent.store.pack.classes import RIGHTS

MIN_BYTES = 4 << 10
"""Shorter objects are no deltas: what would be saved is less than what knowing the base costs a reader."""

MAX_SIMILAR = 2

Declared = Mapping[str, ObjectId]
"""By key of a piece: the object that holds the same numbers in a version that is declared to be the base."""


@dataclass(frozen=True)
class Bases:
    """What the store lends: where an object lies, its bytes, and which ones share a key of its sketch."""

    find: Callable[[ObjectId], Found | None]
    read: Callable[[ObjectId], bytes]
    similar_objects: Callable[[Sequence[int], int], list[ObjectId]]

    def delta(
        self, data: memoryview, piece: Piece, declared: Declared, keys: Sequence[int], rights: Rights
    ) -> tuple[ObjectId, Encoded] | None:
        """Return `data` as a delta and its base, if there is one against which it pays.

        Only objects that are as free as `rights`, and no deltas themselves, are bases.
        """
        if piece.dtype not in codecs.DELTA_DTYPES or len(data) < MIN_BYTES:
            return None
        for found in self._candidates(declared.get(piece.key or ""), keys):
            if found.entry.raw != len(data) or RIGHTS.index(found.rights) > RIGHTS.index(rights):
                continue
            with suppress(PtmError):  # a base that cannot be read is none
                encoded = codecs.encode_delta(data, self.read(found.entry.id), piece.dtype)
                if encoded is not None:
                    return found.entry.id, encoded
        return None

    def _candidates(self, declared: ObjectId | None, keys: Sequence[int]) -> Iterator[Found]:
        seen: set[ObjectId] = set()
        alike = self.similar_objects(keys, MAX_SIMILAR) if keys else []
        for identifier in (*([declared] if declared else []), *alike):
            found = self.find(identifier)
            if found is not None and found.entry.base is not None:
                found = self.find(found.entry.base)
            if found is not None and found.entry.base is None and found.entry.id not in seen:
                seen.add(found.entry.id)
                yield found


def keys_of(file: StoredFile, source: ByteSource) -> dict[str, ObjectId]:
    """Return the objects of a stored file by the keys of its pieces: it is cut again, which reads its header alone."""
    if file.cutter in KEYLESS:
        return {}
    with suppress(PtmError):
        pieces = cut_as(file.cutter, source, "").pieces
        if [piece.length for piece in pieces] == [size for _, size in file.objects]:
            named = zip(pieces, file.objects, strict=True)
            return {piece.key: identifier for piece, (identifier, _) in named if piece.key is not None}
    return {}
