"""`timestamp renew`: sign the pointer of the home's own channel again."""

import typer

from ptmtorrent.cli._session import Session, ask_passphrase

app = typer.Typer()
verbs = typer.Typer(help="Keep a channel from expiring.", no_args_is_help=True)
app.add_typer(verbs, name="timestamp")


@verbs.command("renew", epilog="Example: ptmtorrent timestamp renew")
def renew(ctx: typer.Context) -> None:
    """Sign what the channel says for another 30 days; publish the newest release again to pass it on."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock, spell
    from ptmtorrent.trust.keys import load_keys
    from ptmtorrent.workflows.renew import renew as run

    keys = load_keys(session.home.keys, lambda: ask_passphrase(session.settings, confirm=False, none_wanted=False))
    expires = run(session.home, keys, clock=read_clock)
    session.sink.rows("timestamp", [{"channel": str(session.home.channel), "expires": spell(expires)}])
