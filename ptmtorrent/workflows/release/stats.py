"""Counts what a release and its subsets hold and what reading them costs, each object and each pack once.

Reading a delta reads its base too, so a base counts wherever the delta counts. An object is counted where it lies: one
that lies in two packs, because a member was kept with the place that it had, counts twice.

Every use of a place is a row of columns: the pack, the offset, the stored length, and a bit for each tally that counts
it. The uses of a release are summed pack by pack, so a later release adds and takes away the uses of what changed.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Capture, Manifest
from ptmtorrent.model.subset import SubsetRule, wants
from ptmtorrent.workflows.release.locate import Places

Column = npt.NDArray[Any]


class PackUse(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Which places of a pack the members use: offsets in order, stored lengths, and for each tally how often."""

    size: int
    offsets: Column
    lengths: Column
    counts: Column

    def stored(self, tally: int) -> int:
        """Return the stored bytes that a tally uses, each place once."""
        return int(self.lengths[self.counts[tally] > 0].sum(dtype=np.int64))

    def is_used(self, tally: int) -> bool:
        """Return whether a tally uses the pack."""
        return bool((self.counts[tally] > 0).any())


@dataclass
class Tally:
    """Sums over packages. `raw` are files, `stored` encoded objects and documents, both in bytes."""

    packages: int = 0
    files: int = 0
    raw: int = 0
    stored: int = 0
    packs: dict[PackId, int] = field(default_factory=dict)

    @property
    def packs_bytes(self) -> int:
        """Bytes of the packs that hold what was added, padding included."""
        return sum(self.packs.values())


class Tallies:
    """One tally for the whole release, hub answers included, and one for each subset, by its rule.

    `before` are sums of the previous release, of which packages were taken away and to which packages are added.
    """

    def __init__(self, rules: Sequence[SubsetRule]) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.name))
        self.whole = Tally()
        self.subsets = tuple((rule, Tally()) for rule in self.rules)
        self._packs: dict[PackId, int] = {}
        self._sizes: list[int] = []
        self._rows = [array("I"), array("I"), array("I"), array("Q")]
        self._signs = array("b")

    def add_package(
        self, capture: Capture, manifest: Manifest, places: Places, *, documents: int, sign: int = 1
    ) -> None:
        """Count a package, its objects and its `documents`, in stored bytes, wherever it is a member.

        -1 as `sign` takes it away.
        """
        bits = [1] * len(manifest.objects)
        self._count(self.whole, manifest.size, len(manifest.files), documents, sign)
        for number, (rule, tally) in enumerate(self.subsets, 1):
            if not rule.takes(capture):
                continue
            files = [file for file in manifest.files if wants(rule.only, file)]
            self._count(tally, sum(file.size for file in files), len(files), documents, sign)
            for file in files:
                for first, count in file.recipe:
                    for row in range(first, first + count):
                        bits[row] |= 1 << number
        self._add_uses(places, bits, sign)

    def finish(self, before: Mapping[PackId, PackUse] | None = None) -> dict[PackId, PackUse]:
        """Sum the uses of every pack that was added to, on top of those `before`; return these packs.

        The tallies of the release have their packs and stored bytes then, if `before` was none.
        """
        used = dict(self._sum(before or {}))
        for number, tally in enumerate((self.whole, *(tally for _, tally in self.subsets))):
            for pack, use in used.items():
                old = (before or {}).get(pack)
                tally.stored += use.stored(number) - (0 if old is None else old.stored(number))
                if use.is_used(number):
                    tally.packs[pack] = use.size
                else:
                    tally.packs.pop(pack, None)
        return used

    def _count(self, tally: Tally, raw: int, files: int, documents: int, sign: int) -> None:
        tally.packages += sign
        tally.files += sign * files
        tally.raw += sign * raw
        tally.stored += sign * documents

    def _add_uses(self, places: Places, bits: list[int], sign: int) -> None:
        packs, offsets, lengths, masks = self._rows
        for place, base, mask in zip(places.objects, places.bases, bits, strict=True):
            for at in (place,) if base is None else (place, base.at):
                number = self._packs.get(at.pack)
                if number is None:
                    number = self._packs[at.pack] = len(self._sizes)
                    self._sizes.append(at.pack_size)
                packs.append(number)
                offsets.append(at.offset)
                lengths.append(at.length)
                masks.append(mask)
                self._signs.append(sign)

    def _sum(self, before: Mapping[PackId, PackUse]) -> Iterator[tuple[PackId, PackUse]]:
        packs, offsets, lengths, masks = (
            np.frombuffer(rows, rows.typecode) if rows else np.zeros(0, rows.typecode) for rows in self._rows
        )
        signs = np.frombuffer(self._signs, np.int8) if self._signs else np.zeros(0, np.int8)
        order = np.argsort(packs, kind="stable")
        bounds = np.searchsorted(packs[order], np.arange(len(self._sizes) + 1))
        for pack, number in sorted(self._packs.items()):
            rows = order[bounds[number] : bounds[number + 1]]
            use = _sum_pack(
                self._sizes[number],
                offsets[rows],
                lengths[rows],
                [
                    ((masks[rows] >> np.uint64(tally)) & np.uint64(1)).astype(np.int64) * signs[rows]
                    for tally in range(len(self.rules) + 1)
                ],
                before.get(pack),
            )
            yield pack, use


def _sum_pack(size: int, offsets: Column, lengths: Column, counts: Sequence[Column], before: PackUse | None) -> PackUse:
    if before is not None:
        offsets = np.concatenate((before.offsets, offsets))
        lengths = np.concatenate((before.lengths, lengths))
        counts = [np.concatenate((old, new)) for old, new in zip(before.counts, counts, strict=True)]
    places, first, inverse = np.unique(offsets, return_index=True, return_inverse=True)
    sums = np.array([np.bincount(inverse, weights=each, minlength=len(places)) for each in counts]).astype(np.int64)
    kept = (sums > 0).any(axis=0)
    return PackUse(size=size, offsets=places[kept], lengths=lengths[first][kept], counts=sums[:, kept])
