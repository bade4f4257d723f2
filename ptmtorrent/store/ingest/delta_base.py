"""Finds the base of a delta: the object with the same key in a declared base, one with a similar sketch, a transpose.

Sketches are small keys that find the base of a fine-tune that declares none. Training changes numbers slightly and
rarely changes their sign, so the signs at a few fixed positions stay the same. They are taken in bands: one flipped
sign changes the key of its own band only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from blake3 import blake3

from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import Encoded
from ptmtorrent.store.cutters import KEYLESS, ByteSource, Piece, cut_as
from ptmtorrent.store.index import Found
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.stored_file import StoredFile

MIN_BYTES = 4 << 10
"""Shorter objects are not stored as deltas: a reader's cost of the base exceeds the saving."""

MAX_SIMILAR = 2

Declared = Mapping[str, ObjectId]
"""By key of a piece: the object with the same numbers in a declared base."""


@dataclass(frozen=True)
class Bases:
    """Access to the store: the location of an object, its bytes, and the objects that share a key of its sketch."""

    find: Callable[[ObjectId], Found | None]
    read: Callable[[ObjectId], bytes]
    similar_objects: Callable[[Sequence[int], int], list[ObjectId]]

    def delta(
        self, data: memoryview, piece: Piece, declared: Declared, sketch: "Sketch", rights: Rights
    ) -> tuple[ObjectId, Encoded] | None:
        """Return `data` as a transpose or a delta, and its base; None if no base makes that worthwhile.

        Only objects that are as free as `rights`, and no deltas themselves, are bases.
        """
        dtype = piece.dtype
        if dtype not in codecs.DELTA_DTYPES or dtype is None or len(data) < MIN_BYTES:
            return None
        turned = ((base, None) for base in self._turned(sketch.turned))
        for base, layout in (*turned, *self._candidates(declared.get(piece.key or ""), sketch.signs)):
            if base.entry.raw != len(data) or RIGHTS.index(base.rights) > RIGHTS.index(rights):
                continue
            with suppress(PtmError):  # a base that cannot be read is not used
                encoded = self._encode(data, dtype, base, layout)
                if encoded is not None:
                    return base.entry.id, encoded
        return None

    def _encode(self, data: memoryview, dtype: str, base: Found, layout: ObjectId | None) -> Encoded | None:
        """Return `data` against `base`: as its transpose without `layout`, else as a delta to the object `layout`."""
        old = memoryview(self.read(base.entry.id))
        if layout is None:
            return codecs.encode_transpose(data, old, dtype)
        if layout == base.entry.id:
            return codecs.encode_delta(data, old, dtype)
        return codecs.encode_turned_delta(data, old, memoryview(self.read(layout)), dtype)

    def _turned(self, keys: Sequence[int]) -> Iterator[Found]:
        for identifier in self.similar_objects(keys, MAX_SIMILAR) if keys else ():
            found = self.find(identifier)
            if found is not None and found.entry.base is None:
                yield found

    def _candidates(self, declared: ObjectId | None, keys: Sequence[int]) -> Iterator[tuple[Found, ObjectId]]:
        """Yield bases, each with the object whose numbers lie as those of the new one: itself, or a transpose of it."""
        seen: set[ObjectId] = set()
        alike = self.similar_objects(keys, MAX_SIMILAR) if keys else []
        for identifier in (*([declared] if declared else []), *alike):
            found = layout = self.find(identifier)
            if found is not None and found.entry.base is not None:
                found = self.find(found.entry.base)
            if found is None or layout is None or found.entry.base is not None:
                continue
            laid = layout.entry.id if layout.entry.codec == codecs.TRANSPOSED else found.entry.id
            if laid not in seen:
                seen.add(laid)
                yield found, laid


