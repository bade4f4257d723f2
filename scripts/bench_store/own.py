"""This project alone: the cost of each hash, restoring, one core and two, memory, a second revision."""

import shutil
from collections import defaultdict
from statistics import median
from typing import Any

from bench_store.bench import FOUND, OURS, PLAIN, Bench
from bench_store.rows import Row, speed
from bench_store.running import Spent, run, run_module
from bench_store.sets import FileSet
from bench_store.systems import JOBS, MEMORY_BYTES, Ingested, Ours, Place, check_restored, describe, empty, new_place


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
            report, _ = _run(bench, "hashing", order, kernel)
            for row in report:
                seen[row["set"], kernel, row["variant"]].append(row["cpu"])
    for (name, kernel, variant), seconds in seen.items():
        bench.rows.add(Row("hashes", name, f"ours, {kernel}", variant, speed(sizes[name], seconds), "MB/s"))


def restores(bench: Bench) -> None:
    """Measure how fast each kernel restores the siblings: reading only, and with files written."""
    files = bench.keep(bench.sets.siblings())
    for system, name in ((PLAIN, "no delta"), (FOUND, "delta")):
        with new_place(bench.folder, files) as place:
            ingested = system.ingest(files, place)
            for write, what in ((False, f"{name}, checked"), (True, name)):
                for kernel, seconds in _restores(bench, system, ingested, place, write=write).items():
                    value = speed(files.size, seconds)
                    bench.rows.add(Row("restores", files.name, f"ours, {kernel}", what, value, "MB/s"))
            if system is PLAIN:
                value = speed(files.size, _copied(bench, place))
                bench.rows.add(Row("restores", files.name, "cp", "copied", value, "MB/s"))


def _restores(bench: Bench, system: Ours, ingested: Ingested, place: Place, *, write: bool) -> dict[str, list[float]]:
    seen: dict[str, list[float]] = defaultdict(list)
    for number in range(bench.rounds + 1):
        for kernel in bench.kernels:
            bench.say(f"restores, round {number}: {system.name}, {kernel}")
            empty(place.out)
            report, _ = system.restore_and_report(ingested, place, kernel=kernel, write=write)
            if number:
                seen[kernel].append(report["cpu"])
    return seen


def _copied(bench: Bench, place: Place) -> list[float]:
    """Return the CPU seconds of copying the same files."""
    seen = []
    for number in range(1, bench.rounds + 1):
        bench.say(f"restores, round {number}: cp")
        empty(place.out)
        command = ["cp", "--reflink=never", "-r", str(place.files), str(place.out)]
        seen.append(run(command, cwd=place.scratch, log=place.scratch / "log.txt").cpu)
    return seen


def workers(bench: Bench) -> None:
    """Compare one core with two, all hashes on: wall time inside the process, without the start of the interpreter."""
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
                    report, _ = system.restore_and_report(ingested, place)
                seen[name, count, "ingest"].append(ingested.report["wall"])
                seen[name, count, "restore"].append(report["wall"])
    for (name, count, what), seconds in seen.items():
        bench.rows.add(Row("workers", files.name, name, f"{what}, {count} core", speed(files.size, seconds), "MB/s"))
    for name, what in dict.fromkeys((name, what) for name, _, what in seen):
        ratio = median(seen[name, 1, what]) / median(seen[name, 2, what])
        bench.rows.add(Row("workers", files.name, name, f"{what}, gain", ratio, "x"))


def memory(bench: Bench) -> None:
    """Store one large file within 512 MiB of memory, and restore it."""
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
    """Store a second revision of the base, in which one tensor differs."""
    files = FileSet("revisions", bench.sets.revisions(), {"revision-2.safetensors": "base.safetensors"})
    bench.keep(files)
    for name, delta in (("ours, no delta", False), ("ours, base declared", True)):
        bench.say(f"revision: {name}")
        asked = [describe(file) for file in files.files]
        order = {"store": str(bench.folder / "revised"), "files": asked, "delta": delta, "bases": files.bases}
        report, _ = _run(bench, "revision", order, None)
        for metric, key in (
            ("raw added", "raw"),
            ("stored added", "coded"),
            ("the tensor coded alone", "tensor"),
            ("growth of packs", "packs"),
        ):
            bench.rows.add(Row("revision", "one tensor changed", name, metric, report[key], "bytes"))


def _run(bench: Bench, module: str, order: dict[str, Any], kernel: str | None) -> tuple[Any, Spent]:
    try:
        return run_module(module, order, bench.scratch, kernel=kernel)
    finally:
        shutil.rmtree(order["store"], ignore_errors=True)
