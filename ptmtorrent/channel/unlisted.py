"""Files of a channel folder that none of its releases needs: found before anything is deleted, then deleted."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ptmtorrent.channel.folder import read_release, read_volume_packs
from ptmtorrent.channel.paths import PACKS, TORRENTS, pack_path, release_folder, unfinished_folder
from ptmtorrent.disk.durable import disk_errors, sync_dir
from ptmtorrent.model.ids import ReleaseName


class Unlisted(msgspec.Struct, frozen=True, kw_only=True):
    """Files that can be deleted: their paths below the channel, and their bytes together."""

    paths: tuple[str, ...]
    bytes: int


def find_needed(channel: Path, kept: Iterable[ReleaseName]) -> set[str]:
    """Return the paths of the packs and torrents that the releases in `kept` list.

    Raises:
        NotFound, IntegrityError, StoreError: one of them cannot be read, so that it is unknown what it needs.
    """
    needed: set[str] = set()
    for name in kept:
        _, release = read_release(channel, name)
        for volume in release.volumes:
            needed |= {volume.torrent_v1.path, volume.torrent_v2.path}
            needed |= {pack_path(pack) for pack, _ in read_volume_packs(channel, release, volume)}
    return needed


def find_unlisted(channel: Path, kept: Iterable[ReleaseName]) -> Unlisted:
    """Return the packs and torrents in the folder that no release in `kept` lists.

    Raises:
        NotFound, IntegrityError, StoreError: as `find_needed`.
    """
    needed = find_needed(channel, kept)
    found: dict[str, int] = {}
    with disk_errors(channel):
        for folder, pattern in ((PACKS, "*/*.pack"), (TORRENTS, "*.torrent")):
            for path in (channel / folder).glob(pattern):
                found[path.relative_to(channel).as_posix()] = path.stat().st_size
    paths = sorted(found.keys() - needed)
    return Unlisted(paths=tuple(paths), bytes=sum(found[path] for path in paths))


def is_left(channel: Path, name: ReleaseName) -> bool:
    """Return whether the folder of the release `name` is there, or what an interrupted removal left of it."""
    return (channel / release_folder(name)).exists() or (channel / unfinished_folder(name)).exists()


def remove_release(channel: Path, name: ReleaseName, unlisted: Unlisted) -> None:
    """Delete the files in `unlisted`, then the folder of the release `name`; nothing that is listed needs either.

    Raises:
        StoreError: something cannot be deleted; the same call goes on.
    """
    for path in unlisted.paths:
        with disk_errors(channel / path):
            (channel / path).unlink(missing_ok=True)
    folder, hidden = channel / release_folder(name), channel / unfinished_folder(name)
    with disk_errors(folder):
        if hidden.exists():
            shutil.rmtree(hidden)
        if folder.exists():
            folder.rename(hidden)
            sync_dir(folder.parent)
            shutil.rmtree(hidden)