def keys_of(file: StoredFile, source: ByteSource) -> dict[str, ObjectId]:
    """Return the objects of a stored file by the keys of its pieces: it is cut again, which reads only its header."""
    if file.cutter in KEYLESS:
        return {}
    with suppress(PtmError):
        pieces = cut_as(file.cutter, source, "").pieces
        if [piece.length for piece in pieces] == [size for _, size in file.objects]:
            named = zip(pieces, file.objects, strict=True)
            return {piece.key: identifier for piece, (identifier, _) in named if piece.key is not None}
    return {}


MIN_SKETCH_BYTES = 64 << 10
"""Shorter objects (below 64 KiB) have no sketch: the saving is not worth the rows in the index."""

BANDS = 4
BAND_SIGNS = 32
MIN_MINORITY = 8
"""A band with fewer signs of either kind is not used: norms, biases, padding and masks are all alike."""

_SIGNS = BANDS * BAND_SIGNS
_WIDTHS: Mapping[str, int] = MappingProxyType({"BF16": 2, "F16": 2, "F32": 4})
_SPREAD = np.arange(_SIGNS, dtype=np.int64)
_JITTER = _SPREAD * 0x9E3779B1
"""Steps of the golden ratio: with equal steps all numbers could come from one column of a matrix."""


def sketch(data: bytes | memoryview, dtype: str | None) -> tuple[int, ...]:
    """Return up to four signed 64-bit keys of an object; two objects that share one are compared.

    A key stands for dtype, length and the signs of 32 numbers. With noise of 2 % of the numbers' spread, more than 99
    in 100 objects share a key with what they were; unrelated ones do once in 2^30 pairs. There are none for an object
    below 64 KiB, for a dtype no delta is taken of, or where the numbers have one sign. The same on every machine.
    """
    width = _WIDTHS.get(dtype or "")
    if width is None or memoryview(data).nbytes < MIN_SKETCH_BYTES:
        return ()
    view = np.frombuffer(data, dtype=np.uint8)
    step = view.size // width // _SIGNS
    numbers = _SPREAD * step + _JITTER % step
    signs = np.packbits(view[numbers * width + (width - 1)] >> 7).tobytes()
    head = f"{dtype} {view.size} ".encode()
    bands = (signs[at : at + BAND_SIGNS // 8] for at in range(0, len(signs), BAND_SIGNS // 8))
    return tuple(_key(head, number, band) for number, band in enumerate(bands) if _tells(band))


class Sketch(NamedTuple):
    """The keys of an object: those of `signs`, by which versions are found, and `turned`, by which transposes are."""

    signs: tuple[int, ...] = ()
    turned: tuple[int, ...] = ()


def sketch_all(data: memoryview, dtype: str | None) -> Sketch:
    """Return the keys of an object; none of either sort below 64 KiB, and for a dtype without deltas."""
    if dtype is None or dtype not in _WIDTHS or len(data) < MIN_SKETCH_BYTES:
        return Sketch()
    head = f"transpose {dtype} {len(data)} ".encode()
    return Sketch(sketch(data, dtype), (_key(head, 0, _unordered(data, _WIDTHS[dtype])),))


def _unordered(data: memoryview, width: int) -> bytes:
    """Return what a matrix and its transpose have in common: first and last number, and all numbers XORed."""
    groups = np.frombuffer(data, "<u8", len(data) // 8)
    folded = np.bitwise_xor.reduce(groups).tobytes() + data[8 * groups.size :]
    numbers = np.frombuffer(folded, f"<u{width}", len(folded) // width)
    total: bytes = np.bitwise_xor.reduce(numbers).tobytes()
    return total + data[:width] + data[len(data) - width :]


def _tells(band: bytes) -> bool:
    minus = int.from_bytes(band).bit_count()
    return MIN_MINORITY <= minus <= BAND_SIGNS - MIN_MINORITY


def _key(head: bytes, number: int, band: bytes) -> int:
    return int.from_bytes(blake3(head + bytes([number]) + band).digest(8), "little", signed=True)
