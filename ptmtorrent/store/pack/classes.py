"""What a pack is for. Packs of different classes never mix, so that a subset reads few and a takedown touches few."""

from typing import Literal

import msgspec

from ptmtorrent.model.capture import Rights

Temper = Literal["meta", "weights-hot", "weights-cold"]
"""`meta` holds manifests, placements, captures, hub answers and small files; weights part by popularity at capture."""

TEMPERS: tuple[Temper, ...] = ("meta", "weights-hot", "weights-cold")
RIGHTS: tuple[Rights, ...] = ("open", "restricted", "gated")

ObjectKind = Literal["data", "manifest", "placement", "capture", "answer"]
"""What an object is, for those who rebuild an index from packs alone."""

OBJECT_KINDS: tuple[ObjectKind, ...] = ("data", "manifest", "placement", "capture", "answer")
"""In the order of their numbers in a record: 0 data, 1 manifest, 2 placement, 3 capture, 4 hub answer."""


class PackClass(msgspec.Struct, frozen=True, order=True):
    """The class of a pack, chosen when an object is captured."""

    temper: Temper
    rights: Rights

    @property
    def name(self) -> str:
        """`weights-hot-open`: how files that belong to this class are called."""
        return f"{self.temper}-{self.rights}"


PACK_CLASSES: tuple[PackClass, ...] = tuple(PackClass(temper, rights) for temper in TEMPERS for rights in RIGHTS)
