"""`status`: the state of this home."""

import typer

from ptmtorrent.cli._session import Session
from ptmtorrent.cli._text import Size

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent status")
def status(ctx: typer.Context) -> None:
    """Show the state of this home: packages and packs in the store, releases of its channel, free disk space."""
    session: Session = ctx.obj

    from ptmtorrent.workflows.status import status as read_status

    found = read_status(session.home)
    session.sink.rows("status", [{"what": name, "value": _measure(name, value)} for name, value in found])


def _measure(name: str, value: str | int) -> str | int:
    return Size(value) if name.endswith("bytes") else value
