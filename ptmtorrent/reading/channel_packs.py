"""The volumes of a channel folder, and which of their packs are there and right.

A pack is read once: its BLAKE3 must be its name, its SHA-1 pieces and SHA-256 layer those of the volume's two torrents,
which the release lists. What was read is remembered in `state/verified_files.py`.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from ptmtorrent.channel.folder import OwnReader, read_release, release_names
from ptmtorrent.channel.paths import pack_path
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.disk.durable import read_whole
from ptmtorrent.errors import PtmError, StoreError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.pack_layers import PackLayers, digest_of, layers_in
from ptmtorrent.model.release import FileRef, Release, VolumeRef
from ptmtorrent.progress import Meter
from ptmtorrent.state.verified_files import VerifiedFiles
from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.hashes import PackHasher
from ptmtorrent.trust.channel_state import retired_in

HASHING_THREADS = 2

PackState = Literal["known", "right", "missing", "damaged"]
"""`known`: unchanged since it was read; `right`: read now; `missing`: not there, or of another size."""


class ChannelVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that some release lists, its two torrents, and its packs; the bytes of the torrents are verified."""

    listed: VolumeRef
    v1: bytes
    v2: bytes
    packs: tuple[PackLayers, ...]


class CheckedPack(msgspec.Struct, frozen=True, kw_only=True):
    """A pack and its state; `why` it is damaged, and why that was not recorded, if it was not."""

    pack: PackId
    size: int
    state: PackState
    why: str = ""
    unrecorded: str = ""


class Unusable(msgspec.Struct, frozen=True, kw_only=True):
    """A release or a volume of which nothing can be said, and why."""

    kind: Literal["release", "volume"]
    name: str
    why: str


def channel_volumes(channel: Path) -> Iterator[ChannelVolume | Unusable]:
    """Yield each volume of `channel` once, however many releases list it.

    Raises:
        StoreError: the folder of releases cannot be read.
    """
    seen: set[str] = set()
    retired = retired_in(channel)
    for name in (each for each in release_names(channel) if each not in retired):
        try:
            _, release = read_release(channel, name)
        except PtmError as error:
            yield Unusable(kind="release", name=name, why=error.message)
            continue
        for listed in release.volumes:
            if listed.v1 in seen:
                continue
            seen.add(listed.v1)
            try:
                yield _read_volume(channel, release, listed)
            except PtmError as error:
                yield Unusable(kind="volume", name=listed.v1, why=error.message)


def check_packs(  # noqa: PLR0913  # what, against what, and who listens
    channel: Path, volume: ChannelVolume, known: VerifiedFiles, *, again: bool, meter: Meter, stop: Stop
) -> Iterator[CheckedPack]:
    """Yield every pack of `volume` with its state, in order; packs that are not `known` are read, `again` all of them.

    Raises:
        StoreError: what was verified before cannot be read.
        Interrupted: `stop` was set.
    """
    with ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="verify") as threads:
        read: dict[PackId, Future[_Read]] = {}
        states: dict[PackId, PackState] = {}
        for promised in volume.packs:
            state = _state(channel, promised, known)
            if state == "missing" or (state == "known" and not again):
                states[promised.pack] = state
            else:
                path = channel / pack_path(promised.pack)
                read[promised.pack] = threads.submit(_read_pack, path, promised, volume.listed.rights, meter, stop)
        try:
            for promised in volume.packs:
                if promised.pack in states:
                    yield CheckedPack(pack=promised.pack, size=promised.size, state=states[promised.pack])
                else:
                    result = read.pop(promised.pack).result()
                    yield _settle(known, channel / pack_path(promised.pack), promised, result)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def wanted_bytes(channel: Path, volumes: Sequence[ChannelVolume], known: VerifiedFiles) -> int:
    """Return the bytes of the packs that are there and not `known`: what `check_packs` will read."""
    packs = (promised for volume in volumes for promised in volume.packs)
    return sum(promised.size for promised in packs if _state(channel, promised, known) is None)


def _state(channel: Path, promised: PackLayers, known: VerifiedFiles) -> PackState | None:
    """Return the state of a pack without reading it; None if it must be read."""
    path = f"{channel}/{pack_path(promised.pack)}"
    try:
        found = os.stat(path)  # noqa: PTH116  # of many packs
    except OSError:
        return "missing"
    if found.st_size != promised.size:
        return "missing"
    return "known" if known.holds(found, promised.digest) else None


class _Read(NamedTuple):
    """What is wrong with a pack, or nothing; and the file that was read."""

    fault: str
    found: os.stat_result | None


def _settle(known: VerifiedFiles, path: Path, promised: PackLayers, read: _Read) -> CheckedPack:
    """Record the outcome. A record that cannot be written costs a second reading, and is no damage."""
    state: PackState = "damaged" if read.fault or read.found is None else "right"
    try:
        if read.fault or read.found is None:
            known.forget(path)
        else:
            known.record(read.found, promised.digest)
    except StoreError as error:
        return CheckedPack(
            pack=promised.pack, size=promised.size, state=state, why=read.fault, unrecorded=error.message
        )
    return CheckedPack(pack=promised.pack, size=promised.size, state=state, why=read.fault)


def _read_pack(path: Path, promised: PackLayers, rights: Rights, meter: Meter, stop: Stop) -> _Read:
    hasher = PackHasher()

    def take(data: bytes) -> None:
        stop.raise_if_set("the verification of packs")
        hasher.update(data)
        meter.add(bytes=len(data))

    try:
        found = read_whole(path, take)
    except OSError as error:
        return _Read(f"it cannot be read: {error.strerror}", None)
    if found is None or found.st_size != promised.size:
        return _Read("it was changed while it was read", None)
    if hasher.name() != promised.pack:
        return _Read(f"its bytes hash to `{hasher.name()}`", found)
    if digest_of(hasher.finish(rights)) != promised.digest:
        return _Read("its pieces are not those of the volume's torrents", found)
    return _Read("", found)


def _read_volume(channel: Path, release: Release, listed: VolumeRef) -> ChannelVolume:
    v1, v2 = (_read(channel, release, ref) for ref in (listed.torrent_v1, listed.torrent_v2))
    return ChannelVolume(listed=listed, v1=v1, v2=v2, packs=layers_in(v1, v2, name=listed.v1))


def _read(channel: Path, release: Release, ref: FileRef) -> bytes:
    return read_listed(OwnReader(channel), release, ref)
