"""What a rule gives, and the bounds of one scan."""

from dataclasses import dataclass, field

from ptmtorrent.model.containers.source import ByteSource
from ptmtorrent.model.findings import MAX_FILE, Finding, Level, clip

TOOL = "ptmtorrent-rules/1"
"""The rules of this folder, and their version: it changes when a rule does."""

MAX_READ_BYTES = 256 << 20
"""Limit of bytes that one file is read for, what is decompressed included (256 MiB)."""

MAX_FOUND = 400
"""Findings of one file; further ones would only repeat them."""


class Exhausted(Exception):
    """Raised when a file was read as far as the bounds allow."""


@dataclass
class Findings:
    """The findings of one package, and the bytes that may still be read of the current file."""

    found: list[Finding] = field(default_factory=list)
    budget: int = MAX_READ_BYTES
    _of_file: int = 0

    def begin(self) -> None:
        """Start a new file."""
        self.budget = MAX_READ_BYTES
        self._of_file = 0

    def spend(self, size: int) -> None:
        """Count `size` bytes.

        Raises:
            Exhausted: they are more than may be read of a file.
        """
        self.budget -= size
        if self.budget < 0:
            raise Exhausted

    def add(self, file: str, rule: str, level: Level, meaning: str, offset: int | None = None) -> None:
        """Add a finding."""
        self._of_file += 1
        if self._of_file <= MAX_FOUND:
            where = clip(file, MAX_FILE)
            self.found.append(
                Finding(tool=TOOL, file=where, rule=rule, level=level, meaning=clip(meaning), offset=offset)
            )


class Counted:
    """A source whose reads count against the budget of a file."""

    def __init__(self, source: ByteSource, findings: Findings) -> None:
        self._source = source
        self._findings = findings

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._source.size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer at the end."""
        data = self._source.read(offset, max(0, min(length, self.size - offset)))
        self._findings.spend(len(data))
        return data
