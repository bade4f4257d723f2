"""Which places of packs the members of a release use, summed in columns.

Every use of a place is a row: the pack, the offset, the stored length, a bit for each tally that counts it, and a sign:
-1 takes a use away. Uses are summed pack by pack, on top of those of an earlier release.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import PackId

Column = npt.NDArray[Any]

_HEAD = 3 * 4


class PackUse(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The places of a pack that are used: offsets in order, stored lengths, and for each tally how often."""

    size: int
    offsets: Column
    lengths: Column
    counts: Column

    @property
    def used(self) -> int:
        """The tallies that use the pack, as bits."""
        return sum(1 << tally for tally, counts in enumerate(self.counts) if counts.any())

    def stored(self, tally: int) -> int:
        """Return the stored bytes that a tally uses, each place once."""
        return int(self.lengths[self.counts[tally] > 0].sum(dtype=np.int64))

    def encode(self) -> bytes:
        """Return the columns as bytes; offsets as their differences, which compress better."""
        head = np.array([self.size, len(self.offsets), len(self.counts)], "<u4")
        gaps = np.diff(self.offsets, prepend=0)
        return b"".join(column.astype("<u4").tobytes() for column in (head, gaps, self.lengths, self.counts))


def decode_use(data: bytes) -> PackUse:
    """Return the columns in `data`.

    Raises:
        IntegrityError: they are of another length than they say.
    """
    size, rows, tallies = np.frombuffer(data[:_HEAD].ljust(_HEAD, b"\0"), "<u4").tolist()
    if len(data) != _HEAD + 4 * rows * (2 + tallies):
        raise IntegrityError("the uses of a pack have another length than they say")
    columns = np.frombuffer(data, "<u4", offset=_HEAD).reshape(2 + tallies, rows).astype(np.int64)
    return PackUse(size=size, offsets=np.cumsum(columns[0]), lengths=columns[1], counts=columns[2:])


class UseRows:
    """Collects uses; `tallies` is the number of bits of a row."""

    def __init__(self, tallies: int) -> None:
        self._tallies = tallies
        self._packs: dict[PackId, int] = {}
        self._sizes: list[int] = []
        self._numbers, self._offsets, self._lengths = array("I"), array("I"), array("I")
        self._bits = array("Q")
        self._signs = array("b")

    def number(self, pack: PackId, size: int) -> int:
        """Return the number of a pack of `size` bytes in the rows."""
        found = self._packs.get(pack)
        if found is None:
            found = self._packs[pack] = len(self._sizes)
            self._sizes.append(size)
        return found

    def add(self, number: int, offset: int, length: int, bits: int, sign: int) -> None:
        """Add a row."""
        self._numbers.append(number)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._bits.append(bits)
        self._signs.append(sign)

    def extend(self, numbers: Column, offsets: Column, lengths: Column, bits: Sequence[int], sign: int) -> None:
        """Add several rows."""
        self._numbers.frombytes(numbers.astype(np.uint32).tobytes())
        self._offsets.frombytes(offsets.astype(np.uint32).tobytes())
        self._lengths.frombytes(lengths.astype(np.uint32).tobytes())
        self._bits.extend(bits)
        self._signs.extend([sign] * len(bits))

    def packs(self) -> list[PackId]:
        """Return the packs that have rows, sorted."""
        return sorted(self._packs)

    def sum(self, before: Mapping[PackId, PackUse]) -> Iterator[tuple[PackId, PackUse]]:
        """Yield every pack that has rows, sorted, with its uses on top of those `before`."""
        numbers = _column(self._numbers)
        order = np.argsort(numbers, kind="stable")
        bounds = np.searchsorted(numbers[order], np.arange(len(self._sizes) + 1))
        offsets, lengths, signs = _column(self._offsets), _column(self._lengths), _column(self._signs)
        bits = _column(self._bits)
        for pack, number in sorted(self._packs.items()):
            rows = order[bounds[number] : bounds[number + 1]]
            counts = [((bits[rows] >> tally) & 1).astype(np.int64) * signs[rows] for tally in range(self._tallies)]
            yield pack, _sum(self._sizes[number], offsets[rows], lengths[rows], counts, before.get(pack))


def _column(rows: array) -> Column:  # type: ignore[type-arg]  # of any integers
    return np.frombuffer(rows, rows.typecode) if rows else np.zeros(0, rows.typecode)


def _sum(size: int, offsets: Column, lengths: Column, counts: Sequence[Column], before: PackUse | None) -> PackUse:
    if before is not None:
        offsets = np.concatenate((before.offsets, offsets))
        lengths = np.concatenate((before.lengths, lengths))
        counts = [np.concatenate((old, new)) for old, new in zip(before.counts, counts, strict=True)]
    places, first, inverse = np.unique(offsets, return_index=True, return_inverse=True)
    sums = np.array([np.bincount(inverse, each, len(places)) for each in counts], np.int64).reshape(-1, len(places))
    kept = (sums > 0).any(axis=0)
    return PackUse(size=size, offsets=places[kept], lengths=lengths[first][kept], counts=sums[:, kept])
