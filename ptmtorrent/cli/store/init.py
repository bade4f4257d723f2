"""`store init`: create an empty store."""

import typer

from ptmtorrent.cli._session import Session

app = typer.Typer()


@app.command("init", epilog="Example: ptmtorrent store init")
def init(ctx: typer.Context) -> None:
    """Create an empty store in this home unless it exists, and print its path."""
    session: Session = ctx.obj

    from ptmtorrent.store.store import Store

    with Store.open(session.home.store, write=True):
        pass
    session.sink.rows("store", [{"what": "store", "value": str(session.home.store)}])
