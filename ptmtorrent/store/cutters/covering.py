"""From what a format names to pieces: gaps filled, small neighbours joined, long stretches sliced.

A stretch of 64 KiB or more is never joined with anything, so that equal tensors are equal objects whatever lies around
them. Two neighbouring pieces therefore have 64 KiB together, and no header can ask for more pieces than one for each
32 KiB of the file.
"""

from collections.abc import Iterable, Iterator

from ptmtorrent.model.manifest import MAX_OBJECT_BYTES
from ptmtorrent.store.cutters.dtypes import BLOCK_BYTES
from ptmtorrent.store.cutters.keys import run_key, slice_key
from ptmtorrent.store.cutters.port import NotMine, Piece

JOIN_BELOW_BYTES = 64 << 10
JOINED_BYTES = 1 << 20

MAX_NAMED = 100_000
"""Tensors or members of one file. More are no model, and their list would not fit the memory a cutter may use."""


def cover(stretches: Iterable[Piece], start: int, end: int) -> list[Piece]:
    """Return the pieces of bytes `start` to `end`: the `stretches`, which ascend, and the gaps around them.

    Raises:
        NotMine: stretches overlap, or leave the range.
    """
    return list(_sliced(_joined(_filled(stretches, start, end))))


def _filled(stretches: Iterable[Piece], start: int, end: int) -> Iterator[Piece]:
    at = start
    for stretch in stretches:
        if not stretch.length:
            continue
        if stretch.offset < at:
            raise NotMine
        if stretch.offset > at:
            yield Piece(at, stretch.offset - at)
        yield stretch
        at = stretch.offset + stretch.length
    if at > end:
        raise NotMine
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
    """Make a run one piece; one of more than one dtype has none."""
    if len(run) == 1:
        return run[0]
    dtypes = {piece.dtype for piece in run}
    return Piece(run[0].offset, size, dtypes.pop() if len(dtypes) == 1 else None, run_key(piece.key for piece in run))


def _sliced(stretches: Iterable[Piece]) -> Iterator[Piece]:
    """Cut long stretches at multiples of 16 MiB from their starts, or of the most whole blocks that 16 MiB have."""
    for stretch in stretches:
        if stretch.length <= MAX_OBJECT_BYTES:
            yield stretch
            continue
        step = MAX_OBJECT_BYTES - MAX_OBJECT_BYTES % BLOCK_BYTES.get(stretch.dtype or "", 1)
        for number, at in enumerate(range(0, stretch.length, step)):
            length = min(step, stretch.length - at)
            key = None if stretch.key is None else slice_key(stretch.key, number)
            yield Piece(stretch.offset + at, length, stretch.dtype, key)
