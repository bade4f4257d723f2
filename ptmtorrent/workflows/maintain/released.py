"""Read which packs the releases of our own channel refer to: all of them, or an error that names what is unreadable."""

from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from ptmtorrent.catalogue.index import Index
from ptmtorrent.channel.folder import OwnReader, read_release, read_volume_packs, release_names
from ptmtorrent.channel.paths import METADATA, RELEASES, TORRENTS, is_unfinished, release_folder, release_path
from ptmtorrent.channel.unlisted import paths_below
from ptmtorrent.disk.durable import files_in
from ptmtorrent.errors import IntegrityError, PtmError, StoreError
from ptmtorrent.model.ids import PackId, ReleaseName
from ptmtorrent.trust.channel_state import read_channel_state


class ReleasedPacks(msgspec.Struct, frozen=True):
    """The packs of all releases: their sizes in bytes, and the releases that refer to each."""

    sizes: dict[PackId, int]
    releases: dict[PackId, list[ReleaseName]]


def read_released_packs(channel: Path) -> ReleasedPacks:
    """Return the packs of every release that `channel` lists or holds.

    Release documents, torrents and shards are read and checked against their hashes.

    Raises:
        StoreError: a release cannot be read or verified; it is named.
    """
    released = ReleasedPacks({}, {})
    for name in _names(channel):
        try:
            packs = _packs_of(channel, name)
        except PtmError as error:
            raise StoreError(
                f"the release `{name}` in `{channel}` cannot be read: {error.message}",
                hint=f"restore `{channel / release_folder(name)}` and `{channel / TORRENTS}` from a mirror",
            ) from error
        for pack, size in packs.items():
            released.sizes[pack] = size
            released.releases.setdefault(pack, []).append(name)
    return released


def spell_releases(names: Sequence[ReleaseName]) -> str:
    """Return releases as messages name them: the release `a`, the releases `a`, `b`."""
    return f"the release{'s' if len(names) > 1 else ''} {', '.join(f'`{name}`' for name in names)}"


def _names(channel: Path) -> list[ReleaseName]:
    """Return the releases that are listed, and those that have a folder and are not unfinished.

    A folder without `release.json` of which every file is listed by one of these releases is no release.
    """
    folder = channel / RELEASES
    try:
        state = read_channel_state(channel)
    except IntegrityError as error:
        raise StoreError(
            f"it is unknown which releases `{channel}` has: {error.message}",
            hint=f"restore `{channel / METADATA}` from a mirror",
        ) from error
    listed = set() if state is None else set(state.releases)
    here = {ReleaseName(path.name) for path in files_in(folder) if not is_unfinished(path.name)}
    here -= set() if state is None else set(state.retired)  # their packs were withdrawn
    if not (listed or files_in(folder)):
        _refuse_remains(channel)
    return sorted(listed | here - _remains(channel, here - listed))


def _remains(channel: Path, names: Collection[ReleaseName]) -> set[ReleaseName]:
    """Return the folders that a deletion left: without `release.json`, and with files of other releases alone."""
    without = {name for name in names if not (channel / release_path(name)).exists()}
    if not without:
        return set()
    try:
        needed = {ref.path for name in release_names(channel) for ref in read_release(channel, name)[1].listed}
    except PtmError:
        return set()  # the release that cannot be read is named when its packs are asked for
    return {name for name in without if set(paths_below(channel, release_folder(name))) <= needed}


def _refuse_remains(channel: Path) -> None:
    """Raise `StoreError` if a channel without releases has traces of some: its disk may not be mounted."""
    links = [path for path in (channel, channel / RELEASES, channel / METADATA) if path.is_symlink()]
    gone = [path for path in links if not path.exists()]
    if gone or files_in(channel / TORRENTS, "*.torrent"):
        raise StoreError(
            f"it is unknown which releases `{channel}` has: `{gone[0] if gone else channel / RELEASES}` is missing",
            hint="mount its disk, or restore it from a mirror",
        )


def _packs_of(channel: Path, name: ReleaseName) -> dict[PackId, int]:
    """Return the packs of a release, having read its index, whose rows need no pack."""
    _, release = read_release(channel, name)
    Index(release, OwnReader(channel)).all()
    return {pack: size for volume in release.volumes for pack, size in read_volume_packs(channel, release, volume)}
