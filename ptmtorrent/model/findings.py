"""What scanners found in the files of a package: one finding per line, its level, and which tools looked.

A finding says what a file does when it is loaded. That there is none says only that these tools found nothing.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

Level = Literal["notice", "suspicious", "runs-code"]

LEVELS: tuple[Level, ...] = ("notice", "suspicious", "runs-code")
"""Levels, the mildest first.

`notice`: code of the package or of others is needed, or a part was not read. `suspicious`: what no common framework
writes. `runs-code`: a program that loads the file runs what it names.
"""

MAX_FINDINGS = 100
"""Findings that are recorded of a package, the worst first; the others are counted."""

MAX_MEANING = 240
MAX_FILE = 300


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finding: the `tool` and its version, the file, the offset in it if known, the rule, the level, the meaning.

    The offset in a member of an archive is that in the member, whose name follows `!` in `file`.
    """

    tool: str
    file: str
    rule: str
    level: Level
    meaning: str
    offset: int | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for texts or numbers beyond the bounds."""
        if max(len(self.meaning), len(self.file)) > MAX_FILE or max(len(self.tool), len(self.rule)) > 64:
            raise ValueError("a text of a finding is too long")
        if self.offset is not None and not 0 <= self.offset < 1 << 53:
            raise ValueError(f"the offset of a finding is {self.offset}")

    @property
    def severity(self) -> int:
        """The place of the level in `LEVELS`."""
        return LEVELS.index(self.level)


class Scan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The scan of a package: the `tools` that looked, what they found, the worst first, and how much `more` it is."""

    tools: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    more: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` for more findings than are recorded."""
        if len(self.findings) > MAX_FINDINGS or len(self.tools) > 16 or self.more < 0:
            raise ValueError("a scan has too many findings or tools")


def new_scan(tools: Iterable[str], findings: Iterable[Finding]) -> Scan:
    """Return the scan of `findings`, the worst first; findings beyond the bound are counted."""
    unique = dict.fromkeys(findings)
    ordered = sorted(unique, key=lambda each: (-each.severity, each.file, each.offset or 0, each.tool, each.rule))
    kept = tuple(ordered[:MAX_FINDINGS])
    return Scan(tools=tuple(sorted(set(tools))), findings=kept, more=len(ordered) - len(kept))


def clip(text: str, limit: int = MAX_MEANING) -> str:
    """Return `text` on one line of printable characters, at most `limit` long."""
    line = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[: 2 * limit])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Return the first finding of the worst level; None without findings."""
    return max(findings, key=lambda each: each.severity, default=None)
