"""The two options of every verb that reads a channel, and how it is opened."""

from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli._session import Session

if TYPE_CHECKING:
    from ptmtorrent.reading.open_channel import OpenChannel

ChannelOption = Annotated[
    str | None, typer.Option("--channel", metavar="LOC", help="URL or folder; the sample channel without one.")
]
ReleaseOption = Annotated[
    str | None,
    typer.Option("--release", metavar="NAME|b3:HASH", help="A release, or a pinned content root; else the newest."),
]


def open_wanted(session: Session, channel: str | None, release: str | None) -> "OpenChannel":
    """Open the channel that was asked for or is configured, or the sample.

    Raises:
        TrustError: nothing vouches for it.
        NotFound: no such channel or release.
    """
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.reading.open_channel import open_channel

    settings = session.settings.with_flags(channel=channel)
    globus = access_of(settings, session.home)
    return open_channel(settings.channel, release, session.home, clock=read_clock, emit=session.emit, globus=globus)
