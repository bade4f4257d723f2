"""Reads files that a release lists, bounded by the listed size and checked against the listed hash."""

from blake3 import blake3

from ptmtorrent.channel.paths import listed_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.release import FileRef, Release

MAX_LISTED_BYTES = 1 << 30
"""Limit of a listed file that is read whole (1 GiB): in an archived release the sizes of placements are unsigned."""


def read_listed(reader: ChannelReader, release: Release, ref: FileRef) -> bytes:
    """Return the bytes of a file that `release` lists; never reads more than its listed size.

    Raises:
        IntegrityError: the file has another size or hash.
        NotFound: this channel does not hold the file; a mirror may hold any part.
        TransportError, StoreError: the reader's own error.
    """
    path = listed_path(release, ref)
    if ref.size > MAX_LISTED_BYTES:
        raise IntegrityError(
            f"release `{release.name}` lists `{path}` with {ref.size} bytes, which exceeds {MAX_LISTED_BYTES}"
        )
    data = reader.read(path, limit=ref.size)
    if len(data) != ref.size or blake3(data).hexdigest() != ref.blake3:
        raise IntegrityError(
            f"`{path}` of channel `{reader.location}` is not the file that release `{release.name}` lists",
            hint="use another mirror; this one is damaged",
        )
    return data
