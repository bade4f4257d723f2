"""`demo`: the whole way, from a hub to a fetch by BitTorrent, on this machine and without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli.session import Session
from ptmtorrent.cli.values import spell_size

if TYPE_CHECKING:
    from ptmtorrent.demo.run import DemoReport

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent demo --to demo-folder")
def demo(
    ctx: typer.Context,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder to keep it all in.")] = None,
) -> None:
    """Run sample hub, clone, release, seeder and fetch as separate processes on loopback, and print one table."""
    session: Session = ctx.obj

    from ptmtorrent.demo.run import run_demo

    with _workdir(to) as folder:
        report = run_demo(folder, emit=session.emit)
    session.sink.rows("demo", [{"what": name, "value": value} for name, value in _table(report)])


@contextmanager
def _workdir(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted.absolute()
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ptmtorrent-demo-") as folder:
        yield Path(folder)


def _table(report: "DemoReport") -> Iterator[tuple[str, object]]:
    yield "packages", report.packages
    yield "files", report.files
    yield "raw bytes", f"{report.raw:,} ({spell_size(report.raw)})"
    yield "stored bytes", f"{report.stored:,} ({spell_size(report.stored)})"
    yield "ratio", f"{report.raw / max(1, report.stored):.2f}"
    yield "bytes moved", f"{report.moved:,} ({spell_size(report.moved)})"
    yield "files verified", report.verified
    for step, seconds in report.steps:
        yield f"seconds: {step}", f"{seconds:.1f}"
    yield "seconds", f"{sum(seconds for _, seconds in report.steps):.1f}"
