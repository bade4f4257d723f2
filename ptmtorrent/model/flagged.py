"""The packages of a release that have findings, with the worst of each: what a fetch reads (docs/formats/release.md).

The findings themselves are in the table `findings`.
"""

from collections.abc import Collection, Mapping
from typing import ClassVar

import msgspec

from ptmtorrent.model import canonical
from ptmtorrent.model.findings import LEVELS, Level, Scan, clip, worst
from ptmtorrent.model.ids import PackageName

MAX_MEANING = 160


class Flag(msgspec.Struct, frozen=True, array_like=True):
    """The worst finding of a package: its level, how many findings there are, the file, and what it means."""

    level: Level
    findings: int
    file: str
    meaning: str

    @property
    def severity(self) -> int:
        """The place of the level in `LEVELS`."""
        return LEVELS.index(self.level)


class Flagged(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """`findings/flagged.json`: the packages with findings, and those that were captured without a scan."""

    FORMAT: ClassVar[str] = "ptmtorrent/flagged"
    VERSION: ClassVar[int] = 1

    packages: dict[PackageName, Flag] = msgspec.field(default_factory=dict)
    unscanned: tuple[PackageName, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say."""
        return not self.packages and not self.unscanned


def new_flagged(
    scans: Mapping[PackageName, Scan | None], before: Flagged | None = None, gone: Collection[PackageName] = ()
) -> Flagged:
    """Return what the `scans` of packages say, and what `before` says of others that are not `gone`."""
    packages: dict[PackageName, Flag] = {}
    unscanned: set[PackageName] = set()
    if before is not None:
        left = scans.keys() | set(gone)
        packages |= {name: flag for name, flag in before.packages.items() if name not in left}
        unscanned |= {name for name in before.unscanned if name not in left}
    for name, scan in scans.items():
        if scan is None:
            unscanned.add(name)
        elif (found := worst(scan.findings)) is not None:
            packages[name] = Flag(
                found.level, len(scan.findings) + scan.more, found.file, clip(found.meaning, MAX_MEANING)
            )
    return Flagged(
        format=Flagged.FORMAT,
        version=Flagged.VERSION,
        requires=(),
        packages=dict(sorted(packages.items())),
        unscanned=tuple(sorted(unscanned)),
    )
