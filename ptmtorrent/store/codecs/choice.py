"""Decides from a sample how quantised numbers are ordered, or that they are not; in integers, as `sampling` does.

The sample is 32,768 symbols, in blocks evenly spread over the object. Compared are the fields of the block as they are,
the joined numbers with classes of a quarter and half an octave, and half an octave with columns.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.codecs import quantised, streams
from ptmtorrent.store.codecs.blocks import SEGMENT_LOG
from ptmtorrent.store.codecs.grouping import BIAS, LEVEL_SHIFT, MAX_SLOTS, Classes, classes_of
from ptmtorrent.store.codecs.quantised import Codes, Kind
from ptmtorrent.store.codecs.scaled import MAX_COLUMNS, Plan
from ptmtorrent.store.codecs.scratch import Bytes
from ptmtorrent.store.codecs.words import logarithms

MIN_BYTES = 1 << 14
"""Shorter objects are too small for tables of their own for each class."""

MAX_PERIOD = MAX_COLUMNS // 32
SAMPLE_SYMBOLS = 1 << 15
SAMPLE_ROWS = 256
SHIFTS = (8, 9)
"""Classes of a quarter and half an octave."""

COLUMN_SHIFT = 9
WRITTEN_SLOTS = 16
"""With more, a sample has too few numbers of each class to tell what they cost."""

MIN_ROWS = 64
_WINDOW = 1024
_MIN_PERIOD = 4
_EDGE = 128
"""Classes below or above this part of a sample are joined with their neighbours."""

_SYMBOL_BITS = 4 << 8
"""What a value in use costs in the table of a frame, in 1/256 bits."""


def plan_for(data: memoryview, kind: Kind) -> Plan | None:
    """Return how to order the numbers of `data`; None if that saves less than 0.5 %, or `data` is short."""
    blocks = np.frombuffer(data, np.uint8, len(data) - len(data) % kind.layout.block).reshape(-1, kind.layout.block)
    many = min(len(blocks), SAMPLE_SYMBOLS // kind.symbols)
    if len(data) < MIN_BYTES:
        return None
    index = np.arange(many, dtype=np.int64) * len(blocks) // many
    sample = np.ascontiguousarray(blocks[index])
    symbols = np.empty(many * kind.symbols, np.uint8)
    quantised.unpack(kind, sample.reshape(-1), symbols)
    codes = kind.codes(sample)
    scale = len(blocks) * 256 // many
    segments = -(-len(data) >> SEGMENT_LOG)
    costs = [(_cost(_plain(kind, sample), None, scale, segments) * 199 // 200, -1)]
    found: list[Classes] = []
    for classes in _candidates(kind, blocks, codes, index):
        ranks = classes_of(_levels(kind, codes, classes.columns, index), classes)
        extra = classes.columns.size * 4 << 16
        costs.append((_cost([symbols], ranks, scale, segments) + extra, len(found)))
        found.append(classes)
    best = min(costs)[1]
    return None if best < 0 else Plan(kind, _scales(kind, sample), found[best])


def period_of(codes: Codes) -> int:
    """Return the groups after which scales repeat best, which are a row of a matrix; 0 if they do not repeat."""
    lags = min(MAX_PERIOD, len(codes) // 4)
    window = min(_WINDOW, len(codes) - lags - 2)
    if lags < _MIN_PERIOD or window < MIN_ROWS:
        return 0
    bent = codes[: window + lags + 2].astype(np.int64)
    around = 2 * bent[1:-1] - bent[:-2] - bent[2:]
    shifted = np.lib.stride_tricks.sliding_window_view(around, window)
    likeness = np.einsum("ij,j->i", shifted[1 : lags + 1], around[:window])
    own = int(around[:window] @ around[:window])
    likeness[: _MIN_PERIOD - 1] = 0
    best = int(likeness.max())
    if 20 * best < own:
        return 0
    return int(np.flatnonzero(10 * likeness >= 8 * best)[0]) + 1


def _candidates(kind: Kind, blocks: Bytes, codes: Codes, index: npt.NDArray[np.int64]) -> Iterator[Classes]:
    for shift in SHIFTS:
        yield _classes((codes + BIAS) >> shift, shift)
    period = period_of(kind.codes(blocks[: _WINDOW + MAX_PERIOD])) if kind.has_columns else 0
    if not period or len(blocks) < MIN_ROWS * period:
        return
    columns = _columns(kind, blocks, period)
    yield _classes(_levels(kind, codes, columns, index) >> COLUMN_SHIFT, COLUMN_SHIFT, columns)


def _classes(levels: npt.NDArray[np.int32], shift: int, columns: Bytes | None = None) -> Classes:
    """Return the classes that cover all but the edges of `levels`."""
    ordered = np.sort(levels)
    edge = ordered.size // _EDGE
    low, high = int(ordered[edge]), int(ordered[-1 - edge])
    slots = min(high - low + 1, WRITTEN_SLOTS)
    return Classes(shift, low, slots) if columns is None else Classes(shift, low, slots, columns)


def _columns(kind: Kind, blocks: Bytes, period: int) -> Bytes:
    """Return the weight of each column: the logarithm of its mean size in eighths, least weight zero."""
    rows = len(blocks) // period
    many = min(rows, SAMPLE_ROWS)
    chosen = np.arange(many, dtype=np.int64) * rows // many
    sample = blocks[: rows * period].reshape(rows, -1)[chosen].reshape(-1, kind.layout.block)
    symbols = np.empty(len(sample) * kind.symbols, np.uint8)
    quantised.unpack(kind, sample.reshape(-1), symbols)
    numbers = symbols.reshape(len(sample), -1).astype(np.int64)
    sizes = np.abs((numbers ^ 128) - 128)
    codes = kind.codes(sample).astype(np.int64)
    sizes *= ((codes & 1023 | 1024) << np.minimum(codes >> 10, 30))[:, None]
    sums = np.maximum(sizes.reshape(many, -1).sum(axis=0), 1)
    down = np.maximum(np.frexp(sums.astype(np.float64))[1].astype(np.int64) - 15, 0)
    weights = 8 * down + (logarithms()[sums >> down] >> 5)
    columns: Bytes = np.clip(weights - weights.min(), 0, 255).astype(np.uint8)
    return columns


def _levels(kind: Kind, codes: Codes, columns: Bytes, index: npt.NDArray[np.int64]) -> Codes:
    """Return a number for each symbol of the blocks at `index`: its group's code, less the weight of its column."""
    levels = np.repeat(codes + BIAS, kind.width)
    if columns.size:
        weights = columns.reshape(-1, kind.width)
        levels -= weights[index % len(weights)].reshape(-1).astype(np.int32) << LEVEL_SHIFT
    return levels


