"""The command line of `scripts/bench-scale`: homes at N and 4N, one after the other, and the tables."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from bench_store import machine
from bench_store.running import Broken

from bench_scale.beside import FOLDER_NAMES, PACK_NAMES, clone_folders, start_seeders
from bench_scale.figures import Figures, make_tables, write_page
from bench_scale.index_rows import INDEX_NAMES, index_of_rows
from bench_scale.operations import MIXED_NAMES, NAMES, QUICK_NAMES, Wanted, World, operations
from bench_scale.running import Cost
from bench_scale.serving import serving

GROWTH = 4
NAMES_OF = {
    "tiny": NAMES,
    "heavy": NAMES,
    "mixed": MIXED_NAMES,
    "folders": FOLDER_NAMES,
    "packs": PACK_NAMES,
    "index": INDEX_NAMES,
}
"""What is measured on homes of each shape."""

QUICK = NAMES_OF | {"heavy": QUICK_NAMES, "mixed": ()}

ROWS_A_PACKAGE = 100
"""Rows of the index for each tiny package of `--packages`."""

SIZES = {
    "quick": ({"tiny": 400, "heavy": 40, "mixed": 140, "folders": 80, "packs": 4, "index": 160_000}, 1),
    "moderate": (
        {"tiny": 24_000, "heavy": 1_200, "mixed": 8_400, "folders": 4_000, "packs": 32, "index": 4_000_000},
        3,
    ),
    "full": (
        {"tiny": 281_638, "heavy": 20_000, "mixed": 100_072, "folders": 20_000, "packs": 256, "index": 60_000_000},
        9,
    ),
}
"""Packages of the larger home by shape, and how many releases of 1 % new are made in a row."""


def main(about: str | None, arguments: list[str] | None = None) -> int:
    """Measure, print the tables, write what was asked for; 1 when an operation fails."""
    options = _parse(about, arguments)
    packages, releases = SIZES[options.size]
    if options.packages:
        shares = {"tiny": 1, "heavy": 8, "mixed": 2, "folders": 4, "packs": 500}
        packages = {shape: max(GROWTH, options.packages // share) for shape, share in shares.items()}
        packages["index"] = max(GROWTH, options.packages * ROWS_A_PACKAGE)
    figures, others, began, broken = Figures(GROWTH), machine.Others(), time.monotonic(), False
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        about_machine = machine.describe(Path(name), _libraries(), "")[1:-1]  # no date, no codec kernel
        try:
            for shape in NAMES_OF:
                for count in (packages[shape] // GROWTH, packages[shape]):
                    _measure(figures, Path(name), shape, count, releases, _wanted(options, shape), began)
        except Broken as error:
            print(f"bench-scale: {error}", file=sys.stderr)
            broken = True  # what was measured until then may have taken hours
    about_machine.append(("other programs", f"used {others.share():.0%} of the cores during the run"))
    tables = make_tables(figures)
    print("\n".join(f"{what:<14} {which}" for what, which in about_machine), "", sep="\n")
    print(*(table.as_text() for table in tables), sep="\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in figures.rows], indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(write_page(_spell(options), about_machine, tables))
    return int(broken)


def _spell(options: argparse.Namespace) -> str:
    """Return the command that measures the same again."""
    size = "" if options.size == "moderate" else f" --{options.size}"
    return f"scripts/bench-scale{size}" + (f" --packages {options.packages}" if options.packages else "")


def _wanted(options: argparse.Namespace, shape: str) -> Wanted:
    """Return which operations are to be measured on homes of a shape."""
    names = (QUICK if options.size == "quick" else NAMES_OF)[shape]
    chosen = {name for name in names if not options.only or any(word in f"{shape}: {name}" for word in options.only)}
    return chosen.__contains__


def _measure(  # noqa: PLR0913, PLR0917  # one home of a run
    figures: Figures, top: Path, shape: str, count: int, releases: int, wanted: Wanted, began: float
) -> None:
    """Measure one home, unless no operation on homes of its shape is wanted."""
    if not any(map(wanted, NAMES_OF[shape])):
        return
    folder = top / f"{shape}-{count}"
    (folder / "home" / "channel").mkdir(parents=True)
    for name, cost in _operations(folder, shape, count, wanted, releases):
        print(f"{time.monotonic() - began:6.0f} s  {count:,} {shape}: {name}", file=sys.stderr, flush=True)
        if wanted(name):
            figures.add(shape, count, name, cost)
    shutil.rmtree(folder)


def _operations(folder: Path, shape: str, count: int, wanted: Wanted, releases: int) -> Iterator[tuple[str, Cost]]:
    if shape == "folders":
        yield from clone_folders(folder, count)
    elif shape == "packs":
        yield from start_seeders(folder, count)
    elif shape == "index":
        yield from index_of_rows(folder, count)
    else:
        with serving(folder / "home" / "channel") as served:
            yield from operations(World(folder, shape, count, served), wanted, releases)


def _libraries() -> dict[str, str]:
    import blake3
    import libtorrent
    import msgspec

    from ptmtorrent.disk.database import SQLITE_VERSION

    return {
        "Python": sys.version.split()[0],
        "SQLite": SQLITE_VERSION,
        "msgspec": msgspec.__version__,
        "blake3": blake3.__version__,
        "libtorrent": libtorrent.__version__,
    }


def _parse(about: str | None, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench-scale", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", dest="size", const="quick", help="few packages, a minute or two")
    size.add_argument(
        "--full", action="store_const", dest="size", const="full", help="281,638 tiny and 20,000 heavy packages"
    )
    parser.add_argument(
        "--packages", type=int, metavar="N", help="tiny packages in the larger home, and N / 8 heavy ones"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="operations whose name or home contains one of these"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page of benchmarks here")
    parser.set_defaults(size="moderate")
    return parser.parse_args(arguments)
