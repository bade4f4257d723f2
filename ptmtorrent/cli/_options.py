"""The options of every verb that reads a channel, and how the channel is opened."""

from typing import TYPE_CHECKING, Annotated

import typer

from ptmtorrent.cli._completion import complete_subsets
from ptmtorrent.cli._session import Session

if TYPE_CHECKING:
    from ptmtorrent.reading.open_channel import OpenChannel

ChannelOption = Annotated[
    str | None,
    typer.Option("--channel", metavar="LOC", help="URL or folder of a channel (default: the sample channel)."),
]
ReleaseOption = Annotated[
    str | None,
    typer.Option("--release", metavar="NAME|b3:HASH", help="Release name or content root (default: the newest)."),
]
SubsetOption = Annotated[
    str | None,
    typer.Option("--subset", metavar="NAME", help="A subset of the release.", autocompletion=complete_subsets),
]


def open_requested(session: Session, channel: str | None, release: str | None) -> "OpenChannel":
    """Return the channel that the options name, else the configured one, else the sample.

    Raises:
        TrustError: the channel is not trusted, or its signatures do not hold.
        NotFound: no such channel or release.
    """
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.reading.collection import access_of
    from ptmtorrent.reading.open_channel import open_channel

    settings = session.settings.with_flags(channel=channel)
    globus = access_of(settings, session.home)
    return open_channel(settings.channel, release, session.home, clock=read_clock, emit=session.emit, globus=globus)
