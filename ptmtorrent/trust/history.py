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
    """The listed releases of a channel, the newest of them and its hash, and the finished releases not listed."""

    listed: tuple[ReleaseName, ...]
    unlisted: tuple[ReleaseName, ...]
    newest: Release | None
    newest_hash: str | None

    @property
    def next_sequence(self) -> int:
        """The sequence of the next release."""
        return 1 if self.newest is None else self.newest.sequence + 1


def read_history(channel: Path, keys: Keys) -> History:
    """Return the history of `channel`, whose listed releases are verified with `keys`.

    Raises:
        ConfigError: the channel has other keys.
        TrustError: the metadata cannot be verified.
        NotFound: the folder of the newest release is missing.
        IntegrityError: the newest release is not the signed one.
        StoreError: the folder cannot be read.
    """
    listed = listed_releases(read_published(channel, keys).targets)
    unlisted = tuple(name for name in release_names(channel) if name not in listed)
    if not listed:
        return History(listed=(), unlisted=unlisted, newest=None, newest_hash=None)
    last = [*listed.values()][-1]
    data, newest = read_release(channel, last.name)
    if (newest.sequence, newest.content_root) != (last.sequence, last.content_root):
        raise IntegrityError(f"`{release_path(last.name)}` in your channel is not the signed release")
    return History(listed=tuple(listed), unlisted=unlisted, newest=newest, newest_hash=blake3(data).hexdigest())
