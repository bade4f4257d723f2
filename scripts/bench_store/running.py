"""Runs programs and measures their cost: wall time, CPU time including child processes, and peak memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_PATH = os.pathsep.join((str(_HERE.parent), str(_HERE.parent.parent)))
_SHOWN_BYTES = 2000
_BLOCK_BYTES = 512
"""The unit of `st_blocks`, whatever the block size of the filesystem (stat(2))."""


class Broken(Exception):
    """A measured program failed, or restored different bytes."""


@dataclass(frozen=True)
class Spent:
    """Seconds of wall and of CPU (user and system, children included), and the largest resident memory in bytes."""

    wall: float
    cpu: float
    peak: int


def run(command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None, log: Path) -> Spent:
    """Run a program to its end; its output goes to the file `log`.

    Raises:
        Broken: it failed.
    """
    with log.open("wb") as said:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(env or os.environ), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        # Not `process.wait`: only wait4 separates the cost of this program from that of earlier ones.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = log.read_bytes()[-_SHOWN_BYTES:].decode(errors="replace")
        raise Broken(f"`{' '.join(command)[:200]}` ended with {process.returncode}:\n{end}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)


def run_module(
    name: str, order: Mapping[str, Any], scratch: Path, *, kernel: str | None = None
) -> tuple[dict[str, Any], Spent]:
    """Run a module of this package in a fresh process: it reads `order` as JSON, and its answer is returned."""
    order_file, answer_file = scratch / "order.json", scratch / "answer.json"
    order_file.write_text(json.dumps(order))
    env = dict(os.environ) | {"PYTHONPATH": _PATH}
    env.pop("PTMTORRENT_KERNEL", None)
    if kernel == "numpy":
        env["PTMTORRENT_KERNEL"] = "numpy"
    spent = run(
        [sys.executable, "-m", f"bench_store.{name}", str(order_file), str(answer_file)],
        cwd=scratch,
        env=env,
        log=scratch / "log.txt",
    )
    return json.loads(answer_file.read_text()), spent


def run_making(arguments: list[str], scratch: Path) -> None:
    """Run the module that makes the sets."""
    env = dict(os.environ) | {"PYTHONPATH": _PATH}
    run([sys.executable, "-m", "bench_store.making", *arguments], cwd=scratch, env=env, log=scratch / "log.txt")


def disk_bytes(folder: Path) -> int:
    """Return the disk usage of all files below `folder`: whole blocks, and nothing for holes."""
    return sum(path.stat().st_blocks * _BLOCK_BYTES for path in folder.rglob("*") if path.is_file())
