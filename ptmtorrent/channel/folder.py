"""The channel of this home, a folder: its releases and the packs of their volumes.

Signatures are not checked here. The hashes in `release.json` verify the other files; `trust` verifies `release.json`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from blake3 import blake3

from ptmtorrent.channel import paths
from ptmtorrent.channel.readers import LocalReader, read_listed
from ptmtorrent.disk.durable import disk_errors, disk_errors_but_missing, read_whole
from ptmtorrent.errors import IntegrityError, NotFound, StoreError, TransportError
from ptmtorrent.model.ids import PackId, ReleaseName
from ptmtorrent.model.release import MAX_RELEASE_BYTES, FileRef, Release, VolumeRef, decode_release
from ptmtorrent.model.torrents import packs_in


class OwnReader:
    """Reads the channel of this home. A file that cannot be read raises `StoreError`: no transport is involved."""

    def __init__(self, channel: Path) -> None:
        self.location = str(channel)
        self._reader = LocalReader(channel)

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        with _own_errors(path):
            return self._reader.read(path, limit=limit)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        with _own_errors(path):
            return self._reader.read_range(path, offset, length)


def release_names(channel: Path) -> tuple[ReleaseName, ...]:
    """Return the names of the finished releases in the folder, sorted; they may be unsigned.

    Raises:
        StoreError: the folder cannot be read.
    """
    folder = channel / paths.RELEASES
    with disk_errors(folder):
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    names = (ReleaseName(name) for name in found if not paths.is_unfinished(name))
    return tuple(sorted(name for name in names if (channel / paths.release_path(name)).is_file()))


def read_release(channel: Path, name: ReleaseName) -> tuple[bytes, Release]:
    """Return the bytes of `release.json` of the release `name`, and the release they describe.

    Raises:
        NotFound: the channel has no such release; the hint has near matches.
        IntegrityError: the file is malformed, or describes another release.
        StoreError: the file cannot be read.
    """
    path = paths.release_path(name)
    try:
        data = OwnReader(channel).read(path, limit=MAX_RELEASE_BYTES)
    except NotFound as error:
        raise unknown_release(channel, name) from error
    try:
        release = decode_release(data)
    except IntegrityError as error:
        raise IntegrityError(f"`{channel / path}` is damaged: {error.message}", hint=error.hint) from error
    if release.name != name:
        raise IntegrityError(f"`{channel / path}` describes the release `{release.name}`")
    return data, release


def read_volume_packs(channel: Path, release: Release, volume: VolumeRef) -> tuple[tuple[PackId, int], ...]:
    """Return the packs of `volume` and their sizes in bytes, as its v1 torrent in `channel` lists them.

    Raises:
        IntegrityError: the torrent is missing, or is not the one that `release` lists.
        StoreError: the torrent cannot be read.
    """
    ref = volume.torrent_v1
    try:
        data = read_listed(OwnReader(channel), release, ref)
    except NotFound as error:
        raise IntegrityError(
            f"the torrent `{ref.path}` of your channel is missing",
            hint=f"copy `{ref.path}` back from a place that has the channel, then run the same command again",
        ) from error
    return packs_in(data, name=ref.path)


def check_listed(channel: Path, ref: FileRef) -> Path:
    """Return the path of a file that a release lists, whose bytes are right.

    Raises:
        IntegrityError: it is missing, or has other bytes.
        StoreError: it cannot be read.
    """
    path, hasher = channel / ref.path, blake3()
    try:
        with disk_errors_but_missing(path):
            found = read_whole(path, hasher.update)
    except FileNotFoundError:
        found = None
    if found is None or (found.st_size, hasher.hexdigest()) != (ref.size, ref.blake3):
        raise IntegrityError(
            f"`{ref.path}` of your channel is missing or damaged",
            hint=f"copy `{ref.path}` back from a place that has the channel, then run the same command again",
        )
    return path


def unknown_release(channel: Path, name: ReleaseName) -> NotFound:
    """Return the error for a release that the own channel does not have; its hint has near matches."""
    known = release_names(channel)
    near = get_close_matches(name, known, n=3, cutoff=0.5) or known[-3:]
    names = ", ".join(f"`{item}`" for item in near)
    hint = f"did you mean {names}?" if near else f"create it: ptmtorrent release {name}"
    return NotFound(f"the channel `{channel}` has no release `{name}`", hint=hint)


@contextmanager
def _own_errors(path: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        hint = f"copy `{path}` back from a place that has the channel, then run the same command again"
        raise NotFound(error.message, hint=error.hint or hint) from error
    except TransportError as error:
        raise StoreError(error.message, hint=error.hint) from error
