"""The files of a channel that a destination needs, and putting them into a directory.

A file that the destination lost, or whose bytes are not the listed ones, is put there again; nothing is copied that was
not verified to have its listed bytes.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.channel.folder import read_volume_packs
from ptmtorrent.channel.paths import (
    METADATA,
    MINISIGN_PUBLIC,
    metadata_version,
    pack_path,
    release_path,
    signature_path,
)
from ptmtorrent.disk import durable
from ptmtorrent.disk.durable import read_optional
from ptmtorrent.errors import ConfigError, IntegrityError
from ptmtorrent.model.release import Release
from ptmtorrent.progress import Meter
from ptmtorrent.reading.read_back import hint_for
from ptmtorrent.state.verified_files import VerifiedFiles
from ptmtorrent.trust.channel_state import ChannelState


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a channel: its path, and its size and BLAKE3 where a release lists them.

    `mine` marks a file without them that is this home's own at a destination that lists it.
    """

    path: str
    size: int | None = None
    blake3: str | None = None
    mine: bool = False


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One file to put in place, and its size in bytes; `there` when it is in place already."""

    file: ListedFile
    size: int
    there: bool


def list_files(
    source: Path, releases: Iterable[Release], state: ChannelState, there: ChannelState | None
) -> list[ListedFile]:
    """Return every file of `releases` in the order in which it may appear, then the metadata of `state`.

    `there` is the present state of the destination.

    Raises:
        IntegrityError: a torrent is missing from the channel `source`, or is not the one that a release lists.
    """
    found: dict[str, ListedFile] = {}
    for release in releases:
        for file in (*_files_of(source, release), *_signed_of(release, there)):
            found.setdefault(file.path, file)
    return [*found.values(), *(ListedFile(path=path) for path in list_metadata(state))]


def list_metadata(state: ChannelState) -> Iterator[str]:
    """Yield the paths of the public key, the first root, and the documents that the timestamp of `state` leads to."""
    yield MINISIGN_PUBLIC
    yield from (path for path in state.files if path not in later_roots(state))


def later_roots(state: ChannelState) -> list[str]:
    """Return the paths of the roots after the first, oldest first: they are put in place after the timestamp.

    A timestamp that was signed at a change of keys holds under the root before it and the new one; an older timestamp
    may not hold under the new root.
    """
    found = [path for path in state.files if _root_version(path) > 1]
    return sorted(found, key=_root_version)


def hold_roots(source: Path, to: Path, state: ChannelState) -> dict[str, bytes]:
    """Return the later roots that `to` does not have yet, by path.

    Raises:
        IntegrityError: one is missing.
        ConfigError: `to` has another file of that name.
        StoreError: one cannot be read.
    """
    missing = [path for path in later_roots(state) if not inspect(source, to, ListedFile(path=path)).there]
    return {path: durable.read_regular(source / path) for path in missing}


def inspect(source: Path, to: Path, file: ListedFile) -> Item:
    """Compare one file here and there: by size where a release lists it, otherwise by its bytes.

    Raises:
        IntegrityError: it is missing here, or has another size, and is not in place.
        ConfigError: the destination has another file of that name, which is not damage.
        StoreError: a file cannot be read.
    """
    if file.size is None:
        have = size_here(source, file)
        return Item(file=file, size=have, there=_same_bytes(source, to, file))
    with durable.disk_errors(to / file.path):
        there = (to / file.path).is_file() and (to / file.path).stat().st_size == file.size
    return Item(file=file, size=file.size if there else size_here(source, file), there=there)


def size_here(source: Path, file: ListedFile) -> int:
    """Return the size of a file in the channel `source`.

    Raises:
        IntegrityError: it is missing, or has another size than a release lists.
    """
    try:
        with durable.disk_errors_but_missing(source / file.path):
            have = (source / file.path).stat().st_size
    except FileNotFoundError as error:
        raise IntegrityError(
            f"`{file.path}` is missing from your channel `{source}`", hint=hint_for(file.path)
        ) from error
    if file.size is not None and have != file.size:
        message = f"`{file.path}` in your channel `{source}` is {have} bytes, expected {file.size}"
        raise IntegrityError(message, hint=hint_for(file.path))
    return have


def prove_here(source: Path, file: ListedFile, verified: VerifiedFiles) -> None:
    """Check the bytes of a file in the channel `source`, unless they were verified before.

    Raises:
        IntegrityError: they are not the listed ones.
    """
    if file.blake3 is not None and not _holds(verified, source / file.path, file.blake3):
        message = f"`{file.path}` in your channel `{source}` has other bytes than a release lists"
        raise IntegrityError(message, hint=hint_for(file.path))


def put(source: Path, to: Path, items: Iterable[Item], verified: VerifiedFiles, meter: Meter) -> tuple[int, bool]:
    """Put `items` of the channel `source` into `to`, durably; return the bytes copied, and whether a file was written.

    Raises:
        IntegrityError: a file here, or a copy, has not the listed bytes.
        StoreError: one cannot be read or written.
    """
    moved, wrote = 0, False
    links = durable.Links()
    durable.ensure_dir(to, mode=durable.PUBLIC_DIR)
    for item in sorted(items, key=lambda item: item.file.blake3 is None):  # what is listed is durable before the list
        path, digest = item.file.path, item.file.blake3
        if digest is None:
            links.sync()
        if not item.there or (digest is not None and not _holds(verified, to / path, digest)):
            prove_here(source, item.file, verified)
            moved += 0 if _place(links, source / path, to / path) else item.size
            _prove_copy(source / path, to / path, digest, verified)
            wrote = True
        links.keep(to / path)
        durable.make_readable(to, to / path)
        meter.add(bytes=item.size)
    links.sync()
    meter.finish()
    return moved, wrote


def put_metadata(source: Path, to: Path, state: ChannelState) -> None:
    """Put the documents that the timestamp of `state` leads to into `to`, durably.

    Raises:
        IntegrityError: one is missing.
        ConfigError: `to` has another file of that name.
        StoreError: one cannot be read or written.
    """
    for path in list_metadata(state):
        if not inspect(source, to, ListedFile(path=path)).there:
            durable.link_or_copy(source / path, to / path)
        durable.make_readable(to, to / path)


def _root_version(path: str) -> int:
    return metadata_version("root", path.removeprefix(f"{METADATA}/")) or 0


def _files_of(source: Path, release: Release) -> Iterator[ListedFile]:
    for volume in release.volumes:
        for pack, size in read_volume_packs(source, release, volume):
            yield ListedFile(path=pack_path(pack), size=size, blake3=pack)
        for torrent in (volume.torrent_v1, volume.torrent_v2):
            yield ListedFile(path=torrent.path, size=torrent.size, blake3=torrent.blake3)
    for ref in release.listed:
        yield ListedFile(path=ref.path, size=ref.size, blake3=ref.blake3)


def _signed_of(release: Release, there: ChannelState | None) -> Iterator[ListedFile]:
    mine = there is not None and release.name in there.releases
    for path in (signature_path(release.name), release_path(release.name)):
        yield ListedFile(path=path, mine=mine)


def _same_bytes(source: Path, to: Path, file: ListedFile) -> bool:
    target = to / file.path
    theirs = read_optional(target)
    if theirs is None:
        return False
    same = theirs == read_optional(source / file.path)
    if not same and not file.mine:
        raise ConfigError(
            f"`{target}` is not the file of this channel; it was published from another copy of this home",
            hint="publish from the home that made it",
        )
    return same


def _holds(verified: VerifiedFiles, path: Path, digest: str) -> bool:
    try:
        return verified.proves(path, digest)
    except FileNotFoundError:
        return False


def _place(links: durable.Links, source: Path, target: Path) -> bool:
    """Put a file in place of what lies there, which is damaged; return whether it is a hard link."""
    with durable.disk_errors(target):
        target.unlink(missing_ok=True)
    return links.place(source, target)


def _prove_copy(source: Path, copy: Path, digest: str | None, verified: VerifiedFiles) -> None:
    with durable.disk_errors(copy):
        wanted = digest or blake3(durable.read_regular(source)).hexdigest()
    if not _holds(verified, copy, wanted):
        raise IntegrityError(
            f"`{copy}` does not have the bytes that were written", hint="check the disk, then run again"
        )
