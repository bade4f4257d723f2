"""`renew`: sign the roles of the home's own channel that are due again, so that it does not expire."""

import typer

from ptmtorrent.cli._session import Session, ask_passphrase

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent renew")
def renew(ctx: typer.Context) -> None:
    """Renew the signatures of the channel that are due; publish the newest release again to distribute them."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock, spell
    from ptmtorrent.trust.keys import load_keys
    from ptmtorrent.workflows.renew import renew as run

    keys = load_keys(session.home.keys, lambda: ask_passphrase(session.settings, confirm=False, declined=False))
    expires = run(session.home, keys, clock=read_clock, emit=session.emit)
    session.sink.rows("role", [{"role": role, "expires": spell(moment)} for role, moment in expires.items()])
