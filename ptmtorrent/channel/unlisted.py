"""Files of a channel folder that none of its releases needs: found before anything is deleted, then deleted.

A release may list files that lie in the folder of an earlier one. Such a folder keeps them when its release is deleted,
and without `release.json` it is no release any more.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from ptmtorrent.channel.folder import read_release, read_volume_packs
from ptmtorrent.channel.paths import (
    PACKS,
    RELEASE_FILE,
    RELEASES,
    TORRENTS,
    is_unfinished,
    pack_path,
    release_folder,
    release_path,
    unfinished_folder,
)
from ptmtorrent.disk.durable import disk_errors, files_in, sync_dir
from ptmtorrent.model.ids import ReleaseName


class Unlisted(msgspec.Struct, frozen=True, kw_only=True):
    """Files that can be deleted, by path below the channel.

    `paths` are packs and torrents, and `bytes` their bytes together; `files` lie in folders of releases that are
    deleted, in the order in which they may go.
    """

    paths: tuple[str, ...]
    bytes: int
    files: tuple[str, ...]

    def is_left(self, name: ReleaseName) -> bool:
        """Return whether the release `name` has files to delete, perhaps those that an interrupted removal left."""
        return any(path.startswith(f"{release_folder(name)}/") for path in self.files)


def find_needed(channel: Path, kept: Iterable[ReleaseName]) -> set[str]:
    """Return the paths of the files that the releases in `kept` list, packs and torrents too.

    Raises:
        NotFound, IntegrityError, StoreError: one of them cannot be read, so that it is unknown what it needs.
    """
    needed: set[str] = set()
    for name in kept:
        _, release = read_release(channel, name)
        needed |= {ref.path for ref in release.listed}
        for volume in release.volumes:
            needed |= {volume.torrent_v1.path, volume.torrent_v2.path}
            needed |= {pack_path(pack) for pack, _ in read_volume_packs(channel, release, volume)}
    return needed


def find_unlisted(channel: Path, kept: Collection[ReleaseName], name: ReleaseName) -> Unlisted:
    """Return what can be deleted with the release `name` because no release in `kept` lists it.

    Raises:
        NotFound, IntegrityError, StoreError: as `find_needed`.
    """
    needed = find_needed(channel, kept)
    found = _unneeded(channel, needed)
    paths = sorted(found)
    folders = [ReleaseName(path.name) for path in files_in(channel / RELEASES) if not is_unfinished(path.name)]
    files = unneeded_files(
        folders, kept, name, needed, files_of=lambda each: list(paths_below(channel, release_folder(each)))
    )
    return Unlisted(paths=tuple(paths), bytes=sum(found[path] for path in paths), files=files)


def delete_unneeded(channel: Path, kept: Collection[ReleaseName]) -> int:
    """Delete the packs and torrents that no release in `kept` lists; return how many. Files of releases stay.

    Raises:
        NotFound, IntegrityError, StoreError: as `find_needed`; or one cannot be deleted.
    """
    unneeded = _unneeded(channel, find_needed(channel, kept))
    for path in unneeded:
        _unlink(channel / path)
    return len(unneeded)


def _unneeded(channel: Path, needed: Collection[str]) -> dict[str, int]:
    """Return the packs and torrents that are not `needed`, with their sizes."""
    found: dict[str, int] = {}
    with disk_errors(channel):
        for folder, pattern in ((PACKS, "*/*.pack"), (TORRENTS, "*.torrent")):
            for path in (channel / folder).glob(pattern):
                found[path.relative_to(channel).as_posix()] = path.stat().st_size
    return {path: size for path, size in found.items() if path not in needed}


def unneeded_files(
    folders: Iterable[ReleaseName],
    kept: Collection[ReleaseName],
    name: ReleaseName,
    needed: Collection[str],
    *,
    files_of: Callable[[ReleaseName], Collection[str]],
) -> tuple[str, ...]:
    """Return the files of `folders` of releases that can go with the release `name`, its `release.json` first.

    These are its own, and what an earlier deletion left for a release that is deleted now.
    """
    found: list[str] = []
    for folder in folders:
        if folder in kept:
            continue
        files = files_of(folder)
        if folder == name or release_path(folder) not in files:
            found += [path for path in files if path not in needed]
    return tuple(sorted(found, key=lambda path: (PurePosixPath(path).name != RELEASE_FILE, path)))


def is_left(channel: Path, name: ReleaseName) -> bool:
    """Return whether an interrupted removal left a hidden or an empty folder of the release `name`."""
    folder = channel / release_folder(name)
    is_empty = folder.is_dir() and not any(paths_below(channel, release_folder(name)))
    return is_empty or (channel / unfinished_folder(name)).exists()


def remove_release(channel: Path, name: ReleaseName, unlisted: Unlisted) -> None:
    """Delete the files in `unlisted`: nothing that is listed needs them. An empty folder goes too.

    Those in the folder of the release itself go last: until then the same command finds the release and goes on.

    Raises:
        StoreError: something cannot be deleted; the same call goes on.
    """
    folder, hidden = channel / release_folder(name), channel / unfinished_folder(name)
    own = [path for path in unlisted.files if path.startswith(f"{release_folder(name)}/")]
    others = sorted({*unlisted.files} - {*own})
    for path in (*unlisted.paths, *others):
        _unlink(channel / path)
    for other in {PurePosixPath(path).parts[1] for path in others}:
        remove_empty(channel / release_folder(ReleaseName(other)))
    whole = folder.exists() and set(paths_below(channel, release_folder(name))) <= set(own)
    with disk_errors(folder):
        if hidden.exists():
            shutil.rmtree(hidden)
        if whole:
            folder.rename(hidden)
            sync_dir(folder.parent)
            shutil.rmtree(hidden)
    for path in own:
        _unlink(channel / path)
        if path == release_path(name) and not whole:
            sync_dir(folder)
    remove_empty(folder)


def _unlink(path: Path) -> None:
    with disk_errors(path):
        path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove the empty folders below `folder`, and itself if nothing is left in it.

    Raises:
        StoreError: one cannot be removed.
    """
    with disk_errors(folder):
        for parent, _, _ in os.walk(folder, topdown=False):
            if not any(Path(parent).iterdir()):
                Path(parent).rmdir()


def paths_below(channel: Path, folder: str) -> Iterator[str]:
    """Yield the paths of all files below a folder of the channel; links are not followed."""
    for parent, _, names in os.walk(channel / folder):
        for name in names:
            yield (Path(parent) / name).relative_to(channel).as_posix()
