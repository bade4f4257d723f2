"""The command line of `scripts/bench-store`."""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench_store import machine
from bench_store.bench import Bench
from bench_store.groups import GROUPS, USUAL
from bench_store.page import put_page, write_page
from bench_store.peers import PEERS, Peer
from bench_store.running import Broken, run_module
from bench_store.scales import SCALES
from bench_store.sets import Sets
from bench_store.tables import make_tables

ROUNDS = {"full": 3, "quick": 1, "tiny": 1}


def main(about: str | None, arguments: list[str] | None = None) -> int:
    """Measure, print the tables, write the requested files; return 1 if a program failed (not for a missed target)."""
    options = _parse(about, arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-store-", dir=options.keep)))
        scratch = folder / "scratch"
        scratch.mkdir()
        facts, _ = run_module("facts", {}, scratch)
        scale = SCALES[options.size]
        bench = Bench(
            scale=scale,
            sets=Sets(scale, (options.keep or folder) / scale.name),
            folder=folder,
            rounds=options.rounds or ROUNDS[scale.name],
            peers=() if options.no_peers else PEERS,
            kernels=tuple(dict.fromkeys((facts["kernel"], "numpy"))),
            cpus=tuple(facts["cpus"]),
        )
        about_machine = machine.describe(folder, facts["libraries"], facts["kernel"])
        bench.rows.missing += missing_peers(bench.peers)
        if "native" not in bench.kernels:
            bench.rows.missing.append("the native kernel: it is not built here")
        others = machine.Others()
        try:
            _measure(bench, options.only)
        except Broken as broken:
            print(f"bench-store: {broken}", file=sys.stderr)
            return 1
        about_machine.append(("other programs", f"used {others.share():.0%} of the cores during the run"))
        _report(bench, options, about_machine)
    return 0


def _measure(bench: Bench, only: list[str]) -> None:
    groups = [GROUPS[name] for name in GROUPS if name in only]
    bench.say(f"making the sets ({bench.scale.name})")
    bench.sets.make(dict.fromkeys(need for group in groups for need in group.needs), bench.scratch)
    for group in groups:
        group.measure(bench)


def missing_peers(peers: tuple[Peer, ...]) -> list[str]:
    """Return the peers that are not installed, and how to install them."""
    return [f"{peer.name}: `{peer.program}` is missing (apt install {peer.apt})" for peer in peers if peer.missing]


def _report(bench: Bench, options: argparse.Namespace, about_machine: list[tuple[str, str]]) -> None:
    tables = make_tables(bench, everything=set(options.only) >= set(USUAL))
    for what, which in about_machine:
        print(f"{what:<14} {which}")
    print()
    for table in tables:
        print(table.as_text())
    for text in bench.rows.missing:
        print(f"not measured: {text}")
    if bench.scale.name != "full":
        print("smaller data: the overhead of a store affects every figure, and the targets do not apply")
    if options.json:
        options.json.write_text(json.dumps(bench.rows.as_json(), indent=1) + "\n")
    if options.markdown:
        put_page(options.markdown, write_page(bench, about_machine, tables))


def _parse(about: str | None, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench-store", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_const",
        dest="size",
        const="quick",
        default="full",
        help="smaller data, once, the same rows",
    )
    parser.add_argument("--size", choices=list(SCALES), default="full", help="how large the sets are")
    parser.add_argument("--rounds", type=int, help="how often each timed row is measured (3; with --quick once)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(GROUPS),
        default=USUAL,
        metavar="GROUP",
        help="these: " + ", ".join(GROUPS),
    )
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page of benchmarks here")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the sets here and leave them for the next run")
    options = parser.parse_args(arguments)
    if options.keep:
        options.keep = options.keep.absolute()
        options.keep.mkdir(parents=True, exist_ok=True)
    return options
