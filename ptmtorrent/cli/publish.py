"""`publish`: copy a release of the home's own channel into a directory that any static file server can serve."""

from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.errors import UsageError

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent publish 2026.11 --to /srv/www/channel")
def publish(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Name of a release of this home.")],
    to: Annotated[str, typer.Option(metavar="DIR|globus:ID/path", help="Directory, or folder of a Globus collection.")],
    anyone: Annotated[bool, typer.Option("--anyone", help="Globus: allow reading without a login.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be copied without copying.")] = False,
) -> None:
    """Publish a release into a directory: packs are hard-linked if possible, the signed timestamp is written last."""
    session: Session = ctx.obj

    from ptmtorrent.model.ids import parse_release_name
    from ptmtorrent.model.locations import GlobusLocation, parse_destination
    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.workflows.publish.globus import publish_to_globus
    from ptmtorrent.workflows.publish.publish import publish as run

    name = parse_release_name(release)
    place = parse_destination(to)
    if isinstance(place, GlobusLocation):
        with stopping() as stop:
            summary = publish_to_globus(
                name,
                session.home,
                place,
                access_of(session.settings, session.home),
                emit=session.emit,
                stop=stop,
                anyone=anyone,
                dry_run=dry_run,
            )
    elif anyone:
        raise UsageError(
            "`--anyone` applies to Globus collections only", hint="omit it: access to a directory is set in its server"
        )
    else:
        summary = run(name, session.home, place.path, emit=session.emit, dry_run=dry_run)
    session.finish(summary)