def _plain(kind: Kind, sample: Bytes) -> list[Bytes]:
    """Return the fields of numbers as the codec of fields stores them."""
    found, at = [], 0
    for number, field in enumerate(kind.layout.fields):
        if number in kind.numbers:
            found.append(sample[:, at : at + field.width].reshape(-1))
        at += field.width
    return found


def _cost(parts: list[Bytes], ranks: Bytes | None, scale: int, segments: int) -> int:
    """Return the cost of the whole object's numbers in 1/65536 bits, tables included."""
    total = 0
    for part in parts:
        rows = np.zeros(part.size, np.int64) if ranks is None else ranks.astype(np.int64) << 8
        counts = np.bincount(rows | part, minlength=MAX_SLOTS << 8).reshape(-1, 256).astype(np.int64, copy=False)
        counts = counts[counts.any(axis=1)]
        total += streams.cost(counts) * scale + int(np.count_nonzero(counts)) * _SYMBOL_BITS * 256 * segments
    return total


def _scales(kind: Kind, sample: Bytes) -> Classes:
    """Return the classes by which low bytes of scales are split: those of their high bytes."""
    if not kind.splits or len(sample) < SAMPLE_ROWS:
        return Classes(0, BIAS, 1)
    return _classes(sample[:, 1].astype(np.int32) + BIAS, 0)
