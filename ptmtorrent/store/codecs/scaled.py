"""The payload of codec 10: blocks of quantised numbers, ordered by the size of their scale.

::

    kind u8 | log2 segment u8 | tail u16 | scales: slots u8, low u8 | numbers: shift u8, slots u8, low u32 |
    period u16 | table | columns | streams | tail

Each segment has the streams of the fields that hold no numbers, then one stream of numbers per class. A reader knows
the classes from the scales, which come first.
"""

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs import kernel, quantised
from ptmtorrent.store.codecs.blocks import SEGMENT_LOG
from ptmtorrent.store.codecs.grouping import BIAS, LEVEL_SHIFT, MAX_SHIFT, MAX_SLOTS, Classes
from ptmtorrent.store.codecs.quantised import Codes, Kind
from ptmtorrent.store.codecs.scratch import Bytes, take_bytes
from ptmtorrent.store.codecs.streams import Streams, read, read_table

MAX_COLUMNS = 1 << 14
"""Limit of weights in a payload, a row of 16,384 numbers."""

_HEAD = struct.Struct("<BBHBBBBIH")
_MAX_LOW = 1 << 18


class Plan(NamedTuple):
    """How blocks are ordered: the classes of the low bytes of scales, if these are split, and those of numbers."""

    kind: Kind
    scales: Classes
    numbers: Classes

    @property
    def period(self) -> int:
        """The groups after which the columns repeat; 0 without columns."""
        return self.numbers.columns.size // self.kind.width

    @property
    def streams(self) -> int:
        """Streams per segment."""
        return self.kind.sides - 1 + self.scales.slots + self.numbers.slots

    def head(self, raw_size: int) -> bytes:
        """Return the head of the payload for `raw_size` bytes: everything before the table."""
        tail, low = raw_size % self.kind.layout.block, self.scales.low - BIAS
        scales, numbers = (self.scales.slots, low), (self.numbers.shift, self.numbers.slots, self.numbers.low)
        return _HEAD.pack(self.kind.mark, SEGMENT_LOG, tail, *scales, *numbers, self.period)


