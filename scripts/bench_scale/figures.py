"""What was measured, as rows, as tables with exponents, and as the page of the documentation."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import log
from statistics import median

from bench_store.rows import MB
from bench_store.tables import Table

from bench_scale.running import Cost

METRICS: dict[str, tuple[str, Callable[[float], str]]] = {
    "wall": ("wall, s", lambda value: f"{value:,.2f}"),
    "cpu": ("CPU, s", lambda value: f"{value:,.2f}"),
    "peak": ("peak, MB", lambda value: f"{value / MB:,.1f}"),
    "read": ("read, MB", lambda value: f"{value / MB:,.2f}"),
    "written": ("written, MB", lambda value: f"{value / MB:,.3f}"),
    "kept": ("store, MB", lambda value: f"{value / MB:,.3f}"),
    "requests": ("requests", lambda value: f"{value:,.0f}"),
    "received": ("received, kB", lambda value: f"{value / 1000:,.1f}"),
}

_HEAD = """\
# Scale

Written by `scripts/bench-scale --markdown docs/benchmarks/scale.md`; this page is not edited by hand. `--quick` takes a
minute or two, `--full` goes to 281,638 tiny and 20,000 heavy packages. No figure is judged here.

How to read the tables:

- *Tiny* packages have 3 files and 3 objects, *heavy* ones 10 files and 200 objects, besides the hub's answer, manifest
  and capture; bodies are 24 random bytes an object, so that bytes of weights play no part. *Mixed* homes have one
  heavy, popular package for every six tiny ones.
- Every operation runs in a process of its own, with cold memory and a warm page cache. *CPU* is user and system time
  of all its threads, interpreter start included; *peak* the largest resident memory. *Start of the program* is
  `--version`: what any verb costs at least. If other programs used much of the cores (see the table of the machine),
  wall times mean little, and CPU times are higher than on a calm machine.
- *Read* and *written* are the bytes that read and write calls moved, of the program's own modules and temporary files
  too; what is read through a memory map or a socket, or printed, is not in them. *Requests* and *received* are
  counted by the web server on loopback: bodies alone.
- *Store* is the disk space of the store after packages were added to it.
- *Exponent* is log(at 4N / at N) / log 4: 0 for what does not grow, 1 for what grows with the packages. The start of
  the program is in both values, so exponents of short operations are lower than those of their work.
- *Ingest* stores packages straight through the store: no hub, no downloads, no journal of a clone. *Folders* are cloned
  with `clone dir`, three files of 256 random bytes each.
- *Index* is the store's index alone, with synthetic rows in packs of 20,000 objects, merges included: *written* are the
  bytes of its runs as they were written, *store* what is left on the disk, and wall times of look-ups and of opening a
  store with a full open part are without the start of the interpreter.
- *Packs* are sparse files of 256 MiB with their true hashes, in one volume; a seeder is started over a copy of the
  channel, and ended once every pack can be asked for.
"""


@dataclass(frozen=True)
class Row:
    """One operation on one home."""

    shape: str
    packages: int
    operation: str
    cost: Cost


@dataclass
class Figures:
    """All of them, in the order of measuring; the larger home of a shape has `growth` times the packages."""

    growth: int
    rows: list[Row] = field(default_factory=list)

    def add(self, shape: str, packages: int, operation: str, cost: Cost) -> None:
        """Keep what one operation cost."""
        self.rows.append(Row(shape, packages, operation, cost))

    def operations(self, shape: str) -> Iterator[tuple[str, dict[int, list[Cost]]]]:
        """Yield each operation, and its costs by the packages of the home; of several runs, median and worst."""
        found: dict[str, dict[int, list[Cost]]] = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            if row.shape == shape:
                found[row.operation][row.packages].append(row.cost)
        yield from found.items()


def make_tables(figures: Figures) -> list[Table]:
    """Return a table for each shape of homes that was measured."""
    return [_table(figures, shape) for shape in dict.fromkeys(row.shape for row in figures.rows)]


def _table(figures: Figures, shape: str) -> Table:
    lines: list[list[str]] = []
    for name, by_count in figures.operations(shape):
        runs = max(map(len, by_count.values()))
        several: dict[str, Callable[[list[float]], float]] = (
            {f"{name}, median of {runs}": median, f"{name}, worst of {runs}": max} if runs > 1 else {name: max}
        )
        for spelled, choose in several.items():
            lines += _lines(spelled, by_count, choose, figures.growth)
    unit = {"packs": "packs", "index": "rows"}.get(shape, "packages")
    title = shape.capitalize() if shape in {"packs", "folders", "index"} else f"{shape.capitalize()} packages"
    return Table(title, ("", unit, *(title for title, _ in METRICS.values())), lines)


def _lines(
    name: str, by_count: dict[int, list[Cost]], choose: Callable[[list[float]], float], growth: int
) -> Iterator[list[str]]:
    values = {
        count: {metric: choose([float(getattr(cost, metric)) for cost in costs]) for metric in METRICS}
        for count, costs in by_count.items()
    }
    for number, (count, seen) in enumerate(values.items()):
        cells = [spell(seen[metric]) if seen[metric] else "-" for metric, (_, spell) in METRICS.items()]
        yield [name if number == 0 else "", f"{count:,}", *cells]
    if len(values) > 1:
        small, large = list(values.values())[:2]
        yield ["", "exponent", *(_exponent(small[metric], large[metric], growth) for metric in METRICS)]


def _exponent(small: float, large: float, growth: int) -> str:
    return f"{log(large / small) / log(growth):.2f}" if small and large else "-"


def write_page(command: str, machine: list[tuple[str, str]], tables: list[Table]) -> str:
    """Return the page as Markdown."""
    facts = Table("Machine", ("", ""), [[what, which] for what, which in machine])
    ran = f"This page is of `{command}`.\n"
    return "\n".join([_HEAD, ran, facts.as_markdown(), *(table.as_markdown() for table in tables)]).rstrip() + "\n"
