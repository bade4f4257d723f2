"""The payload of codec 11: blocks of bytes whose file says nothing of them, each taken for what a sample shows.

::

    log2 block u8 | zeros u8 x 3 | kind u8 x blocks | table u32 x streams | streams | loose bytes

A block of bytes is one stream. One of words has a stream for each byte of a word, most significant first; what lies
before its first word and after its last one is among the loose bytes.
"""

import io
from collections.abc import Iterator, Sequence

import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.codecs import kernel, widths
from ptmtorrent.store.codecs.scratch import Bytes, take_bytes
from ptmtorrent.store.codecs.streams import Streams, read, read_table
from ptmtorrent.store.codecs.widths import KINDS, Kind

MIN_BYTES = 1 << 16
"""Shorter objects are not sampled."""

BLOCK_LOG = 18
_HEAD = bytes([BLOCK_LOG, 0, 0, 0])


def kinds_of(data: memoryview) -> list[Kind] | None:
    """Return what to take each block of `data` for; None if all of it is bytes."""
    every = np.frombuffer(data, np.uint8)
    kinds = [widths.kind_of(every[block]) for block in _blocks(len(data))]
    return kinds if any(kind.width > 1 for kind in kinds) else None


def repeats(data: memoryview, kinds: Sequence[Kind]) -> bool:
    """Return whether repetitions may make `data` shorter than `kinds` do: a block is bytes, or its sample repeats."""
    every = np.frombuffer(data, np.uint8)
    return Kind(1) in kinds or any(widths.repeats(every[block]) for block in _blocks(len(data)))


def encode(data: memoryview, kinds: Sequence[Kind]) -> tuple[bytes, ...]:
    """Return the payload for `data`, whose blocks are taken for `kinds`, in new chunks."""
    every = np.frombuffer(data, np.uint8)
    stored = Streams()
    loose: list[bytes] = []
    for kind, at in zip(kinds, _blocks(len(data)), strict=True):
        block = every[at]
        if kind.width == 1:
            stored.add_general(block)
            continue
        body = _body(kind, block.size)
        for plane in _split(kind, block[body]):
            stored.add(plane)
        loose += (block[: body.start].tobytes(), block[body.stop :].tobytes())
    numbers = bytes(KINDS.index(kind) for kind in kinds)
    return (_HEAD + numbers + stored.table(), *stored.chunks, b"".join(loose))


def decode(payload: memoryview, raw_size: int) -> bytes:
    """Return the `raw_size` bytes that `encode` was given.

    Raises:
        IntegrityError: the payload is malformed or has the wrong size.
    """
    blocks = list(_blocks(raw_size))
    start = len(_HEAD) + len(blocks)
    numbers = bytes(payload[len(_HEAD) : start])
    if payload[: len(_HEAD)] != _HEAD or len(numbers) != len(blocks):
        raise IntegrityError("the head of a payload of sampled blocks is malformed")
    if max(numbers, default=0) >= len(KINDS):
        raise IntegrityError("a payload of sampled blocks declares a kind of blocks that does not exist")
    kinds = [KINDS[number] for number in numbers]
    sizes = [block.stop - block.start for block in blocks]
    loose = sum(size - _length(_body(kind, size)) for kind, size in zip(kinds, sizes, strict=True))
    stored = read_table(payload, start, sum(kind.width for kind in kinds), loose)
    rest = np.frombuffer(payload[len(payload) - loose :], np.uint8)
    canvas = io.BytesIO(bytes(raw_size))
    with canvas.getbuffer() as writable:
        target = np.frombuffer(writable, np.uint8)
        for kind, block in zip(kinds, blocks, strict=True):
            rest = _join(kind, stored, target[block], rest)
        del target
    return canvas.getvalue()


def _blocks(size: int) -> Iterator[slice]:
    for start in range(0, size, 1 << BLOCK_LOG):
        yield slice(start, min(start + (1 << BLOCK_LOG), size))


def _body(kind: Kind, size: int) -> slice:
    """Return the part of a block of `size` bytes that is whole words."""
    phase = min(kind.phase, size)
    return slice(phase, size - (size - phase) % kind.width)


def _length(part: slice) -> int:
    length: int = part.stop - part.start
    return length


def _split(kind: Kind, body: Bytes) -> list[Bytes]:
    """Return the planes of a block, valid until the next call."""
    planes = list(take_bytes("planes", body.size).reshape(kind.width, -1))
    kernel.chosen().split(body, planes, kind.rotated)
    return planes


def _join(kind: Kind, stored: Iterator[tuple[memoryview, bool]], target: Bytes, rest: Bytes) -> Bytes:
    """Write a block to `target`; return what is left of the loose bytes `rest`."""
    if kind.width == 1:
        target[:] = read(*next(stored), target.size)
        return rest
    body = _body(kind, target.size)
    before, after = body.start, target.size - body.stop
    planes = [read(*next(stored), _length(body) // kind.width) for _ in range(kind.width)]
    kernel.chosen().join(planes, target[body], kind.rotated)
    target[:before] = rest[:before]
    target[body.stop :] = rest[before : before + after]
    return rest[before + after :]
