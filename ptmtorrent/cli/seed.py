"""`seed`: seed the volumes of a channel directory."""

from typing import Annotated

import typer

from ptmtorrent.cli._options import parse_address, parse_list, parse_url
from ptmtorrent.cli._session import Session, stopping
from ptmtorrent.scrub import split_login

app = typer.Typer()


@app.command(epilog="Example: ptmtorrent seed --channel /srv/www/channel --listen 0.0.0.0:6881")
def seed(
    ctx: typer.Context,
    channel: Annotated[
        str | None, typer.Option(metavar="DIR", help="Channel directory (default: this home's own channel).")
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address to listen on; port 0: any free port.")
    ] = "0.0.0.0:6881",
    tracker: Annotated[list[str] | None, typer.Option(metavar="URL", help="Trackers to announce to.")] = None,
) -> None:
    """Seed every volume of a channel as v1 and v2 torrents from the same files, until interrupted."""
    session: Session = ctx.obj
    host, port = parse_address(listen, any_port=True)
    trackers = tuple(parse_url(url, ("udp", "http", "https"), "--tracker") for url in parse_list(tracker))
    for url in trackers:
        split_login(url)  # registers the password; libtorrent gets it as it is

    from ptmtorrent.model.locations import parse_folder
    from ptmtorrent.workflows.seed import seed as run

    folder = None if channel is None else parse_folder(channel, "--channel")

    def ready(actual: int) -> None:
        session.sink.rows("listening", [{"address": f"{host}:{actual}"}])

    with stopping() as stop:
        run(
            folder or session.home.channel,
            listen=(host, port),
            emit=session.emit,
            stop=stop,
            ready=ready,
            trackers=trackers,
            known=session.home.verified_files,
        )
