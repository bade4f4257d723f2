"""Damages valid files in ways that break parsers, and checks the cutters' results."""

import random
import re
import struct
from collections.abc import Callable, Mapping

import msgspec

from ptmtorrent.store.cutters import Cut, MemorySource, cut
from tests.store.cutters.samples import Sample, among, contents, covers, cut_sample

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_DIGITS = re.compile(rb"[0-9]+")
_NEAR_BYTES = 4096


class Target(msgspec.Struct, frozen=True):
    """A valid file and its hot places: where its headers are, found by how it is cut when nothing is wrong."""

    sample: Sample
    hot: tuple[tuple[int, int], ...]


class Wrong(msgspec.Struct, frozen=True):
    """A counterexample: the file, and what was wrong."""

    sample: Sample
    why: str


def target(sample: Sample) -> Target:
    """Find the hot places: all that has no numbers, or the edges where everything has."""
    spans = [(piece.offset, piece.offset + piece.length) for piece in cut_sample(sample).pieces if piece.dtype is None]
    size = len(sample.data)
    return Target(sample, tuple(spans) or ((0, min(size, _NEAR_BYTES)), (max(0, size - _NEAR_BYTES), size)))


def mutate(aim: Target, others: list[bytes], rng: random.Random) -> Sample:
    """Return the file with one to four things wrong; for a file with another beside it, mostly in that one."""
    sample = aim.sample
    if sample.beside and rng.random() < 0.8:
        beside = {path: _damage(data, ((0, len(data)),), others, rng) for path, data in sample.beside.items()}
        return Sample(sample.name, sample.data, sample.cutter, beside)
    return Sample(sample.name, _damage(sample.data, aim.hot, others, rng), sample.cutter, sample.beside)


def check(sample: Sample) -> tuple[Cut | None, str]:
    """Cut a file; return the cut, and what is wrong with it if anything is."""
    try:
        found = cut(MemorySource(sample.data), sample.name, among(sample.beside))
    except Exception as error:  # noqa: BLE001  # nothing may be raised, whatever it is
        return None, f"raised {error!r}"
    if not covers(found.pieces, len(sample.data)):
        return found, "the pieces do not cover the file, or are too many or too long"
    if b"".join(contents(sample.data, found)) != sample.data:
        return found, "the pieces do not make the file"
    return found, ""


def _damage(data: bytes, hot: tuple[tuple[int, int], ...], others: list[bytes], rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start, end = rng.choice(hot) if rng.random() < 0.9 else (0, len(out))
        at = min(rng.randrange(start, max(end, start + 1)), len(out))
        rng.choice(_WAYS)(out, at, others, rng)
    return bytes(out)


def _flip(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:  # noqa: ARG001
    if at < len(out):
        out[at] ^= 1 << rng.randrange(8)


def _set(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:  # noqa: ARG001
    out[at : at + 1] = bytes([rng.randrange(256)])


def _lie(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:  # noqa: ARG001
    """Overwrite a count, length or offset by an extreme, by its neighbour, or by a place in the file."""
    form, width = rng.choice((("<H", 2), ("<I", 4), ("<Q", 8)))
    old = int.from_bytes(out[at : at + width], "little")
    value = rng.choice((*EXTREMES, old - 1, old + 1, old * 2, len(out), len(out) - at, rng.randrange(len(out) + 1)))
    out[at : at + width] = struct.pack(form, value % (1 << 8 * width))


def _lie_in_digits(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:
    found = _DIGITS.search(out, at, at + 200)
    if found is None:
        _lie(out, at, others, rng)
        return
    old = int(found[0][:18])
    out[found.start() : found.end()] = str(rng.choice((*EXTREMES, old - 1, old + 1, -old, 10**40))).encode()


def _cut_off(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:  # noqa: ARG001
    del out[at:]


def _drop(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:  # noqa: ARG001
    del out[at : at + rng.choice((1, 2, 8, 64, 4096))]


def _repeat(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:  # noqa: ARG001
    stretch = out[at : at + rng.choice((1, 4, 40, 400, 100_000))]
    out[at:at] = stretch * rng.choice((1, 1, 3))


def _move(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:  # noqa: ARG001
    stretch = out[at : at + rng.choice((4, 40, 400))]
    target = rng.randrange(len(out) + 1)
    out[target : target + len(stretch)] = stretch


def _splice(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:
    """Put a stretch of another file here, or all of it: a file in a file."""
    other = rng.choice(others)
    start = rng.choice((0, rng.randrange(len(other))))
    stretch = other[start : start + rng.choice((8, 100, 5000, len(other)))]
    out[at : at + rng.choice((0, len(stretch)))] = stretch


def _extend(out: bytearray, at: int, others: list[bytes], rng: random.Random) -> None:  # noqa: ARG001
    out += rng.choice((b"\0", b"\xff" * 64, bytes(rng.randrange(1, 70_000))))


_WAYS: tuple[Callable[[bytearray, int, list[bytes], random.Random], None], ...] = (
    *(_flip, _flip, _set, _lie, _lie, _lie, _lie_in_digits, _lie_in_digits),
    *(_cut_off, _drop, _repeat, _move, _splice, _extend),
)


class Tally(msgspec.Struct):
    """What came of the mutations of one sample: how many, and by which cutter they were cut."""

    mutations: int = 0
    cutters: dict[str, int] = {}

    def add(self, found: Cut) -> None:
        """Count one more."""
        self.mutations += 1
        self.cutters[found.cutter] = self.cutters.get(found.cutter, 0) + 1


def fuzz(name: str, targets: Mapping[str, Target], count: int, seed: int) -> tuple[Tally, Wrong | None]:
    """Check `count` mutations of one sample; stop at the first that is wrong."""
    rng = random.Random(f"{name} {seed}")
    others = [aim.sample.data for aim in targets.values()]
    tally = Tally()
    for _ in range(count):
        sample = mutate(targets[name], others, rng)
        found, why = check(sample)
        if found is None or why:
            return tally, Wrong(sample, why)
        tally.add(found)
    return tally, None
