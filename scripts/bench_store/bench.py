"""One run of the benchmark: its size, folders, rounds and peers, and the values that were measured."""

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
    """One run: its size, folders, rounds, peers and kernels, and the values that were measured."""

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
        """Folder of the orders and answers of child processes."""
        place = self.folder / "scratch"
        place.mkdir(exist_ok=True)
        return place

    def keep(self, files: FileSet) -> FileSet:
        """Record that a set was measured."""
        self.measured[files.name] = files
        return files

    def say(self, text: str) -> None:
        """Print the current step."""
        print(f"{time.monotonic() - self.begun:6.0f} s  {text}", file=sys.stderr, flush=True)

    def compared(self) -> list[System]:
        """Return the peers that are installed."""
        return [Theirs(peer) for peer in self.peers if not peer.missing]
