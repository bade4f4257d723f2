"""`export`: what was captured, in a shape that other tools read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ptmtorrent.cli._session import Session

app = typer.Typer()


class Shape(StrEnum):
    """The shapes there are."""

    PTMTORRENT_JSON = "ptmtorrent-json"


@app.command(epilog="Example: ptmtorrent export ptmtorrent-json --to metadata")
def export(
    ctx: typer.Context,
    shape: Annotated[Shape, typer.Argument(metavar="FORMAT", help="ptmtorrent-json.")],  # noqa: ARG001  # there is one
    to: Annotated[Path, typer.Option("--to", metavar="PATH", help="The folder to write into.")],
) -> None:
    """Write what the store knows of its packages as JSON: one uniform list, and one list for each hub."""
    session: Session = ctx.obj

    from ptmtorrent.workflows.export import export_ptmtorrent

    packages, failed = export_ptmtorrent(session.home, to, emit=session.emit)
    session.sink.rows("export", [{"folder": str(to), "packages": packages, "failed": failed}])
    session.finish()
