"""`publish`: copy a release of the home's own channel into a directory that any static file server can serve."""

from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli._session import Session, ask_passphrase, stopping
from ptmtorrent.errors import UsageError

if TYPE_CHECKING:
    from ptmtorrent.model.ids import ReleaseName
    from ptmtorrent.model.locations import GlobusLocation
    from ptmtorrent.model.records import Summary
    from ptmtorrent.trust.keys import Keys
    from ptmtorrent.workflows.publish.listing import LoadKeys

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent publish 2026.11 --to /srv/www/channel")
def publish(  # the options of the verb
    ctx: typer.Context,
    to: Annotated[str, typer.Option(metavar="DIR|globus:ID/path", help="Directory, or folder of a Globus collection.")],
    release: Annotated[str | None, typer.Argument(metavar="RELEASE", help="Name of a release of this home.")] = None,
    retire: Annotated[
        str | None,
        typer.Option(
            metavar="RELEASE", help="Instead, remove this release from the list and delete what only it needs."
        ),
    ] = None,
    anyone: Annotated[bool, typer.Option("--anyone", help="Globus: allow reading without a login.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done without doing it.")] = False,
) -> None:
    """Publish a release: copy it, read it back as a client does, then write the signed timestamp."""
    session: Session = ctx.obj

    from ptmtorrent.model.ids import parse_release_name
    from ptmtorrent.model.locations import GlobusLocation, parse_destination
    from ptmtorrent.trust.keys import load_keys
    from ptmtorrent.workflows.publish.publish import publish as run
    from ptmtorrent.workflows.publish.retire import retire as run_retire

    if (release is None) == (retire is None):
        raise UsageError("name either a release to publish or one to retire", hint="ptmtorrent publish NAME --to DIR")
    name = parse_release_name(release or retire or "")

    def keys() -> "Keys":
        return load_keys(session.home.keys, lambda: ask_passphrase(session.settings, confirm=False, declined=False))

    place = parse_destination(to)
    if isinstance(place, GlobusLocation):
        if anyone and retire is not None:
            raise UsageError("`--anyone` applies to a release that is published", hint="omit it")
        summary = _publish_to_globus(
            session, name, place, keys, retired=retire is not None, anyone=anyone, dry_run=dry_run
        )
    elif anyone:
        raise UsageError(
            "`--anyone` applies to Globus collections only", hint="omit it: access to a directory is set in its server"
        )
    elif retire is not None:
        summary = run_retire(name, session.home, place.path, emit=session.emit, load_keys=keys, dry_run=dry_run)
    else:
        summary = run(name, session.home, place.path, emit=session.emit, load_keys=keys, dry_run=dry_run)
    session.finish(summary)


def _publish_to_globus(
    session: Session,
    name: "ReleaseName",
    place: "GlobusLocation",
    load_keys: "LoadKeys",
    *,
    retired: bool,
    anyone: bool,
    dry_run: bool,
) -> "Summary":
    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.workflows.publish.globus import publish_to_globus
    from ptmtorrent.workflows.publish.globus_retire import retire_from_globus
    from ptmtorrent.workflows.publish.globus_target import GlobusDestination

    run = retire_from_globus if retired else publish_to_globus
    with stopping() as stop:
        to = GlobusDestination(place=place, access=access_of(session.settings, session.home), stop=stop, anyone=anyone)
        return run(name, session.home, to, emit=session.emit, load_keys=load_keys, dry_run=dry_run)
