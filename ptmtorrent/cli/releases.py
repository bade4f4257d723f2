"""`releases`: the releases that a channel lists, with what one cites them by."""

import typer

from ptmtorrent.cli._options import ChannelOption, open_requested
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.cli._text import Size

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent releases --channel https://example.org/channel/")
def releases(ctx: typer.Context, channel: ChannelOption = None) -> None:
    """List the releases of a channel, newest first, with date, packages, files, bytes and content root."""
    session: Session = ctx.obj

    from ptmtorrent.workflows.releases import releases as listed

    with stopping() as stop:
        found = list(listed(open_requested(session, channel, None, stop), stop))
    rows = [
        {
            "name": release.name,
            "created": release.created,
            "packages": release.totals.packages,
            "files": release.totals.files,
            "bytes": Size(release.totals.raw),
            "content_root": f"b3:{release.content_root}",
        }
        for release in found
    ]
    session.sink.rows("release", rows)
