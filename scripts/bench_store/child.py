"""What the child processes share: orders and answers as JSON, CPU seconds of the process, files put into a store."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ptmtorrent.model.containers.source import MemorySource
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Expected, Store, StoredFile

PACK_CLASS = PackClass("weights-hot", "open")

FileOrder = dict[str, Any]
"""`path`, `name`, `size`, and `sha256` as a hub states it; None if no SHA-256 is to be computed."""


def answer(work: Callable[[dict[str, Any]], Any]) -> None:
    """Read an order from the first path of the command line, and write the result of `work` to the second."""
    order = json.loads(Path(sys.argv[1]).read_text())
    if order.get("cpus"):
        os.sched_setaffinity(0, order["cpus"])
    Path(sys.argv[2]).write_text(json.dumps(work(order)))


class Clock:
    """Wall and CPU seconds of this process since the object was created."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def spent(self) -> dict[str, float]:
        """Return both."""
        return {"wall": time.perf_counter() - self._wall, "cpu": _cpu_seconds() - self._cpu}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def add_files(store: Store, files: list[FileOrder], bases: dict[str, str], jobs: int) -> list[StoredFile]:
    """Add files, `jobs` at a time, with declared bases first. Return them in the given order."""
    stored: dict[str, StoredFile] = {}
    paths = {file["name"]: Path(file["path"]) for file in files}

    def nearby(name: str) -> MemorySource | None:
        """Return the index of a checkpoint, or the model that describes a data file."""
        return MemorySource(paths[name].read_bytes()) if name in paths else None

    def add(file: FileOrder) -> None:
        oid = f"sha256:{file['sha256']}" if file["sha256"] else None
        expected = Expected(size=file["size"], oid=oid)
        known = [stored[bases[file["name"]]]] if file["name"] in bases else []
        stored[file["name"]] = store.add_file(
            Path(file["path"]), file["name"], expected, PACK_CLASS, bases=known, nearby=nearby
        )

    first = [file for file in files if file["name"] in bases.values()]
    with ThreadPoolExecutor(jobs) as threads:
        list(threads.map(add, first))
        list(threads.map(add, [file for file in files if file not in first]))
    return [stored[file["name"]] for file in files]
