"""Turns the stretches that a format names into pieces: fills gaps, joins small neighbours, slices long stretches.

A stretch of 64 KiB or more is never joined, so that equal tensors are equal objects whatever surrounds them. Any two
neighbouring pieces therefore have at least 64 KiB together, so no header can cause more than one piece per 32 KiB.

Keys identify pieces with the same numbers in two versions of a package: 32 hex characters, by which the base of a delta
is looked up. They are compared but never stored, so they are part of no format. A tensor's key follows from its name,
dtype and shape, whatever the file format.
"""

from collections.abc import Iterable, Iterator

from blake3 import blake3

from ptmtorrent.model.manifest import MAX_OBJECT_BYTES
from ptmtorrent.store.cutters.dtypes import BLOCK_BYTES
from ptmtorrent.store.cutters.port import NotThisFormat, Piece

JOIN_BELOW_BYTES = 64 << 10
JOINED_BYTES = 1 << 20

MAX_NAMED = 100_000
"""Limit of tensors or members per file: real models have fewer, and more would exceed the memory of a cutter."""


def cover(stretches: Iterable[Piece], start: int, end: int) -> list[Piece]:
    """Return the pieces of bytes `start` to `end`: the `stretches`, in ascending order, and the gaps around them.

    Raises:
        NotThisFormat: stretches overlap, or are outside the range.
    """
    return list(_sliced(_joined(_filled(stretches, start, end))))


def _filled(stretches: Iterable[Piece], start: int, end: int) -> Iterator[Piece]:
    at = start
    for stretch in stretches:
        if not stretch.length:
            continue
        if stretch.offset < at:
            raise NotThisFormat
        if stretch.offset > at:
            yield Piece(at, stretch.offset - at)
        yield stretch
        at = stretch.offset + stretch.length
    if at > end:
        raise NotThisFormat
    if at < end:
        yield Piece(at, end - at)


def _joined(stretches: Iterable[Piece]) -> Iterator[Piece]:
    """Join neighbours that are each under 64 KiB, up to 1 MiB."""
    run: list[Piece] = []
    size = 0
    for stretch in stretches:
        small = stretch.length < JOIN_BELOW_BYTES
        if run and not (small and size + stretch.length <= JOINED_BYTES):
            yield _one(run, size)
            run, size = [], 0
        if small:
            run.append(stretch)
            size += stretch.length
        else:
            yield stretch
    if run:
        yield _one(run, size)


def _one(run: list[Piece], size: int) -> Piece:
    """Return a run as one piece, whose dtype is that of its members, or None if they differ."""
    if len(run) == 1:
        return run[0]
    dtypes = {piece.dtype for piece in run}
    return Piece(run[0].offset, size, dtypes.pop() if len(dtypes) == 1 else None, run_key(piece.key for piece in run))


def _sliced(stretches: Iterable[Piece]) -> Iterator[Piece]:
    """Cut long stretches at multiples of 16 MiB from their start, rounded down to whole blocks."""
    for stretch in stretches:
        if stretch.length <= MAX_OBJECT_BYTES:
            yield stretch
            continue
        step = MAX_OBJECT_BYTES - MAX_OBJECT_BYTES % BLOCK_BYTES.get(stretch.dtype or "", 1)
        for number, at in enumerate(range(0, stretch.length, step)):
            length = min(step, stretch.length - at)
            key = None if stretch.key is None else slice_key(stretch.key, number)
            yield Piece(stretch.offset + at, length, stretch.dtype, key)


def tensor_key(name: str, dtype: str | None, shape: Iterable[int]) -> str:
    """Return the key of a tensor."""
    return _digest((name, dtype or "", *map(str, shape)))


def slice_key(key: str, number: int) -> str:
    """Return the key of slice `number` of a tensor that is longer than an object may be."""
    return _digest((key, str(number)))


def run_key(members: Iterable[str | None]) -> str | None:
    """Return the key of neighbours that were joined to one piece; None if any of them has no key."""
    named = tuple(members)
    return _digest(key for key in named if key is not None) if None not in named else None


def _digest(parts: Iterable[str]) -> str:
    whole = blake3()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        whole.update(len(data).to_bytes(4, "little") + data)
    return whole.hexdigest(length=16)
