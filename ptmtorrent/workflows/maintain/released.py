"""Which packs the releases of our own channel refer to: all of them, or an error that names what cannot be read."""

from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, files_in
from ptmtorrent.errors import IntegrityError, PtmError, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId, ReleaseName
from ptmtorrent.model.release import FileRef, PlacementShard, Release
from ptmtorrent.workflows.publish.metadata import read_pointed
from ptmtorrent.workflows.release.history import RELEASES, read_release
from ptmtorrent.workflows.release.volumes import read_volume_packs


class Released(msgspec.Struct, frozen=True):
    """The packs of all releases: their sizes in bytes, and which releases refer to each."""

    sizes: dict[PackId, int]
    releases: dict[PackId, list[ReleaseName]]


def read_released(channel: Path) -> Released:
    """Read every release that `channel` lists or holds, its torrents and its shards, each checked against its hash.

    Raises:
        StoreError: one of them cannot be read or verified; it is named.
    """
    released = Released({}, {})
    for name in _names(channel):
        try:
            packs = _packs_of(channel, name)
        except PtmError as error:
            raise StoreError(
                f"the release `{name}` in `{channel}` cannot be read: {error.message}",
                hint=f"restore `{channel / RELEASES / name}` and `{channel / 'torrents'}` from a mirror",
            ) from error
        for pack, size in packs.items():
            released.sizes[pack] = size
            released.releases.setdefault(pack, []).append(name)
    return released


def _names(channel: Path) -> list[ReleaseName]:
    """Return the releases that are listed or whose folder is there, finished or not as it may be."""
    folder = channel / RELEASES
    try:
        pointed = read_pointed(channel)
    except IntegrityError as error:
        raise StoreError(
            f"nobody can tell which releases `{channel}` has: {error.message}",
            hint=f"restore `{channel / 'metadata'}` from a mirror",
        ) from error
    listed = set() if pointed is None else set(pointed.releases)
    here = {ReleaseName(path.name) for path in files_in(folder)}
    if not (listed or here):
        _refuse_remains(channel)
    return sorted(listed | {name for name in here if not name.startswith(".")})


def _refuse_remains(channel: Path) -> None:
    """Refuse a channel that shows no release, where there must have been some: its disk may not be mounted."""
    links = [path for path in (channel, channel / RELEASES, channel / "metadata") if path.is_symlink()]
    gone = [path for path in links if not path.exists()]
    if gone or files_in(channel / "torrents", "*.torrent"):
        raise StoreError(
            f"nobody can tell which releases `{channel}` has: `{gone[0] if gone else channel / RELEASES}` is not there",
            hint="mount its disk, or restore it from a mirror",
        )


def _packs_of(channel: Path, name: ReleaseName) -> dict[PackId, int]:
    _, release = read_release(channel, name)
    packs = {pack: size for volume in release.volumes for pack, size in read_volume_packs(channel, volume)}
    for ref in release.content:
        _read_listed(channel, release, ref)
    for ref in dict.fromkeys((*release.placement, *(ref for subset in release.subsets for ref in subset.placement))):
        shard = canonical.decode(_read_listed(channel, release, ref), PlacementShard, name=ref.path)
        for row in shard.rows:
            packs |= {place.pack: place.pack_size for place in (row.manifest, row.placement_at)}
    return packs


def _read_listed(channel: Path, release: Release, ref: FileRef) -> bytes:
    path = channel / RELEASES / release.name / ref.path
    with disk_errors(path):
        data = path.read_bytes()
    if len(data) != ref.size or blake3(data).hexdigest() != ref.blake3:
        raise IntegrityError(f"`{ref.path}` is not the file that it lists")
    return data
