"""`trust`: the channels that this home trusts, by fingerprint."""

from typing import Annotated

import typer

from ptmtorrent.cli._session import Session, stopping

app = typer.Typer()
SHOWN = ("root", "timestamp")
"""Roles whose expiry `trust show` prints."""

verbs = typer.Typer(help="Trust channels, show them, and trust them no longer.", no_args_is_help=True)
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
    """Show the trusted channels: fingerprints, when the metadata last seen expires, and how many keys must sign."""
    session: Session = ctx.obj

    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.trust.expiry import spell_expiry
    from ptmtorrent.trust.memory import seen_expiries, seen_keys
    from ptmtorrent.trust.pins import Pins

    now = read_clock()
    rows: list[dict[str, str]] = []
    for pin in Pins(session.home.trust).list():
        seen = seen_expiries(session.home.trust, pin.fingerprint)
        dates = {f"{role}_expires": spell_expiry(role, seen[role], now) if role in seen else "-" for role in SHOWN}
        keys = seen_keys(session.home.trust, pin.fingerprint)
        needed = ", ".join(f"{role} {threshold} of {number}" for role, (threshold, number) in keys.items())
        rows.append({"channel": pin.location, "fingerprint": pin.fingerprint, **dates, "keys": needed})
    session.sink.rows("channel", rows)


@verbs.command("remove", epilog="Example: ptmtorrent trust remove https://example.org/channel/")
def remove(
    ctx: typer.Context,
    location: Annotated[str, typer.Argument(metavar="LOC", help="Location of a trusted channel.")],
) -> None:
    """Trust a channel no longer; what was seen of it is remembered."""
    session: Session = ctx.obj

    from ptmtorrent.model.locations import parse_location
    from ptmtorrent.trust.pins import Pins

    pin = Pins(session.home.trust).remove(parse_location(location))
    session.sink.rows("channel", [{"channel": pin.location, "fingerprint": pin.fingerprint}])
