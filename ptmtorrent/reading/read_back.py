"""Reads a channel as a fetch client does, before its new timestamp is written and after.

What is new of the metadata is held in memory: the client's own check runs over the files of the channel with it, while
every other reader still gets the state before.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from blake3 import blake3

from ptmtorrent.channel.paths import PACKS, pack_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import LocalReader, read_listed
from ptmtorrent.disk.durable import disk_errors_but_missing
from ptmtorrent.errors import IntegrityError, NotFound, TransportError, TrustError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Clock
from ptmtorrent.model.release import Release
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.paths import Home
from ptmtorrent.state.verified_files import VerifiedFiles
from ptmtorrent.trust.client import listed_releases, open_fresh
from ptmtorrent.trust.fingerprints import read_first_root
from ptmtorrent.trust.metadata import read_listing
from ptmtorrent.trust.publisher import Accept
from ptmtorrent.trust.refresh import MIRROR_HINT

CHUNK_BYTES = 4 << 20
MEND_HOME = "repair packs with `ptmtorrent store repair`; copy any other file back from a place that has the channel"


class HeldFiles:
    """Reads a channel through `reader`, but some files from memory: a new timestamp, and roots."""

    def __init__(self, reader: ChannelReader, files: Mapping[str, bytes]) -> None:
        self.location = reader.location
        self._reader = reader
        self._files = files

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        held = self._files.get(path)
        return self._reader.read(path, limit=limit) if held is None else held

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        return self._reader.read_range(path, offset, length)


class LocalFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A channel in `folder`, whose files are hashed once: those that `verified` has are not read again.

    `mend` is what to do about a file that is missing or damaged.
    """

    folder: Path
    verified: VerifiedFiles
    mend: str


def check_as_reader(  # noqa: PLR0913  # what is read, with what trust, and how much of it
    reader: ChannelReader,
    root: bytes,
    listed: tuple[ReleaseName, ...],
    now: datetime,
    *,
    name: ReleaseName | None = None,
    files: LocalFiles | None = None,
) -> None:
    """Open every release in `listed` as a new client pinned to `root` does, and read what they list.

    Of a channel in a folder, given as `files`, every file of every release is checked. Elsewhere every file of the
    release `name` is, but only the last byte of a pack: its other bytes are proven when it is copied.

    Raises:
        TrustError: a signature, role, version or hash does not hold, or has expired.
        NotFound: a file is missing.
        IntegrityError: a file is not the one that the release lists.
        TransportError: the reader's own error.
    """
    done: set[str] = set()
    with TemporaryDirectory(prefix="ptmtorrent-") as folder, _named(reader, files):
        for wanted in dict.fromkeys((None, *listed)):
            opened = open_fresh(reader, root=root, state=Path(folder), now=now, release=wanted)
            if wanted is not None and (files is not None or wanted == name):
                for path, size, digest in _listed_files(reader, opened.release):
                    if path not in done:
                        _check_file(reader, path, size, digest, files)
                        done.add(path)


def own_check(home: Home, clock: Clock) -> Accept:
    """Return a check of new metadata of the own channel of `home`.

    It raises what `check_as_reader` does. A channel that lists no release has nothing to read.
    """

    def accept(held: Mapping[str, bytes]) -> None:
        reader = HeldFiles(LocalReader(home.channel), held)
        if listed := tuple(listed_releases(read_listing(reader).targets)):
            with VerifiedFiles(home.verified_files) as verified:
                files = LocalFiles(folder=home.channel, verified=verified, mend=MEND_HOME)
                check_as_reader(reader, read_first_root(home.channel), listed, clock(), files=files)

    return accept


def hint_for(path: str) -> str:
    """Return what to do about the file `path` of the own channel, which is missing or damaged."""
    if path.startswith(f"{PACKS}/"):
        return "ptmtorrent store repair"
    return f"copy `{path}` back from a place that has the channel, then run the same command again"


def _listed_files(reader: ChannelReader, release: Release) -> Iterator[tuple[str, int, str]]:
    """Yield path, size and BLAKE3 of every file of a release; a pack is named by its own."""
    for ref in release.listed:
        yield ref.path, ref.size, ref.blake3
    for volume in release.volumes:
        read_listed(reader, release, volume.torrent_v2)
        torrent = read_listed(reader, release, volume.torrent_v1)
        for pack, size in packs_in(torrent, name=volume.torrent_v1.path):
            yield pack_path(pack), size, pack


def _check_file(reader: ChannelReader, path: str, size: int, digest: str, files: LocalFiles | None) -> None:
    if files is None and path.startswith(f"{PACKS}/"):
        reader.read_range(path, size - 1, 1)
        return
    try:
        same = _hash(reader, path, size) == digest if files is None else _is_verified(files, path, size, digest)
    except FileNotFoundError as error:
        raise NotFound(f"`{reader.location}` has no file `{path}`") from error
    if not same:
        raise IntegrityError(f"`{path}` of `{reader.location}` is not the file that the release lists")


def _is_verified(files: LocalFiles, path: str, size: int, digest: str) -> bool:
    file = files.folder / path
    with disk_errors_but_missing(file):
        return file.stat().st_size == size and files.verified.proves(file, digest)


def _hash(reader: ChannelReader, path: str, size: int) -> str:
    digest = blake3()
    for start in range(0, size, CHUNK_BYTES):
        digest.update(reader.read_range(path, start, min(CHUNK_BYTES, size - start)))
    return digest.hexdigest()


@contextmanager
def _named(reader: ChannelReader, files: LocalFiles | None) -> Iterator[None]:
    """Say in the error which destination readers would refuse, and how its maintainer mends it."""
    try:
        yield
    except (NotFound, IntegrityError, TransportError, TrustError) as error:
        of_reader = not isinstance(error, TrustError) or error.hint == MIRROR_HINT
        hint = files.mend if files is not None and of_reader else error.hint
        raise type(error)(f"a reader cannot fetch from `{reader.location}`: {error.message}", hint=hint) from error
