"""`store repair`: restore damaged data."""

from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.errors import IntegrityError

app = typer.Typer()


@app.command("repair", epilog="Example: ptmtorrent store repair --from https://example.org/channel/")
def repair(
    ctx: typer.Context,
    channel: Annotated[
        str | None, typer.Option("--from", metavar="LOC", help="Location of a channel with the same packs.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Find damage without reading all bytes.")] = False,
    index: Annotated[bool, typer.Option("--index", help="Rebuild the index from the packs.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print damage and what would be downloaded, without changes.")
    ] = False,
) -> None:
    """Restore damaged data from a channel, or salvage what is left locally; lists packages to clone again."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.reading.open_channel import open_channel
    from ptmtorrent.workflows.maintain.repair import repair as run

    named = None
    with stopping() as stop:
        if channel is not None:
            home, emit, globus = session.home, session.emit, lambda: access_of(session.settings, session.home)
            named = open_channel(channel, None, home, clock=read_clock, emit=emit, globus=globus, stop=stop)
        repaired = run(
            session.home,
            named,
            level="normal" if quick else "data",
            rebuild=index,
            dry_run=dry_run,
            emit=session.emit,
            stop=stop,
        )
    session.report(repaired.summary)
    if repaired.summary.failed:
        from ptmtorrent.model.text import count

        hint = "name another channel with `--from`, or clone the packages named above again"
        raise IntegrityError(f"{count(repaired.summary.failed, 'item')} still damaged (see above)", hint=hint)
