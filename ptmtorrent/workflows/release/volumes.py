"""Shares a release's packs out to volumes, links them into the channel, and writes both torrents of each volume."""

from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.channel.folder import read_volume_packs
from ptmtorrent.channel.paths import pack_path, torrent_path
from ptmtorrent.disk import durable
from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import InfoHash, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.release import FileRef, Release, VolumeRef
from ptmtorrent.model.torrents import torrent_v1, torrent_v2
from ptmtorrent.model.volume import Previous, VolumePlan, plan_volumes
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.release.carried import Carried


class NeededPacks(msgspec.Struct, frozen=True):
    """The packs that the members of a release need, and the strictest rights of a member: no pack is stricter."""

    packs: frozenset[PackId]
    rights: Rights

    def allows(self, rights: Rights) -> bool:
        """Return whether the release may have packs of `rights`."""
        return RIGHTS.index(rights) <= RIGHTS.index(self.rights)


def write_volumes(
    store: Store, channel: Path, needed: NeededPacks, previous: Release | None, carried: Carried
) -> tuple[VolumeRef, ...]:
    """Link the packs of the release into `channel` and write its torrents, durably; return their descriptions.

    A volume of the previous release stays as it is while all of its packs may be carried, including packs that only
    older releases need: dropping one would change the infohash and lose the swarm. Of other volumes, only the packs
    that the members need go along.

    Raises:
        StoreError: a pack may not be redistributed, or the channel cannot be written.
        IntegrityError: a torrent of the previous release is damaged.
    """
    before = [] if previous is None else [_read_volume(channel, previous, volume) for volume in previous.volumes]
    held = set(store.packs())
    wanted = set(needed.packs)
    for rights, _, packs in before:
        if needed.allows(rights) and packs <= held and all(carried.is_clean(pack) for pack in packs):
            wanted |= packs
    hashes = [store.pack_hashes(pack) for pack in sorted(wanted)]
    for pack in hashes:
        if not needed.allows(pack.rights) or not carried.is_clean(pack.pack):
            raise StoreError(f"the pack `{pack.pack}` is {pack.rights}, and has objects that may not be redistributed")
    durable.link_all((store.pack_file(pack.pack), channel / pack_path(pack.pack)) for pack in hashes)
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
    path = torrent_path(name)
    durable.write_file(channel / path, data)
    return FileRef(path=path, size=len(data), blake3=blake3(data).hexdigest())
