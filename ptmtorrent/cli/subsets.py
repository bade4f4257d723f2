"""`subsets`: the named subsets of a release."""

import typer

from ptmtorrent.cli._options import ChannelOption, ReleaseOption, open_requested
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.cli._text import Size

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent subsets --release 2026.11")
def subsets(ctx: typer.Context, channel: ChannelOption = None, release: ReleaseOption = None) -> None:
    """List the subsets of a release with packages, files, raw bytes, stored bytes and bytes of packs."""
    session: Session = ctx.obj
    with stopping() as stop:
        opened = open_requested(session, channel, release, stop)
    rows = [
        {
            "subset": subset.name,
            "packages": subset.packages,
            "files": subset.files,
            "bytes": Size(subset.bytes),
            "stored": Size(subset.stored),
            "packs_bytes": Size(subset.packs_bytes),
            "query": subset.query,
        }
        for subset in opened.release.subsets
    ]
    session.sink.rows("subset", rows)
