"""`publish`: put a release of the home's own channel into a directory that any static file server can carry."""

from pathlib import Path
from typing import Annotated

import typer

from ptmtorrent.cli.session import Session

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent publish 2026.11 --to /srv/www/channel")
def publish(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A release that was made here.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The channel directory.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be moved, move nothing.")] = False,
) -> None:
    """Publish a release into a directory: packs are hard-linked where they can be, the pointer comes last."""
    session: Session = ctx.obj

    from ptmtorrent.model.ids import parse_release_name
    from ptmtorrent.workflows.publish import publish as run

    summary = run(parse_release_name(release), session.home, to, emit=session.emit, dry_run=dry_run)
    session.finish(summary)
