"""Rows as tables: aligned text for a terminal, Markdown for the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench_store.bench import Bench
from bench_store.checks import check_all
from bench_store.rows import MB, Row


@dataclass(frozen=True)
class Table:
    """A title, a header, and rows of the same number of cells."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]

    def as_text(self) -> str:
        """Return aligned columns; the first is flush left."""
        rows = [self.head, *self.lines]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.head))]
        spelled = [
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([f"## {self.title}", "", *spelled, ""])

    def as_markdown(self) -> str:
        """Return a Markdown table under its title."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        rows = ["| " + " | ".join(row) + " |" for row in (self.head, rule, *self.lines)]
        return "\n".join([f"## {self.title}", "", *rows, ""])


def make_tables(bench: Bench, *, everything: bool) -> list[Table]:
    """Return all tables of a run, except those of groups left out; `everything` adds targets that were not measured."""
    rows = bench.rows
    made = [_sets(bench)]
    for group, title, line, column in (
        ("siblings", "Siblings against peers", _system, _metric),
        ("formats", "Formats: ratio", _case, _system),
        ("heavy", "Heavy fine-tune with its base: ratio of the fine-tune", _system, _metric),
        ("dedupe", "Deduplication: raw bytes / distinct bytes, before coding", _case, _metric),
        ("hashes", "What each hash costs: ingest in MB per CPU-second, delta off", _case_and_system, _metric),
        ("restores", "Restore with verification in MB per CPU-second", _case_and_system, _metric),
        ("workers", "One core and two: wall, MB/s", _system, _metric),
        ("memory", "Memory of one large file", _case, _metric),
        ("revision", "A second revision", _system, _metric),
        ("containers", "MiniLM in the containers of the frameworks", _case, _metric),
        ("together", "MiniLM in all containers", _system, _metric),
        ("gguf", "A real quantised GGUF file", _system, _metric),
    ):
        if found := rows.of(group):
            made.append(_pivot(title, found, line, column))
    promises = [check.cells() for check in check_all(rows) if everything or check.seen is not None]
    made.append(Table("Targets", ("what", "target", "measured", "verdict"), promises))
    return made


def _pivot(title: str, rows: list[Row], line: Callable[[Row], str], column: Callable[[Row], str]) -> Table:
    columns = list(dict.fromkeys(column(row) for row in rows))
    cells = {(line(row), column(row)): row.spell() for row in rows}
    lines = [[name, *(cells.get((name, each), "-") for each in columns)] for name in dict.fromkeys(map(line, rows))]
    return Table(title, ("", *columns), lines)


def _sets(bench: Bench) -> Table:
    lines = [
        [files.name, str(len(files.files)), f"{files.size / MB:,.1f}", files.blake3, files.verdict(bench.scale)]
        for files in bench.measured.values()
    ]
    return Table("Sets", ("set", "files", "MB", "BLAKE3 over sorted names and hashes", "bytes"), lines)


def _case(row: Row) -> str:
    return row.case


def _system(row: Row) -> str:
    return row.system


def _metric(row: Row) -> str:
    return row.metric


def _case_and_system(row: Row) -> str:
    return f"{row.case}: {row.system}"
