"""Scanners of other projects, as corroborating tools: what they call dangerous is a finding of theirs.

They run in the child like our rules. One that is not installed is left out; a scan names the tools that looked.
"""

import io
import logging
from collections.abc import Iterator
from importlib import metadata
from typing import Protocol

from ptmtorrent.model.containers.source import ByteSource
from ptmtorrent.model.findings import MAX_FILE, Finding, Level, clip

MAX_BYTES = 32 << 20
"""Larger files are left to our own rules: these scanners read members whole."""


class Corroborator(Protocol):
    """A scanner of another project."""

    tool: str

    def scan(self, file: str, source: ByteSource) -> list[Finding]:
        """Return what the scanner finds in a file."""
        ...


class Picklescan:
    """picklescan: looks for imports in pickles, zips, tars and numpy arrays."""

    def __init__(self) -> None:
        from picklescan import scanner

        logging.getLogger("picklescan").setLevel(logging.CRITICAL)
        self.tool = f"picklescan/{metadata.version('picklescan')}"
        self._scanner = scanner

    def scan(self, file: str, source: ByteSource) -> list[Finding]:
        """Return the imports that picklescan calls dangerous."""
        if source.size > MAX_BYTES:
            return []
        data = io.BytesIO(source.read(0, source.size))
        try:
            result = self._scanner.scan_bytes(data, file, "." + file.rpartition(".")[2].lower())
        except Exception:  # noqa: BLE001  # any fault of a foreign parser on hostile input costs its opinion alone
            return []
        named = (
            f"{each.module}.{each.name}"
            for each in result.globals
            if each.safety is self._scanner.SafetyLevel.Dangerous
        )
        return [
            _finding(self.tool, file, "runs-code", f"runs code when loaded: `{name}`") for name in sorted(set(named))
        ]


class Fickling:
    """fickling: decompiles pickles and judges what they would run."""

    def __init__(self) -> None:
        from fickling import analysis, fickle

        self.tool = f"fickling/{metadata.version('fickling')}"
        self._analysis = analysis
        self._fickle = fickle

    def scan(self, file: str, source: ByteSource) -> list[Finding]:
        """Return fickling's verdict on a file that is a pickle, where it is at least "likely overtly malicious"."""
        if source.size > MAX_BYTES or source.read(0, 1) != b"\x80":
            return []
        try:
            pickled = self._fickle.Pickled.load(source.read(0, source.size))
            verdict = self._analysis.check_safety(pickled).severity
        except Exception:  # noqa: BLE001  # as above
            return []
        if verdict < self._analysis.Severity.LIKELY_OVERTLY_MALICIOUS:
            return []
        return [_finding(self.tool, file, "suspicious", f"fickling calls it {verdict.name}")]


def installed(*, all_: bool) -> Iterator[Corroborator]:
    """Yield the scanners that are installed: picklescan, and with `all_` those that give more false alarms."""
    for make in (Picklescan, *((Fickling,) if all_ else ())):
        try:
            yield make()
        except ImportError:
            continue


def _finding(tool: str, file: str, level: Level, meaning: str) -> Finding:
    return Finding(tool=tool, file=clip(file, MAX_FILE), rule="verdict", level=level, meaning=clip(meaning))
