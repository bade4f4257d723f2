"""`publish`: put a release of the home's own channel into a directory that any static file server can carry."""

from pathlib import Path
from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.errors import UsageError

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent publish 2026.11 --to /srv/www/channel")
def publish(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A release that was made here.")],
    to: Annotated[str, typer.Option(metavar="DIR|globus:ID/path", help="A directory, or a folder in a collection.")],
    anyone: Annotated[bool, typer.Option("--anyone", help="Globus: let anybody read it, without a login.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be moved, move nothing.")] = False,
) -> None:
    """Publish a release into a directory: packs are hard-linked where they can be, the pointer comes last."""
    session: Session = ctx.obj

    from ptmtorrent.model.ids import parse_release_name
    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.transports.globus.locations import is_globus, parse_place
    from ptmtorrent.workflows.publish.globus import publish_to_globus
    from ptmtorrent.workflows.publish.publish import publish as run

    name = parse_release_name(release)
    if is_globus(to):
        with stopping() as stop:
            summary = publish_to_globus(
                name,
                session.home,
                parse_place(to),
                access_of(session.settings, session.home),
                emit=session.emit,
                stop=stop,
                anyone=anyone,
                dry_run=dry_run,
            )
    elif anyone:
        raise UsageError("`--anyone` is for collections of Globus", hint="a directory is as open as its server is")
    else:
        summary = run(name, session.home, Path(to), emit=session.emit, dry_run=dry_run)
    session.finish(summary)
