"""`releases`: the releases that a channel lists."""

from collections.abc import Iterator

from ptmtorrent.model.release import Release
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.stop import ANEW_HINT, Stop
from ptmtorrent.trust.client import read_listed_release


def releases(channel: OpenChannel, stop: Stop) -> Iterator[Release]:
    """Yield every release of the verified list, newest first; the opened one alone where no list was verified.

    Raises:
        TrustError: a `release.json` is not the listed one.
        NotFound, TransportError, IntegrityError, UnsupportedFormat: it cannot be read.
        Interrupted: `stop` was set.
    """
    if not channel.listed:
        yield channel.release
    for listed in reversed(channel.listed):
        stop.raise_if_set("the listing", hint=ANEW_HINT)
        same = listed.content_root == channel.release.content_root
        yield channel.release if same else read_listed_release(channel.reader, listed)
