"""`store gc`: delete packs that are no longer needed."""

from datetime import timedelta
from typing import Annotated

import typer

from ptmtorrent.cli._session import Session
from ptmtorrent.cli._text import Size

MAX_HOURS = 10 * 365 * 24

app = typer.Typer()


@app.command("gc", epilog="Example: ptmtorrent store gc --grace 48")
def gc(
    ctx: typer.Context,
    grace: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_HOURS, metavar="HOURS", help="Hours before an unreferenced pack is deleted; 0: now."
        ),
    ] = 24,
    kept: Annotated[bool, typer.Option("--kept", help="Also delete packs kept by `fetch --keep-packs`.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be deleted, without changes.")] = False,
) -> None:
    """Delete packs that no release and no current capture needs, after a grace period."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.workflows.maintain.gc import gc as collect

    done = collect(
        session.home, grace=timedelta(hours=grace), kept=kept, dry_run=dry_run, clock=read_clock, emit=session.emit
    )
    measures = {
        "packs_freed": done.packs_freed,
        "bytes_freed": Size(done.bytes_freed),
        "packs_marked": done.packs_marked,
        "bytes_marked": Size(done.bytes_marked),
        "bytes_dead_in_live_packs": Size(done.bytes_dead),
    }
    session.sink.rows("gc", [{"what": what, "value": value} for what, value in measures.items()])
    session.report(done.summary)
