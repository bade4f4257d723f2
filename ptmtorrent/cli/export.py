"""`export`: metadata of captured packages or of a release, in a format that other tools read."""

from enum import StrEnum
from typing import Annotated

import typer

from ptmtorrent.cli._options import ReleaseOption, open_requested
from ptmtorrent.cli._session import Session, stopping

app = typer.Typer()


class Shape(StrEnum):
    """Formats of an export."""

    PTMTORRENT_JSON = "ptmtorrent-json"


@app.command(epilog="Example: ptmtorrent export ptmtorrent-json --to metadata")
def export(
    ctx: typer.Context,
    shape: Annotated[Shape, typer.Argument(metavar="FORMAT", help="ptmtorrent-json, the only format.")],  # noqa: ARG001  # there is one
    to: Annotated[str, typer.Option("--to", metavar="PATH", help="Folder to write into.")],
    channel: Annotated[
        str | None,
        typer.Option("--channel", metavar="LOC", help="Export a release of this channel (default: what was captured)."),
    ] = None,
    release: ReleaseOption = None,
) -> None:
    """Write the metadata of packages as JSON: one uniform list, and one list per hub."""
    session: Session = ctx.obj

    from ptmtorrent.errors import PartialFailure
    from ptmtorrent.model.locations import parse_folder
    from ptmtorrent.model.text import count
    from ptmtorrent.workflows.export import export as export_captured

    folder = parse_folder(to, "--to")
    with stopping() as stop:
        opened = None if channel is None and release is None else open_requested(session, channel, release, stop)
        packages, failed = export_captured(session.home, folder, emit=session.emit, channel=opened)
    session.sink.rows("export", [{"folder": str(folder), "packages": packages, "failed": failed}])
    if failed:
        raise PartialFailure(f"{failed:,} of {count(packages + failed, 'package')} failed (see above)")
