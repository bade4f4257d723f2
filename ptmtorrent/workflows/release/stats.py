"""Counts what a release and its subsets hold and what reading them costs, each object and each pack once.

Reading a delta reads its base too, so a base counts wherever the delta counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Capture, FileEntry, Manifest
from ptmtorrent.model.placement import Location
from ptmtorrent.model.subset import SubsetRule, wants
from ptmtorrent.workflows.release.locate import Places

_KEY_DIGITS = 32
"""Half of a hash tells objects apart, and halves what a release of millions of them needs in memory."""


@dataclass
class Tally:
    """Sums over the packages added so far. `raw` are files, `stored` encoded objects, both in bytes."""

    packages: int = 0
    files: int = 0
    raw: int = 0
    stored: int = 0
    packs: dict[PackId, int] = field(default_factory=dict)
    _seen: set[bytes] = field(default_factory=set)

    @property
    def packs_bytes(self) -> int:
        """Bytes of the packs that hold what was added, padding included."""
        return sum(self.packs.values())

    def add_files(self, manifest: Manifest, places: Places, files: list[FileEntry]) -> None:
        """Count one package of which `files` are read."""
        self.packages += 1
        self.files += len(files)
        for file in files:
            self.raw += file.size
            for row in manifest.objects_of(file.recipe):
                self.add_row(manifest, places, row)

    def add_row(self, manifest: Manifest, places: Places, row: int) -> None:
        """Count one object of a package, and its base."""
        self.add_object(manifest.objects[row][0], places.objects[row])
        if (base := places.bases[row]) is not None:
            self.add_object(base.id, base.at)

    def add_object(self, identifier: ObjectId, place: Location) -> None:
        """Count the stored bytes of one object, unless it was counted before."""
        key = bytes.fromhex(identifier[:_KEY_DIGITS])
        if key in self._seen:
            return
        self._seen.add(key)
        self.stored += place.length
        self.packs[place.pack] = place.pack_size


class Tallies:
    """One tally for the whole release, hub answers included, and one for each subset, by its rule."""

    def __init__(self, rules: Sequence[SubsetRule]) -> None:
        self.whole = Tally()
        self.subsets = tuple((rule, Tally()) for rule in sorted(rules, key=lambda rule: rule.name))

    def add_package(self, capture: Capture, manifest: Manifest, places: Places, *, documents: int) -> None:
        """Count a package, its objects and its `documents`, in stored bytes, wherever it is a member."""
        self.whole.stored += documents
        self.whole.add_files(manifest, places, list(manifest.files))
        for row in range(len(manifest.objects)):
            self.whole.add_row(manifest, places, row)
        for rule, tally in self.subsets:
            if rule.takes(capture):
                tally.stored += documents
                tally.add_files(manifest, places, [file for file in manifest.files if wants(rule.only, file)])
