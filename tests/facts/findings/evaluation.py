"""Runs our rules and other scanners over the corpus, in the child that confines them."""

import resource
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ptmtorrent.facts.findings.found import TOOL
from ptmtorrent.facts.findings.scanner import Scanner
from ptmtorrent.model.containers.source import MemorySource
from ptmtorrent.model.findings import LEVELS, Finding
from tests.facts.findings.corpus import Sample


class Outcome(NamedTuple):
    """The worst level of each tool in one sample: -1 for nothing, else the place in `LEVELS`."""

    sample: str
    worst: Mapping[str, int]
    findings: tuple[Finding, ...]


class Figures(NamedTuple):
    """What was found in the samples, how long it took, and the most memory that the child used, in bytes."""

    outcomes: list[Outcome]
    seconds: float
    memory: int

    def share(self, tool: str, level: str) -> float:
        """The share of samples in which a tool found something of a level or a worse one."""
        least = LEVELS.index(level)
        return sum(each.worst.get(tool, -1) >= least for each in self.outcomes) / len(self.outcomes)

    def alarms(self, tool: str, level: str) -> list[str]:
        least = LEVELS.index(level)
        return [each.sample for each in self.outcomes if each.worst.get(tool, -1) >= least]

    def missed(self, tool: str, level: str) -> list[str]:
        found = set(self.alarms(tool, level))
        return [each.sample for each in self.outcomes if each.sample not in found]


def evaluate(samples: Iterable[Sample], *, wide: bool = True) -> Figures:
    outcomes = []
    began = time.monotonic()
    with Scanner(wide=wide) as scanner:
        for sample in samples:
            scan = scanner.scan({name: MemorySource(data) for name, data in sample.files.items()})
            worst: dict[str, int] = {}
            for finding in scan.findings:
                tool = TOOL if finding.tool == TOOL else finding.tool.partition("/")[0]
                worst[tool] = max(worst.get(tool, -1), finding.severity)
            outcomes.append(Outcome(sample.name, worst, scan.findings))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    return Figures(outcomes, time.monotonic() - began, memory)


def traces(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())
