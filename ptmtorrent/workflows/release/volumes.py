"""Shares a release's packs out to volumes, links them into the channel, and writes both torrents of each volume."""

from collections.abc import Iterable
from pathlib import Path

from ptmtorrent.channel.folder import read_volume_packs
from ptmtorrent.channel.paths import torrent_path
from ptmtorrent.disk import durable
from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import InfoHash, PackId
from ptmtorrent.model.release import FileRef, Release, VolumeRef
from ptmtorrent.model.torrents import torrent_v1, torrent_v2
from ptmtorrent.model.volume import Previous, VolumePlan, pack_path, plan_volumes
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.release.index import write_listed


def write_volumes(
    store: Store, channel: Path, referenced: Iterable[PackId], previous: Release | None, *, gated: bool = False
) -> tuple[VolumeRef, ...]:
    """Link the packs of the release into `channel` and write its torrents, durably; return what describes them.

    Volumes of the previous release stay as they are, packs that only older releases need included: to drop those
    would change the infohash and lose the swarm. Packs behind a gate go along only when `gated` says so.

    Raises:
        StoreError: a pack may not be passed on, or the channel cannot be written.
        IntegrityError: a torrent of the previous release is damaged.
    """
    before = [] if previous is None else [_read_volume(channel, previous, volume) for volume in previous.volumes]
    held = set(store.packs())
    wanted = set(referenced) | {pack for _, _, packs in before for pack in packs if pack in held}
    hashes = [store.pack_hashes(pack) for pack in sorted(wanted)]
    for pack in hashes:
        if pack.rights == "gated" and not gated:
            raise StoreError(f"the pack `{pack.pack}` is gated and cannot be released")
        durable.link_or_copy(store.pack_file(pack.pack), channel / pack_path(pack.pack))
    return tuple(_write_torrents(channel, plan) for plan in plan_volumes(hashes, before))


def _read_volume(channel: Path, release: Release, volume: VolumeRef) -> Previous:
    return volume.rights, volume.level, frozenset(pack for pack, _ in read_volume_packs(channel, release, volume))


def _write_torrents(channel: Path, plan: VolumePlan) -> VolumeRef:
    first, v1 = torrent_v1(plan)
    second, v2 = torrent_v2(plan)
    return VolumeRef(
        rights=plan.rights,
        level=plan.level,
        packs=len(plan.packs),
        bytes=plan.bytes,
        v1=v1,
        v2=v2,
        torrent_v1=_write_torrent(channel, v1, first),
        torrent_v2=_write_torrent(channel, v2, second),
    )


def _write_torrent(channel: Path, name: InfoHash, data: bytes) -> FileRef:
    return write_listed(channel, torrent_path(name), data)
