"""Seed: offer every volume a channel folder lists, v1 and v2 torrent from the same bytes, until stopped.

A mirror may hold any part of a channel: volumes and packs that are not here are passed over, and said to be. Packs
that this home did not write are read once, and both torrents start with those that are right.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ptmtorrent.errors import Interrupted, NotFound, StoreError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.records import Emit, Note, Progress
from ptmtorrent.model.release import VolumeRef
from ptmtorrent.model.text import spell_size
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.reading.channel_packs import ChannelVolume, channel_volumes, check_packs, wanted_bytes
from ptmtorrent.state.verified_files import VerifiedFiles
from ptmtorrent.stop import Stop
from ptmtorrent.transports.torrent.seeder import Offer, Seeder
from ptmtorrent.transports.torrent.session import Address, TorrentSession, profile_for, spell_address

ATTEND_SECONDS = 0.2


def seed(  # noqa: PLR0913  # how to listen and whom to tell, all by name
    channel: Path,
    *,
    listen: Address,
    emit: Emit,
    stop: Stop,
    ready: Callable[[int], None],
    trackers: Sequence[str] = (),
    verified: bool = False,
    known: Path | None = None,
) -> None:
    """Seed the volumes of all releases in `channel` until `stop` is set.

    `ready` is called once, with the port, when every pack that is here can be asked for. Packs are read before that,
    unless they are `verified`: say so only of packs that this home wrote itself. A pack that was right is recorded in
    the file `known`, and not read again until it changes; one that is wrong is not seeded. Trackers are announced to;
    they change no infohash.

    Raises:
        NotFound: the folder has no release with a volume that can be offered.
        TransportError: `listen` is taken.
    """
    volumes = _usable_volumes(channel, emit)
    if not volumes:
        raise NotFound(
            f"`{channel}` has no release with volumes to seed",
            hint="make one with `ptmtorrent release NAME`, or name a channel folder with `--channel DIR`",
        )
    with TorrentSession(profile_for([listen[0]]), spell_address(listen), seeding=True) as session:
        port = session.port()
        seeder = Seeder(session, channel)
        with _open_known(known, emit) as rows, suppress(Interrupted):
            checks = None if verified else _Checks(channel, volumes, rows, emit, stop)
            for volume in volumes:
                packs = tuple((pack.pack, pack.size) for pack in volume.packs)
                wrong = checks.wrong_packs(volume, seeder) if checks else frozenset[PackId]()
                for name, torrent in ((volume.listed.v2, volume.v2), (volume.listed.v1, volume.v1)):
                    offer = seeder.offer(torrent, name=name, packs=packs, trackers=trackers, verified=True, wrong=wrong)
                _tell(volume.listed, offer, emit)
        _attend(seeder, emit, stop, lambda: ready(port), port)


def _usable_volumes(channel: Path, emit: Emit) -> list[ChannelVolume]:
    """Return the volumes that can be offered; report the others."""
    usable: list[ChannelVolume] = []
    for volume in channel_volumes(channel):
        if isinstance(volume, ChannelVolume):
            usable.append(volume)
            continue
        lost = "skipped" if volume.kind == "release" else "not seeded"
        emit(Note(message=f"{volume.kind} `{volume.name}` is {lost}: {volume.why}", warning=True))
    return usable


class _Checks:
    """Reads the packs that are not known yet, and says so."""

    def __init__(
        self, channel: Path, volumes: Sequence[ChannelVolume], known: VerifiedFiles, emit: Emit, stop: Stop
    ) -> None:
        self._channel, self._known, self._emit, self._stop = channel, known, emit, stop
        self._warned = False
        total = wanted_bytes(channel, volumes, known)
        self._meter = new_meter("verify", emit, time.monotonic, bytes_total=total) if total else _silent()
        if total:
            emit(Note(message=f"verifying {spell_size(total)} of packs that were not verified before, or were changed"))

    def wrong_packs(self, volume: ChannelVolume, seeder: Seeder) -> frozenset[PackId]:
        """Return the packs of a volume that are there and damaged; other volumes are seeded meanwhile.

        Raises:
            StoreError: what was verified before cannot be read.
            Interrupted: the run was stopped.
        """
        wrong = set[PackId]()
        for pack in check_packs(self._channel, volume, self._known, again=False, meter=self._meter, stop=self._stop):
            if pack.state == "damaged":
                wrong.add(pack.pack)
                self._emit(Note(message=f"the pack `{pack.pack}` is damaged and not seeded: {pack.why}", warning=True))
            if pack.unrecorded and not self._warned:
                self._warned = True
                self._emit(Note(message=f"{pack.unrecorded}; the next start reads packs again", warning=True))
            if pack.state in {"right", "damaged"}:  # reading it took time
                _warn(seeder.poll(0), self._emit)
        return frozenset(wrong)


def _open_known(path: Path | None, emit: Emit) -> VerifiedFiles:
    """Return what was verified before; on a disk that cannot be written, what this run verifies."""
    try:
        return VerifiedFiles(path)
    except StoreError as error:
        emit(Note(message=f"{error.message}; the next start reads all packs again", warning=True))
        return VerifiedFiles(None)


def _silent() -> Meter:
    return Meter(lambda _: None, time.monotonic)


def _warn(sentences: Sequence[str], emit: Emit) -> None:
    for sentence in sentences:
        emit(Note(message=sentence, warning=True))


def _attend(seeder: Seeder, emit: Emit, stop: Stop, ready: Callable[[], None], port: int) -> None:
    said_ready, sent = False, 0
    while not stop.is_set():
        _warn(seeder.poll(ATTEND_SECONDS), emit)
        if not said_ready and not seeder.checking:
            said_ready = True
            emit(Note(message=f"seeding on port {port}"))
            ready()
        if (now := seeder.payload().sent) != sent:
            sent = now
            emit(Progress(step="seed", bytes=sent, bytes_total=None, packages=0, packages_total=None))
    emit(Note(message=f"sent {sent} bytes to peers"))


def _tell(listed: VolumeRef, offer: Offer, emit: Emit) -> None:
    here = [size for pack, size in offer.packs if pack not in offer.left_out]
    emit(Note(message=f"volume `{listed.v1}`: {len(here)} packs, {sum(here)} bytes, rights {listed.rights}"))
    if offer.missing:
        first = min(offer.missing)
        missing = f"{len(offer.missing)} of {listed.packs} packs are not here, `{first}` first"
        emit(Note(message=f"volume `{listed.v1}`: {missing}; the others are seeded", warning=True))
