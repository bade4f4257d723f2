"""The history of the maintainer's channel before a new release: listed releases, and finished but unsigned ones."""

from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.channel.folder import read_release, release_names
from ptmtorrent.channel.paths import release_path
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.release import Release
from ptmtorrent.trust.client import listed_releases
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.own import read_published


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The releases a channel lists, the newest of them and its hash, and the finished releases it does not list.

    `sequence` is that of the newest release ever signed, listed or not.
    """

    listed: tuple[ReleaseName, ...]
    sequence: int
    unlisted: tuple[ReleaseName, ...]
    newest: Release | None
    newest_hash: str | None

    @property
    def next_sequence(self) -> int:
        """The sequence of the next release."""
        return self.sequence + 1


def read_history(channel: Path, keys: Keys) -> History:
    """Return the history of `channel`, whose listed releases are verified with `keys`.

    Raises:
        ConfigError: the channel has other keys.
        TrustError: the metadata cannot be verified.
        NotFound: the folder of the newest release is missing.
        IntegrityError: the newest release is not the signed one.
        StoreError: the folder cannot be read.
    """
    published = read_published(channel, keys)
    listed = listed_releases(published.targets)
    unlisted = tuple(name for name in release_names(channel) if name not in {*listed, *published.retired})
    if not listed:
        return History(listed=(), sequence=published.sequence, unlisted=unlisted, newest=None, newest_hash=None)
    last = [*listed.values()][-1]
    data, newest = read_release(channel, last.name)
    if (newest.sequence, newest.content_root) != (last.sequence, last.content_root):
        raise IntegrityError(f"`{release_path(last.name)}` in your channel is not the signed release")
    return History(
        listed=tuple(listed),
        sequence=max(published.sequence, newest.sequence),
        unlisted=unlisted,
        newest=newest,
        newest_hash=blake3(data).hexdigest(),
    )
