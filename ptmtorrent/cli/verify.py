"""`verify`: does every byte that lies here still hash to what was verified."""

from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.errors import IntegrityError, UsageError

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent verify models")
def verify(
    ctx: typer.Context,
    target: Annotated[
        str | None, typer.Argument(metavar="PACKAGE|PATH", help="What a fetch laid out; all of it without one.")
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="Check the packs of the store instead.")] = False,
) -> None:
    """Hash again what a fetch laid out, or the packs of the store; damage is named and ends with 50."""
    session: Session = ctx.obj
    if store and target is not None:
        raise UsageError("`--store` checks all packs and takes no target", hint="give one or the other")

    from ptmtorrent.workflows.verify import verify_files, verify_store

    with stopping() as stop:
        if store:
            summary = verify_store(session.home, emit=session.emit, stop=stop)
        else:
            summary = verify_files(session.home, target, emit=session.emit, stop=stop)
    session.report(summary)
    if summary.failed:
        hint = "mend them: ptmtorrent store repair --from CHANNEL" if store else "run the same fetch again"
        raise IntegrityError(f"{summary.failed} of {summary.packages} are damaged; they are named above", hint=hint)
