"""Counts what a release and its subsets hold and what reading them costs, each object and each pack once.

Reading a delta reads its base too, so a base counts wherever the delta counts. An object is counted where it lies: one
that lies in two packs, because a member was kept with the place that it had, counts twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Capture, Manifest
from ptmtorrent.model.pack_use import PackUse, UseRows
from ptmtorrent.model.subset import SubsetRule, wants
from ptmtorrent.workflows.release.locate import Places, WholePlaces


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

    They start at nothing, or at the sums of the previous release, in the order of the names of the rules.
    """

    def __init__(self, rules: Sequence[SubsetRule], start: Sequence[Tally] | None = None) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.name))
        self.whole, *others = start or [Tally() for _ in range(len(self.rules) + 1)]
        self.subsets = tuple(zip(self.rules, others, strict=True))
        self.uses = UseRows(len(self.rules) + 1)

    def add_package(
        self, capture: Capture, manifest: Manifest, places: Places | WholePlaces, *, documents: int, sign: int = 1
    ) -> None:
        """Count a package, its objects and its `documents`, in stored bytes, wherever it is a member.

        -1 as `sign` takes it away.
        """
        bits = self._count_files(capture, manifest, documents, sign)
        if isinstance(places, WholePlaces):
            numbers = np.array([self.uses.number(*each) for each in places.packed], dtype=np.int64)
            spots = places.spots
            self.uses.extend(numbers[spots.pack], spots.offset, spots.length, bits, sign)
            return
        for place, base, mask in zip(places.objects, places.bases, bits, strict=True):
            for at in (place,) if base is None else (place, base.at):
                self.uses.add(self.uses.number(at.pack, at.pack_size), at.offset, at.length, mask, sign)
        for at in places.whole.values():  # of the release alone: nothing but a package fetched alone reads them
            self.uses.add(self.uses.number(at.pack, at.pack_size), at.offset, at.length, 1, sign)

    def _count_files(self, capture: Capture, manifest: Manifest, documents: int, sign: int) -> list[int]:
        """Count the files wherever the package is a member; return the tallies that each object counts in, as bits."""
        bits = [1] * len(manifest.objects)
        _count(self.whole, manifest.size, len(manifest.files), documents, sign)
        for number, (rule, tally) in enumerate(self.subsets, 1):
            if not rule.takes(capture):
                continue
            files = [file for file in manifest.files if wants(rule.only, file)]
            _count(tally, sum(file.size for file in files), len(files), documents, sign)
            for file in files:
                for first, count in file.recipe:
                    for row in range(first, first + count):
                        bits[row] |= 1 << number
        return bits

    def finish(self, before: Mapping[PackId, PackUse]) -> dict[PackId, PackUse]:
        """Sum the uses of every pack that was added to, on top of those `before`; return these packs.

        The tallies have their packs and stored bytes then.
        """
        used = dict(self.uses.sum(before))
        for number, tally in enumerate((self.whole, *(tally for _, tally in self.subsets))):
            for pack, use in used.items():
                old = before.get(pack)
                tally.stored += use.stored(number) - (0 if old is None else old.stored(number))
                if use.used >> number & 1:
                    tally.packs[pack] = use.size
                else:
                    tally.packs.pop(pack, None)
        return used


def _count(tally: Tally, raw: int, files: int, documents: int, sign: int) -> None:
    tally.packages += sign
    tally.files += sign * files
    tally.raw += sign * raw
    tally.stored += sign * documents
