"""`withdraw`: take a package back from all releases of the home's own channel."""

from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, ask_passphrase

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent withdraw hf:org/name --why 'asked for by its author'")
def withdraw(
    ctx: typer.Context,
    package: Annotated[str, typer.Argument(metavar="PACKAGE", help="Package of a release of this home.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="Reason; everyone can read it.")],
) -> None:
    """Withdraw a package: readers refuse it at once; the next release and publication delete its bytes."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.trust.keys import load_keys
    from ptmtorrent.workflows.withdraw import withdraw as run

    keys = load_keys(session.home.keys, lambda: ask_passphrase(session.settings, confirm=False, declined=False))
    run(package, session.home, keys, why=why, clock=read_clock, emit=session.emit)
