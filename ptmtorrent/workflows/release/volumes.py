"""Shares a release's packs out to volumes, links them into the channel, and writes both torrents of each volume."""

from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

from ptmtorrent.disk import durable
from ptmtorrent.errors import IntegrityError, StoreError
from ptmtorrent.model.ids import InfoHash, PackId
from ptmtorrent.model.release import FileRef, Release, VolumeRef
from ptmtorrent.model.torrents import packs_in, torrent_v1, torrent_v2
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
    before = [] if previous is None else [_read_volume(channel, volume) for volume in previous.volumes]
    held = set(store.packs())
    wanted = set(referenced) | {pack for _, _, packs in before for pack in packs if pack in held}
    hashes = [store.pack_hashes(pack) for pack in sorted(wanted)]
    for pack in hashes:
        if pack.rights == "gated" and not gated:
            raise StoreError(f"the pack `{pack.pack}` is gated and cannot be released")
        durable.link_or_copy(store.pack_file(pack.pack), channel / pack_path(pack.pack))
    return tuple(_write_torrents(channel, plan) for plan in plan_volumes(hashes, before))


def read_volume_packs(channel: Path, volume: VolumeRef) -> tuple[tuple[PackId, int], ...]:
    """Return the packs of `volume` and their bytes, as its v1 torrent in `channel` lists them.

    Raises:
        IntegrityError: the torrent is missing or not the one that the release names.
    """
    ref = volume.torrent_v1
    try:
        with durable.disk_errors_but_missing(channel / ref.path):
            data = (channel / ref.path).read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(f"the torrent `{ref.path}` of your channel is missing") from error
    if (len(data), blake3(data).hexdigest()) != (ref.size, ref.blake3):
        raise IntegrityError(f"the torrent `{ref.path}` of your channel is not the one its release names")
    return packs_in(data, name=ref.path)


def _read_volume(channel: Path, volume: VolumeRef) -> Previous:
    return volume.rights, volume.level, frozenset(pack for pack, _ in read_volume_packs(channel, volume))


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
    return write_listed(channel, f"torrents/{name}.torrent", data)
