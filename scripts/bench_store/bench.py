"""One run: how large, where, how often, against whom; and what was seen."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench_store.peers import Peer
from bench_store.rows import Rows
from bench_store.scales import Scale
from bench_store.sets import FileSet, Sets
from bench_store.systems import Ours, System, Theirs

DECLARED = Ours("ours, base declared")
FOUND = Ours("ours, base found", declared=False)
PLAIN = Ours("ours, no delta", delta=False, declared=False)
OURS = Ours("ours")


@dataclass
class Bench:
    """One run: how large, where, how often, against whom, with which kernels; and what was seen."""

    scale: Scale
    sets: Sets
    folder: Path
    rounds: int
    peers: tuple[Peer, ...]
    kernels: tuple[str, ...]
    cpus: tuple[int, ...]
    rows: Rows = field(default_factory=Rows)
    measured: dict[str, FileSet] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    @property
    def scratch(self) -> Path:
        """Where orders and answers of children lie."""
        place = self.folder / "scratch"
        place.mkdir(exist_ok=True)
        return place

    def keep(self, files: FileSet) -> FileSet:
        """Remember that a set was measured."""
        self.measured[files.name] = files
        return files

    def say(self, text: str) -> None:
        """Tell how far it is."""
        print(f"{time.monotonic() - self.begun:6.0f} s  {text}", file=sys.stderr, flush=True)

    def compared(self) -> list[System]:
        """Return the peers that are here."""
        return [Theirs(peer) for peer in self.peers if not peer.missing]
