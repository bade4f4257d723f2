"""Reads which packages of a release have findings."""

from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.model import canonical
from ptmtorrent.model.flagged import Flagged
from ptmtorrent.model.release import Release


def read_flagged(release: Release, reader: ChannelReader) -> Flagged | None:
    """Return the packages of `release` with findings; None if it says nothing of findings.

    Raises:
        IntegrityError, NotFound, TransportError: the document cannot be read.
        UnsupportedFormat: it needs a newer version.
    """
    ref = release.files.get("flagged")
    if ref is None:
        return None
    return canonical.decode(read_listed(reader, release, ref), Flagged, name=f"`{ref.path}`")
