"""Which runs of the previous release a new run replaces, and its level (docs/adr/0042-a-release-costs-what-is-new.md).

Pure: a run is known here by its numbers of rows alone. One release writes at most one run, so its number of runs grows
with the logarithm of releases and of packages.
"""

from collections.abc import Sequence

import msgspec

LEVEL_WIDTH = 8
"""Eight runs of a level become one of the next."""

LEVEL_ROWS = 4096
"""The most rows that a run is written with at level 0; each level has eight times as many."""

MAX_RUN_FILES = LEVEL_WIDTH
"""A run with more files of documents has them copied into one."""


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the previous release: its level, its rows, and how many are the newest of their package.

    `refused` is set if it cannot stay: one of its rows may not be passed on any more, or it has more shards than the
    members have buckets.
    """

    level: int
    rows: int
    newest: int
    refused: bool = False

    @property
    def is_rewritten(self) -> bool:
        """Whether its rows and documents are written again, without those that are not the newest."""
        return self.refused or 2 * self.newest < self.rows


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """The runs that a new run replaces, by number, and its level; `level` is None if no run is written."""

    replaced: frozenset[int]
    level: int | None


def level_for(rows: int) -> int:
    """Return the level of a run of `rows` rows that replaces no others."""
    level = 0
    while rows > LEVEL_ROWS * LEVEL_WIDTH**level:
        level += 1
    return level


def plan_merge(runs: Sequence[RunState], changed: int) -> Merge:
    """Return what a new run of `changed` rows replaces of `runs`, the oldest first.

    The levels of the runs that are left fall from the first to the last, the new one, and no level has eight.
    """
    replaced = {number for number, run in enumerate(runs) if run.is_rewritten}
    rows = changed + sum(runs[number].newest for number in replaced)
    if not rows:
        return Merge(replaced=frozenset(replaced), level=None)
    level = level_for(rows)
    while True:
        smaller = {number for number, run in enumerate(runs) if run.level < level} - replaced
        equal = {number for number, run in enumerate(runs) if run.level == level} - replaced
        if smaller:
            found = smaller
        elif len(equal) >= LEVEL_WIDTH - 1:
            found = equal
        else:
            return Merge(replaced=frozenset(replaced), level=level)
        replaced |= found
        rows += sum(runs[number].newest for number in found)
        level = max(level_for(rows), level + (0 if smaller else 1))
