"""`keys`: the private keys that sign releases."""

from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, ask_passphrase
from ptmtorrent.paths import Home

app = typer.Typer()
verbs = typer.Typer(help="Create and show the keys that sign releases.", no_args_is_help=True)
app.add_typer(verbs, name="keys")


@verbs.command("init", epilog="Example: ptmtorrent keys init")
def init(
    ctx: typer.Context,
    no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Store the keys unencrypted.")] = False,
) -> None:
    """Create one key per role and a minisign key, encrypted with a passphrase [PTMTORRENT_KEY_PASSPHRASE]."""
    session: Session = ctx.obj

    from ptmtorrent.trust.keys import ROLES, init_keys

    passphrase = ask_passphrase(session.settings, confirm=True, declined=no_passphrase)
    init_keys(session.home.keys, passphrase)
    session.sink.rows("key", [{"role": role, "folder": str(session.home.keys)} for role in (*ROLES, "minisign")])


def _before_release(home: Home, *, fingerprint: bool) -> dict[str, str | None]:
    """Return the row of a home whose channel has no first root yet, and so no fingerprint.

    Raises:
        NotFound: it has no keys either, or the `fingerprint` alone was asked for.
    """
    from ptmtorrent.errors import NotFound
    from ptmtorrent.trust.keys import ROLES

    roles = [role for role in ROLES if (home.keys / f"{role}.pem").is_file()]
    if not roles:
        raise NotFound(f"`{home.root}` has no keys", hint="create them: ptmtorrent keys init")
    if fingerprint:
        raise NotFound(
            f"the channel of `{home.root}` has no fingerprint yet",
            hint="the first release makes it: ptmtorrent release NAME",
        )
    return {"fingerprint": None, "roles": ", ".join(roles), "folder": str(home.keys)}


@verbs.command("show", epilog="Example: ptmtorrent keys show --fingerprint")
def show(
    ctx: typer.Context,
    fingerprint: Annotated[bool, typer.Option("--fingerprint", help="Print only the fingerprint.")] = False,
) -> None:
    """Show the fingerprint of this home's channel, when its roles expire, and the folder of its keys."""
    session: Session = ctx.obj

    from ptmtorrent.channel.paths import FIRST_ROOT
    from ptmtorrent.trust.fingerprints import fingerprint as fingerprint_of

    if not (session.home.channel / FIRST_ROOT).is_file():
        session.sink.rows("key", [_before_release(session.home, fingerprint=fingerprint)])
        return
    row = {"fingerprint": fingerprint_of(session.home.channel)}
    if fingerprint:
        session.sink.rows("key", [row])
        return

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.trust.channel_state import read_expiries
    from ptmtorrent.trust.expiry import RENEW_HINT, spell_expiry

    now = read_clock()
    expiries = read_expiries(session.home.channel)
    dates = {f"{role}_expires": spell_expiry(role, moment, now, hint=RENEW_HINT) for role, moment in expiries.items()}
    session.sink.rows("key", [{**row, **dates, "folder": str(session.home.keys)}])
