"""`auth`: log in to Globus with one consent for everything requested, and show the stored tokens."""

from enum import StrEnum
from typing import Annotated

import typer

from ptmtorrent.cli._options import parse_list
from ptmtorrent.cli._session import Session

app = typer.Typer()
verbs = typer.Typer(help="Log in to Globus and show stored tokens.", no_args_is_help=True)
app.add_typer(verbs, name="auth")


class Service(StrEnum):
    """Services that can be logged in to."""

    GLOBUS = "globus"


@verbs.command("login", epilog="Example: ptmtorrent auth login globus --no-browser")
def login(
    ctx: typer.Context,
    service: Annotated[Service, typer.Argument(metavar="globus", help="The service to log in to.")],
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print a URL and prompt for the code it shows.")
    ] = False,
    collection: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Also request HTTPS access to these collections (IDs).")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Also grant these scopes, as named by an error.")
    ] = None,
) -> None:
    """Log in and store the tokens in the home, readable only by you."""
    session: Session = ctx.obj

    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.transports.globus.login import log_in

    access = access_of(session.settings, session.home)
    here = [access.here.collection] if access.here else []
    wanted = list(dict.fromkeys([*(one.lower() for one in parse_list(collection)), *here]))
    scopes = log_in(access, wanted, parse_list(scope), browser=not no_browser)
    session.sink.rows("login", [{"service": service.value, "scope": one} for one in scopes])


@verbs.command("status", epilog="Example: ptmtorrent auth status")
def status(ctx: typer.Context) -> None:
    """Show the stored tokens: identity, service, scopes, expiry, and whether they renew automatically."""
    session: Session = ctx.obj

    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.transports.globus.login import held

    tokens = held(access_of(session.settings, session.home))
    session.sink.rows(
        "token",
        [
            {"identity": one.identity, "server": one.server, "scopes": one.scopes}
            | {"expires": one.expires, "renews": one.renews}
            for one in tokens
        ],
    )
