"""Runs one operation in a process of its own and returns what it cost."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bench_store.running import run

_SCRIPTS = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """Seconds of wall and CPU, peak memory, bytes of read and write calls, requests over HTTP and their bytes.

    `kept` is the disk space of the store afterwards.
    """

    wall: float
    cpu: float
    peak: int
    read: int
    written: int
    requests: int = 0
    received: int = 0
    kept: int = 0


def measure(scratch: Path, what: str, *arguments: str) -> Cost:
    """Run `bench_scale.measured` with these arguments.

    Raises:
        Broken: it failed; with the end of what it printed.
    """
    counts = scratch / "counts.json"
    command = [sys.executable, "-m", "bench_scale.measured", str(counts), what, *arguments]
    spent = run(command, cwd=scratch, env=_environment(scratch), log=scratch / "log.txt")
    seen = json.loads(counts.read_text())
    return Cost(spent.wall, spent.cpu, seen["peak"], seen["read"], seen["written"])


def _environment(scratch: Path) -> dict[str, str]:
    """Return the environment without settings of the program, so that a user's own change no figure."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PTMTORRENT_")}
    path = os.pathsep.join((str(_SCRIPTS), str(_SCRIPTS.parent)))
    return kept | {"PYTHONPATH": path, "HOME": str(scratch), "XDG_CONFIG_HOME": str(scratch)}
