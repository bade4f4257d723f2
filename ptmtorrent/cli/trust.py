"""`trust`: the channels that this home trusts, by fingerprint."""

from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, stopping

app = typer.Typer()
SHOWN = ("root", "timestamp")
"""Roles whose expiry `trust show` prints."""

verbs = typer.Typer(help="Trust a channel, and show trusted channels.", no_args_is_help=True)
app.add_typer(verbs, name="trust")


@verbs.command("add", epilog="Example: ptmtorrent trust add https://example.org/channel/ --fingerprint b3:HASH")
def add(
    ctx: typer.Context,
    location: Annotated[
        str, typer.Argument(metavar="LOC", help="Location of a channel: a folder, URL or Globus folder.")
    ],
    fingerprint: Annotated[
        str,
        typer.Option(metavar="b3:HASH", help="Fingerprint, as printed by the maintainer's `keys show --fingerprint`."),
    ],
) -> None:
    """Trust a channel if its first root has this fingerprint."""
    session: Session = ctx.obj

    from ptmtorrent.channel.paths import FIRST_ROOT
    from ptmtorrent.model.locations import parse_location
    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.reading.open_channel import find_reader
    from ptmtorrent.trust.fingerprints import MAX_ROOT_BYTES, parse_fingerprint
    from ptmtorrent.trust.pins import Pins

    parse_fingerprint(fingerprint)
    place = parse_location(location)
    with stopping() as stop:
        access = access_of(session.settings, session.home)
        reader = find_reader(place, access, stop=stop, emit=session.emit)
        root = reader.read(FIRST_ROOT, limit=MAX_ROOT_BYTES)
    pin = Pins(session.home.trust).add(place, fingerprint, root)
    session.sink.rows("channel", [{"channel": pin.location, "fingerprint": pin.fingerprint}])


@verbs.command("show", epilog="Example: ptmtorrent trust show")
def show(ctx: typer.Context) -> None:
    """Show the trusted channels, their fingerprints, and when the metadata last seen of each expires."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.trust.expiry import spell_expiry
    from ptmtorrent.trust.memory import seen_expiries
    from ptmtorrent.trust.pins import Pins

    now = read_clock()
    rows: list[dict[str, str]] = []
    for pin in Pins(session.home.trust).list():
        seen = seen_expiries(session.home.trust, pin.fingerprint)
        dates = {f"{role}_expires": spell_expiry(role, seen[role], now) if role in seen else "-" for role in SHOWN}
        rows.append({"channel": pin.location, "fingerprint": pin.fingerprint, **dates})
    session.sink.rows("channel", rows)
