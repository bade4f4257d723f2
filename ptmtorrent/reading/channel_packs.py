"""The volumes of a channel folder, and which of their packs are there and right.

A pack is read once: its BLAKE3 must be its name, its SHA-1 pieces and SHA-256 layer those of the volume's two torrents,
which the release lists. What was read is remembered in `state/verified_packs.py`.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from ptmtorrent.channel.folder import OwnReader, read_release, release_names
from ptmtorrent.channel.paths import pack_path
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.disk.durable import open_regular, read_at
from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.pack_layers import PackLayers, digest_of, layers_in
from ptmtorrent.model.release import FileRef, Release, VolumeRef
from ptmtorrent.progress import Meter
from ptmtorrent.state.verified_packs import VerifiedPacks
from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.hashes import PackHasher

HASHING_THREADS = 2
READ_BYTES = 4 << 20

PackState = Literal["known", "right", "missing", "damaged"]
"""`known`: unchanged since it was read; `right`: read now; `missing`: not there, or of another size."""


class ChannelVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that some release lists, its two torrents, and its packs; the bytes of the torrents are verified."""

    listed: VolumeRef
    v1: bytes
    v2: bytes
    packs: tuple[PackLayers, ...]


class CheckedPack(msgspec.Struct, frozen=True, kw_only=True):
    """A pack and its state; `why` it is damaged."""

    pack: PackId
    size: int
    state: PackState
    why: str = ""


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
    for name in release_names(channel):
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
    channel: Path, volume: ChannelVolume, known: VerifiedPacks, *, again: bool, meter: Meter, stop: Stop
) -> Iterator[CheckedPack]:
    """Yield every pack of `volume` with its state, in order; packs that are not `known` are read, `again` all of them.

    Raises:
        StoreError: what was verified cannot be recorded.
        Interrupted: `stop` was set.
    """
    with ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="verify") as threads:
        read: dict[PackId, tuple[os.stat_result, Future[str]]] = {}
        states: dict[PackId, PackState] = {}
        for promised in volume.packs:
            path = channel / pack_path(promised.pack)
            found = _stat(path)
            if found is None or found.st_size != promised.size:
                states[promised.pack] = "missing"
            elif not again and known.holds(path, found, promised.digest):
                states[promised.pack] = "known"
            else:
                task = threads.submit(_fault, path, found, promised, volume.listed.rights, meter, stop)
                read[promised.pack] = found, task
        try:
            for promised in volume.packs:
                if promised.pack in states:
                    yield CheckedPack(pack=promised.pack, size=promised.size, state=states[promised.pack])
                    continue
                found, task = read.pop(promised.pack)
                yield _settle(known, channel / pack_path(promised.pack), found, promised, task.result())
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def wanted_bytes(channel: Path, volumes: Sequence[ChannelVolume], known: VerifiedPacks) -> int:
    """Return the bytes of the packs that are there and not `known`: what `check_packs` will read."""
    total = 0
    for volume in volumes:
        for promised in volume.packs:
            path = channel / pack_path(promised.pack)
            found = _stat(path)
            if found and found.st_size == promised.size and not known.holds(path, found, promised.digest):
                total += promised.size
    return total


def _settle(known: VerifiedPacks, path: Path, found: os.stat_result, promised: PackLayers, fault: str) -> CheckedPack:
    if fault:
        known.forget(path)
        return CheckedPack(pack=promised.pack, size=promised.size, state="damaged", why=fault)
    known.record(path, found, promised.digest)
    return CheckedPack(pack=promised.pack, size=promised.size, state="right")


def _fault(  # noqa: PLR0913, PLR0917  # what one thread is given
    path: Path, found: os.stat_result, promised: PackLayers, rights: Rights, meter: Meter, stop: Stop
) -> str:
    """Read a pack; return what is wrong with it, or nothing."""
    hasher = PackHasher()
    try:
        descriptor = open_regular(path)
        try:
            if _changed(found, os.fstat(descriptor)):
                return "it was replaced while it was opened"
            for at in range(0, promised.size, READ_BYTES):
                stop.raise_if_set("the verification of packs")
                data = read_at(descriptor, at, min(READ_BYTES, promised.size - at))
                hasher.update(data)
                meter.add(bytes=len(data))
            if hasher.size != promised.size or _changed(found, os.fstat(descriptor)):
                return "it was changed while it was read"
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if hasher.name() != promised.pack:
        return f"its bytes hash to `{hasher.name()}`"
    if digest_of(hasher.finish(rights)) != promised.digest:
        return "its pieces are not those of the volume's torrents"
    return ""


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _read_volume(channel: Path, release: Release, listed: VolumeRef) -> ChannelVolume:
    v1, v2 = (_read(channel, release, ref) for ref in (listed.torrent_v1, listed.torrent_v2))
    return ChannelVolume(listed=listed, v1=v1, v2=v2, packs=layers_in(v1, v2, name=listed.v1))


def _read(channel: Path, release: Release, ref: FileRef) -> bytes:
    return read_listed(OwnReader(channel), release, ref)
