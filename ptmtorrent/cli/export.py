"""`export`: metadata of captured packages, in a format that other tools read."""

from enum import StrEnum
from typing import Annotated

import typer

from ptmtorrent.cli._session import Session

app = typer.Typer()


class Shape(StrEnum):
    """Formats of an export."""

    PTMTORRENT_JSON = "ptmtorrent-json"


@app.command(epilog="Example: ptmtorrent export ptmtorrent-json --to metadata")
def export(
    ctx: typer.Context,
    shape: Annotated[Shape, typer.Argument(metavar="FORMAT", help="ptmtorrent-json, the only format.")],  # noqa: ARG001  # there is one
    to: Annotated[str, typer.Option("--to", metavar="PATH", help="Folder to write into.")],
) -> None:
    """Write the metadata of captured packages as JSON: one uniform list, and one list per hub."""
    session: Session = ctx.obj

    from ptmtorrent.errors import PartialFailure
    from ptmtorrent.model.locations import parse_folder
    from ptmtorrent.model.text import count
    from ptmtorrent.workflows.export import export as export_captured

    folder = parse_folder(to, "--to")
    packages, failed = export_captured(session.home, folder, emit=session.emit)
    session.sink.rows("export", [{"folder": str(folder), "packages": packages, "failed": failed}])
    if failed:
        raise PartialFailure(f"{failed:,} of {count(packages + failed, 'package')} failed (see above)")
