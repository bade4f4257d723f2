"""What our own channel holds before a new release: the releases it lists, and one that a crash left unlisted."""

from difflib import get_close_matches
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.disk import durable
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.release import Release, decode_release
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.listings import listed_releases, release_path
from ptmtorrent.trust.own import read_published

RELEASES = "releases"
UNFINISHED_PREFIX = ".partial-"
"""No release's name starts with a dot, so what is being written never takes the place of a release."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The releases a channel lists, the newest of them and its hash, and the names of finished but unlisted ones."""

    listed: tuple[ReleaseName, ...]
    unlisted: tuple[ReleaseName, ...]
    newest: Release | None
    newest_hash: str | None

    @property
    def next_sequence(self) -> int:
        """The sequence of the next release."""
        return 1 if self.newest is None else self.newest.sequence + 1


def release_folder(channel: Path, name: ReleaseName) -> Path:
    """Return the folder of the release `name`."""
    return channel / RELEASES / name


def read_history(channel: Path, keys: Keys) -> History:
    """Read what `channel` lists, verified with `keys`, and what lies in its folder besides.

    Raises:
        ConfigError: the channel was made with other keys.
        TrustError: its metadata does not hold.
        NotFound: the folder of the newest release is gone.
        IntegrityError: that release is not the one that was signed.
        StoreError: the folder cannot be read.
    """
    listed = listed_releases(read_published(channel, keys).targets)
    unlisted = tuple(name for name in release_names(channel) if name not in listed)
    if not listed:
        return History(listed=(), unlisted=unlisted, newest=None, newest_hash=None)
    last = [*listed.values()][-1]
    data, newest = read_release(channel, last.name)
    if (newest.sequence, newest.content_root) != (last.sequence, last.content_root):
        raise IntegrityError(f"`{release_path(last.name)}` in your channel is not the release that was signed")
    return History(listed=tuple(listed), unlisted=unlisted, newest=newest, newest_hash=blake3(data).hexdigest())


def read_release(channel: Path, name: ReleaseName) -> tuple[bytes, Release]:
    """Return the bytes of `release.json` of the release `name`, and what they say.

    Raises:
        NotFound: no such release here, naming near matches.
        IntegrityError: it contradicts itself, or is of another release.
    """
    path = channel / release_path(name)
    try:
        with durable.disk_errors_but_missing(path):
            data = path.read_bytes()
    except FileNotFoundError as error:
        known = release_names(channel)
        near = get_close_matches(name, known, n=3, cutoff=0.5) or known[-3:]
        names = ", ".join(f"`{item}`" for item in near)
        hint = f"did you mean {names}?" if near else f"make it: ptmtorrent release {name}"
        raise NotFound(f"the channel `{channel}` has no release `{name}`", hint=hint) from error
    release = decode_release(data)
    if release.name != name:
        raise IntegrityError(f"`{path}` is of the release `{release.name}`")
    return data, release


def release_names(channel: Path) -> tuple[ReleaseName, ...]:
    """Return the names of the complete releases in the folder, listed or not."""
    folder = channel / RELEASES
    with durable.disk_errors(folder):
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    complete = (name for name in found if not name.startswith(".") and (folder / name / "release.json").is_file())
    return tuple(sorted(map(ReleaseName, complete)))
