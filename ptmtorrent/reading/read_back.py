"""Reads a channel as a fetch client does, before its new timestamp is written and after.

The new timestamp is held in memory: the client's own check runs over the files of the channel with it, while every
other reader still gets the state before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from blake3 import blake3

from ptmtorrent.channel.paths import TIMESTAMP, listed_path, pack_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import LocalReader, read_listed
from ptmtorrent.errors import IntegrityError, NotFound, TransportError, TrustError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Clock
from ptmtorrent.model.release import FileRef, Release
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.trust.client import listed_releases, open_fresh
from ptmtorrent.trust.fingerprints import read_first_root
from ptmtorrent.trust.metadata import read_listing
from ptmtorrent.trust.publisher import Accept

CHUNK_BYTES = 4 << 20


class HeldTimestamp:
    """Reads a channel through `reader`, but its timestamp from memory."""

    def __init__(self, reader: ChannelReader, timestamp: bytes) -> None:
        self.location = reader.location
        self._reader = reader
        self._timestamp = timestamp

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        return self._timestamp if path == TIMESTAMP else self._reader.read(path, limit=limit)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        return self._reader.read_range(path, offset, length)


def check_as_reader(
    reader: ChannelReader, root: bytes, listed: tuple[ReleaseName, ...], name: ReleaseName | None, now: datetime
) -> None:
    """Open every release in `listed` as a new client pinned to `root` does; read every file of the release `name`.

    Of a pack, its last byte is read; its other bytes are proven when it is copied.

    Raises:
        TrustError: a signature, role, version or hash does not hold, or has expired.
        NotFound: a file is missing.
        IntegrityError: a file is not the one that the release lists.
        TransportError: the reader's own error.
    """
    with TemporaryDirectory(prefix="ptmtorrent-") as folder, _named(reader):
        for wanted in dict.fromkeys((None, *listed)):
            opened = open_fresh(reader, root=root, state=Path(folder), now=now, release=wanted)
            if wanted is not None and wanted == name:
                _check_release(reader, opened.release)


def own_check(channel: Path, name: ReleaseName | None, clock: Clock) -> Accept:
    """Return a check of a new timestamp of the own channel in the folder `channel`; it reads the files of `name`.

    It raises what `check_as_reader` does. A channel that lists no release has nothing to read.
    """

    def accept(timestamp: bytes) -> None:
        reader = HeldTimestamp(LocalReader(channel), timestamp)
        if listed := tuple(listed_releases(read_listing(reader).targets)):
            check_as_reader(reader, read_first_root(channel), listed, name, clock())

    return accept


def _check_release(reader: ChannelReader, release: Release) -> None:
    pages = [*release.content, *release.placement, *release.others]
    for subset in release.subsets:
        pages += [*subset.content, *subset.placement]
    for ref in dict.fromkeys(pages):
        _check_file(reader, listed_path(release, ref), ref)
    for volume in release.volumes:
        read_listed(reader, release, volume.torrent_v2)
        torrent = read_listed(reader, release, volume.torrent_v1)
        for pack, size in packs_in(torrent, name=volume.torrent_v1.path):
            reader.read_range(pack_path(pack), size - 1, 1)


def _check_file(reader: ChannelReader, path: str, ref: FileRef) -> None:
    digest = blake3()
    for start in range(0, ref.size, CHUNK_BYTES):
        digest.update(reader.read_range(path, start, min(CHUNK_BYTES, ref.size - start)))
    if digest.hexdigest() != ref.blake3:
        raise IntegrityError(f"`{path}` of `{reader.location}` is not the file that the release lists")


@contextmanager
def _named(reader: ChannelReader) -> Iterator[None]:
    """Say in the error which destination readers would refuse."""
    try:
        yield
    except (NotFound, IntegrityError, TransportError, TrustError) as error:
        message = f"a reader cannot fetch from `{reader.location}`: {error.message}"
        raise type(error)(message, hint=error.hint) from error
