"""Seed: offer every volume a channel folder lists, v1 and v2 torrent from the same bytes, until stopped.

A mirror may hold any part of a channel: volumes and packs that are not here are passed over, and said to be.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ptmtorrent.channel.folder import OwnReader, read_release, release_names
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import NotFound, PtmError
from ptmtorrent.model.records import Emit, Note, Progress
from ptmtorrent.model.release import FileRef, Release, VolumeRef
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.model.volume import pack_path
from ptmtorrent.state.proven import Proven
from ptmtorrent.stop import Stop
from ptmtorrent.transports.torrent.seeder import Offer, Seeder
from ptmtorrent.transports.torrent.session import Address, TorrentSession, profile_for, spell_address

ATTEND_SECONDS = 0.2


class _Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume some release lists, and its two torrents, their bytes verified."""

    listed: VolumeRef
    v1: bytes
    v2: bytes


def seed(  # noqa: PLR0913  # how to listen and whom to tell, all by name
    channel: Path,
    *,
    listen: Address,
    emit: Emit,
    stop: Stop,
    ready: Callable[[int], None],
    trackers: Sequence[str] = (),
    proven: Path | None = None,
) -> None:
    """Seed the volumes of all releases in `channel` until `stop` is set.

    `ready` is called once, with the port, when every pack that is here can be asked for. Packs are hashed before that,
    unless `proven`, the record of files that this home hashed, has them unchanged. Trackers are announced to; they
    change no infohash.

    Raises:
        NotFound: the folder has no release with a volume that can be offered.
        TransportError: `listen` is taken.
    """
    volumes = list(_volumes(channel, emit))
    if not volumes:
        raise NotFound(
            f"`{channel}` has no release with volumes to seed",
            hint="make one with `ptmtorrent release NAME`, or name a channel folder with `--channel DIR`",
        )
    address = spell_address(listen)
    with TorrentSession(profile_for([listen[0]]), address, seeding=True) as session, Proven(proven) as record:
        port = session.port()
        seeder = Seeder(session, channel)
        for volume in volumes:
            verified = _is_proven(channel, volume, record)
            for name, torrent in ((volume.listed.v2, volume.v2), (volume.listed.v1, volume.v1)):
                offer = seeder.offer(torrent, name=name, trackers=trackers, verified=verified)
            _tell(volume.listed, offer, emit)
        _attend(seeder, emit, stop, lambda: ready(port), port)


def _is_proven(channel: Path, volume: _Volume, record: Proven) -> bool:
    """Return whether every pack of a volume that is here was hashed and has not changed since."""
    packs = [(channel / pack_path(pack), pack) for pack, _ in packs_in(volume.v1, name=volume.listed.v1)]
    return all(record.knows(path, pack) for path, pack in packs if path.exists())


def _attend(seeder: Seeder, emit: Emit, stop: Stop, ready: Callable[[], None], port: int) -> None:
    said_ready, sent = False, 0
    while not stop.is_set():
        for sentence in seeder.poll(ATTEND_SECONDS):
            emit(Note(message=sentence, warning=True))
        if not said_ready and not seeder.checking:
            said_ready = True
            emit(Note(message=f"seeding on port {port}"))
            ready()
        if (now := seeder.payload().sent) != sent:
            sent = now
            emit(Progress(step="seed", bytes=sent, bytes_total=None, packages=0, packages_total=None))
    emit(Note(message=f"sent {sent} bytes to peers"))


def _tell(listed: VolumeRef, offer: Offer, emit: Emit) -> None:
    here = [size for pack, size in offer.packs if pack not in offer.missing]
    emit(Note(message=f"volume `{listed.v1}`: {len(here)} packs, {sum(here)} bytes, rights {listed.rights}"))
    if offer.missing:
        first = min(offer.missing)
        missing = f"{len(offer.missing)} of {listed.packs} packs are not here, `{first}` first"
        emit(Note(message=f"volume `{listed.v1}`: {missing}; the others are seeded", warning=True))


def _volumes(channel: Path, emit: Emit) -> Iterator[_Volume]:
    """Yield each volume once, however many releases list it; report those that cannot be offered."""
    seen: set[str] = set()
    for name in release_names(channel):
        try:
            _, release = read_release(channel, name)
        except PtmError as error:
            emit(Note(message=f"release `{name}` is skipped: {error.message}", warning=True))
            continue
        for listed in release.volumes:
            if listed.v1 in seen:
                continue
            seen.add(listed.v1)
            try:
                v1, v2 = (_read_torrent(channel, release, ref) for ref in (listed.torrent_v1, listed.torrent_v2))
                yield _Volume(listed=listed, v1=v1, v2=v2)
            except PtmError as error:
                emit(Note(message=f"volume `{listed.v1}` is not seeded: {error.message}", warning=True))


def _read_torrent(channel: Path, release: Release, ref: FileRef) -> bytes:
    data = read_listed(OwnReader(channel), release, ref)
    packs_in(data, name=ref.path)
    return data
