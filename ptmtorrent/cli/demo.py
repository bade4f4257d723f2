"""`demo`: clone, release, seed and fetch by BitTorrent, on this machine and without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli._session import Session
from ptmtorrent.errors import Interrupted, PtmError, UsageError

if TYPE_CHECKING:
    from ptmtorrent.demo.run import DemoReport

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent demo --to demo-folder")
def demo(
    ctx: typer.Context,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder that keeps everything (default: a temporary folder).")
    ] = None,
) -> None:
    """Run a sample hub, clone, release, seed and fetch as separate processes on loopback, and print the numbers."""
    session: Session = ctx.obj

    from ptmtorrent.demo.run import run_demo

    with _workdir(to, session) as folder:
        report = run_demo(folder, emit=session.emit)
    session.sink.rows("demo", [{"what": name, "value": value} for name, value in _table(report)])


@contextmanager
def _workdir(wanted: Path | None, session: Session) -> Iterator[Path]:
    """Yield a folder to work in: `wanted`, or a temporary one that is deleted unless a step failed."""
    if wanted is not None:
        if wanted.exists() and not (wanted.is_dir() and not any(wanted.iterdir())):
            raise UsageError(f"`{wanted}` exists already", hint="name a new folder, or omit `--to`")
        try:
            wanted.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"`{wanted}` cannot be created: {error.strerror}", hint="name another folder") from error
        yield wanted.absolute()
        return
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="ptmtorrent-demo-"))
    kept = False
    try:
        yield folder
    except Interrupted:
        raise
    except PtmError:
        from ptmtorrent.model.records import Note

        kept = True
        session.emit(Note(message=f"the files of the demo are kept in `{folder}`"))
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _table(report: "DemoReport") -> Iterator[tuple[str, object]]:
    from ptmtorrent.model.text import spell_size

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