def encode(data: memoryview, plan: Plan) -> tuple[bytes, ...]:
    """Return the payload for `data` in new chunks; together they may be longer than `data`."""
    whole = np.frombuffer(data, np.uint8)
    block = plan.kind.layout.block
    body = len(data) - len(data) % block
    stored = Streams()
    if plan.period:
        stored.add(plan.numbers.columns)
    for segment in plan.kind.layout.segments(body):
        _add_sides(whole[segment], plan, stored)
        _add_numbers(whole[segment], plan, segment.start // block, stored)
    return (plan.head(len(data)) + stored.table(), *stored.chunks, bytes(data[body:]))


def decode(payload: memoryview, raw_size: int) -> bytes:
    """Return the `raw_size` bytes that `encode` was given.

    Raises:
        IntegrityError: the payload is malformed or has the wrong size.
    """
    plan, period = _read_plan(payload, raw_size)
    block, tail = plan.kind.layout.block, raw_size % plan.kind.layout.block
    body = raw_size - tail
    count = plan.streams * sum(1 for _ in plan.kind.layout.segments(body)) + bool(period)
    stored = read_table(payload, _HEAD.size, count, tail)
    if period:
        columns = read(*next(stored), period * plan.kind.width)
        plan = plan._replace(numbers=_with_columns(plan.numbers, columns))
    canvas = io.BytesIO(bytes(raw_size))
    with canvas.getbuffer() as writable:
        target = np.frombuffer(writable, np.uint8)
        for segment in plan.kind.layout.segments(body):
            _fill_sides(target[segment], plan, stored)
            _fill_numbers(target[segment], plan, segment.start // block, stored)
        writable[body:] = payload[len(payload) - tail :]
        del target
    # The buffer is not shared, so `getvalue` returns its memory without a copy.
    return canvas.getvalue()


def _add_sides(segment: Bytes, plan: Plan, stored: Streams) -> None:
    codes: Codes | None = None
    for at, part in enumerate(plan.kind.parts(segment)):
        stream = take_bytes("side", part.size * part.itemsize)
        np.copyto(stream.view(part.dtype).reshape(part.shape), part)
        if at == 1 and codes is not None:
            _add_sorted(stream, codes, plan.scales, 0, stored)
        else:
            stored.add(stream)
        codes = stream.astype(np.int32) if at == 0 and plan.scales.slots > 1 else None


def _add_numbers(segment: Bytes, plan: Plan, first: int, stored: Streams) -> None:
    blocks = segment.reshape(-1, plan.kind.layout.block)
    symbols = take_bytes("symbols", len(blocks) * plan.kind.symbols)
    kernel.chosen_for_scaled().unpack(plan.kind, segment, symbols)
    _add_sorted(symbols, plan.kind.codes(blocks), plan.numbers, first, stored)


def _add_sorted(symbols: Bytes, codes: Codes, classes: Classes, first: int, stored: Streams) -> None:
    grouped = take_bytes("grouped", symbols.size)
    counts = kernel.chosen_for_scaled().tally(codes, classes, symbols.size // len(codes), first)
    kernel.chosen_for_scaled().sort(symbols, codes, classes, first, counts, grouped)
    at = 0
    for many in counts.tolist():
        stored.add(grouped[at : at + many])
        at += many


def _fill_sides(segment: Bytes, plan: Plan, stored: Iterator[tuple[memoryview, bool]]) -> None:
    codes: Codes | None = None
    for at, part in enumerate(plan.kind.parts(segment)):
        size = part.size * part.itemsize
        if at == 1 and codes is not None:
            stream = take_bytes("side", size)
            _read_sorted(stream, codes, plan.scales, 0, stored)
        else:
            stream = read(*next(stored), size)
        np.copyto(part, stream.view(part.dtype).reshape(part.shape))
        codes = stream.astype(np.int32) if at == 0 and plan.scales.slots > 1 else None


def _fill_numbers(segment: Bytes, plan: Plan, first: int, stored: Iterator[tuple[memoryview, bool]]) -> None:
    blocks = segment.reshape(-1, plan.kind.layout.block)
    symbols = take_bytes("symbols", len(blocks) * plan.kind.symbols)
    _read_sorted(symbols, plan.kind.codes(blocks), plan.numbers, first, stored)
    kernel.chosen_for_scaled().pack(plan.kind, symbols, segment)


def _read_sorted(
    symbols: Bytes, codes: Codes, classes: Classes, first: int, stored: Iterator[tuple[memoryview, bool]]
) -> None:
    grouped = take_bytes("grouped", symbols.size)
    counts = kernel.chosen_for_scaled().tally(codes, classes, symbols.size // len(codes), first)
    at = 0
    for many in counts.tolist():
        grouped[at : at + many] = read(*next(stored), many)
        at += many
    kernel.chosen_for_scaled().unsort(grouped, codes, classes, first, counts, symbols)


def _read_plan(payload: memoryview, raw_size: int) -> tuple[Plan, int]:
    """Return the plan that a payload declares, without its columns, and their period."""
    if len(payload) < _HEAD.size:
        raise IntegrityError("a payload of scaled numbers ends inside its head")
    mark, segment_log, tail, scale_slots, scale_low, shift, slots, low, period = _HEAD.unpack_from(payload)
    kind = quantised.BY_MARK.get(mark)
    if kind is None:
        raise IntegrityError(f"a payload of scaled numbers declares blocks of kind {mark}, which does not exist")
    if segment_log != SEGMENT_LOG or tail != raw_size % kind.layout.block:
        raise IntegrityError("the head of a payload of scaled numbers is malformed")
    if not 1 <= scale_slots <= MAX_SLOTS or not 1 <= slots <= MAX_SLOTS or shift > MAX_SHIFT or low > _MAX_LOW:
        raise IntegrityError("a payload of scaled numbers declares too many classes, or none")
    if (
        (scale_slots > 1 and not kind.splits)
        or (period and (not kind.has_columns or shift < LEVEL_SHIFT))
        or period * kind.width > MAX_COLUMNS
    ):
        raise IntegrityError("a payload of scaled numbers declares classes that its kind of blocks cannot have")
    return Plan(kind, Classes(0, BIAS + scale_low, scale_slots), Classes(shift, low, slots)), period


def _with_columns(classes: Classes, columns: Bytes) -> Classes:
    return Classes(classes.shift, classes.low, classes.slots, columns)
