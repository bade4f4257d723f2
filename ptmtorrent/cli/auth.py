"""`auth`: log in to Globus, once, for everything that is asked for together; and say who is logged in."""

from enum import StrEnum
from typing import Annotated

import typer

from ptmtorrent.cli._session import Session

app = typer.Typer()
verbs = typer.Typer(help="Log in to Globus, and show the logins that are kept.", no_args_is_help=True)
app.add_typer(verbs, name="auth")


class Service(StrEnum):
    """What can be logged in to."""

    GLOBUS = "globus"


@verbs.command("login", epilog="Example: ptmtorrent auth login globus --no-browser")
def login(
    ctx: typer.Context,
    service: Annotated[Service, typer.Argument(metavar="globus", help="What to log in to.")],
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print an address, and ask for the code it gives.")
    ] = False,
    collection: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Also read this collection by HTTPS; repeatable.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Also give this consent, as an error named it.")
    ] = None,
) -> None:
    """Log in and keep the tokens in the home, readable by you alone; all consents are asked for at once."""
    session: Session = ctx.obj

    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.transports.globus.login import log_in

    access = access_of(session.settings, session.home)
    here = [access.here.collection] if access.here else []
    wanted = list(dict.fromkeys([*(one.lower() for one in collection or ()), *here]))
    scopes = log_in(access, wanted, scope or (), browser=not no_browser)
    session.sink.rows("login", [{"service": service.value, "scope": one} for one in scopes])


@verbs.command("status", epilog="Example: ptmtorrent auth status")
def status(ctx: typer.Context) -> None:
    """Show the tokens that are kept: for what, until when, and whether they renew themselves."""
    session: Session = ctx.obj

    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.transports.globus.login import held

    tokens = held(access_of(session.settings, session.home))
    session.sink.rows(
        "token",
        [{"server": one.server, "scopes": one.scopes, "expires": one.expires, "renews": one.renews} for one in tokens],
    )
