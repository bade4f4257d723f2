"""Writes the table of results and the table of targets."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from bench_store.machine import Others
from bench_store.page import put_part
from bench_store.tables import Table
from huggingface_hub import __version__ as hf_version

from bench_clone.bench import MIB, Cost, make_package, rounds, served
from bench_clone.systems import SYSTEMS
from ptmtorrent.workflows.clone.plan import COMMIT_BYTES

MB = 1e6
JOBS = 4
"""Default number of concurrent downloads; the same number of files may wait in the spool."""


def main(about: str) -> int:
    options = _options(about)
    shards, shard_bytes = (2, 16 * MIB) if options.quick else (5, 96 * MIB)
    with tempfile.TemporaryDirectory(prefix="bench-clone-") as name:
        scratch, package = Path(name), Path(name, "package")
        package.mkdir()
        total = make_package(package, shards, shard_bytes)
        spool = JOBS * shard_bytes + COMMIT_BYTES
        others = Others()
        with served(scratch, package) as at:
            costs = list(rounds(options.rounds, at, scratch, package))
        share = others.share()
    table, promises = _costs(costs, total), _promises(costs, spool)
    facts = f"{total / MB:,.1f} MB in {shards} bf16 shards and 8 small files; medians of {options.rounds} rounds."
    facts += f" git {_version('git')}, git-lfs {_version('git-lfs')}, huggingface_hub {hf_version}."
    facts += f" Other programs used {share:.0%} of the cores."
    print(facts, "", table.as_text(), promises.as_text(), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(_figures(costs), indent=1) + "\n")
    if options.markdown:
        put_part(options.markdown, f"{table.as_markdown()}\n{facts}\n\n{promises.as_markdown()}")
    return 0


def _options(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="36 MB instead of 500")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables into this page")
    return parser.parse_args()


def _median(costs: list[Cost], system: str, what: str) -> float:
    return median(getattr(cost, what) for cost in costs if cost.system == system)


def _costs(costs: list[Cost], total: int) -> Table:
    lines = []
    for system in SYSTEMS:
        wall, cpu, peak, left = (_median(costs, system.name, what) for what in ("wall", "cpu", "peak", "left"))
        cells = (f"{wall:.2f} s", f"{total / MB / wall:,.0f}", f"{cpu:.2f} s", f"{peak / MB:,.1f} MB")
        lines.append([system.name, *cells, f"{left / MB:,.1f} MB"])
    return Table("Cloning one package", ("", "wall", "MB/s", "CPU", "disk, peak", "disk, final"), lines)


def _promises(costs: list[Cost], spool: int) -> Table:
    walls = [_median(costs, system.name, "wall") for system in SYSTEMS]
    rows = [
        ("wall, ours / git-lfs", "at most 1.00", walls[0] / walls[1], walls[0] <= walls[1]),
        ("wall, ours / hf download", "at most 2.00", walls[2] / walls[3], walls[2] <= 2 * walls[3]),
    ]
    for system in (SYSTEMS[0], SYSTEMS[2]):
        most = max(cost.peak / (cost.left + spool) for cost in costs if cost.system == system.name)
        rows.append((f"disk, {system.name}: peak / (stored + spool)", "at most 1.00", most, most <= 1))
    lines = [[what, wanted, f"{seen:.2f}", "ok" if kept else "MISSED"] for what, wanted, seen, kept in rows]
    return Table("Cloning one package: targets", ("what", "target", "measured", "verdict"), lines)


def _figures(costs: list[Cost]) -> list[dict[str, object]]:
    units = {"wall": "s", "cpu": "s", "peak": "bytes", "left": "bytes"}
    return [
        {
            "case": "one package",
            "system": system.name if not system.name.startswith("ours") else "ours",
            "metric": f"{metric}, {system.name}",
            "value": _median(costs, system.name, metric),
            "unit": unit,
        }
        for system in SYSTEMS
        for metric, unit in units.items()
    ]


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return next((word.removeprefix("git-lfs/") for word in said.split() if any(map(str.isdigit, word))), "?")
