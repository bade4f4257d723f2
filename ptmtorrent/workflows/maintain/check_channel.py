"""`verify --channel DIR`: read every pack of a channel folder again and compare it with the release's torrents.

A mirror may hold any part of a channel, so a pack that is not there is counted and not an error. What is right is
recorded for the next start of `seed`, and what is damaged loses its record. The releases are those that the folder
lists, and their signatures are not checked.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ptmtorrent.channel.folder import read_release, release_names
from ptmtorrent.errors import NotFound, PtmError
from ptmtorrent.model.records import Emit, Note, Opened, Result, Summary
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.progress import new_meter
from ptmtorrent.reading.channel_packs import ChannelVolume, CheckedPack, Unusable, channel_volumes, check_packs
from ptmtorrent.reading.open_channel import PIN_PREFIX
from ptmtorrent.state.verified_files import VerifiedFiles
from ptmtorrent.stop import Stop
from ptmtorrent.trust.channel_state import retired_in


def check_channel(home: Home, channel: Path, *, emit: Emit, stop: Stop) -> Summary:
    """Read all packs of `channel` that its releases list; emit a record for each that is there.

    Raises:
        NotFound: the folder has no release with volumes.
        StoreError: the folder cannot be read, or the record of verified packs not be opened.
        Interrupted: `stop` was set.
    """
    began = time.monotonic()
    volumes = list(channel_volumes(channel))
    usable = [volume for volume in volumes if isinstance(volume, ChannelVolume)]
    unusable = [volume for volume in volumes if isinstance(volume, Unusable)]
    if not volumes:
        raise NotFound(f"`{channel}` has no release with volumes", hint="name a channel folder with `--channel DIR`")
    for opened in _releases(channel):
        emit(opened)
    for found in unusable:
        emit(Note(message=f"{found.kind} `{found.name}` cannot be checked: {found.why}", warning=True))
    total = sum(volume.listed.bytes for volume in usable)
    meter = new_meter("verify", emit, time.monotonic, bytes_total=total)
    packs: list[CheckedPack] = []
    with VerifiedFiles(home.verified_files) as known:
        for volume in usable:
            for pack in check_packs(channel, volume, known, again=True, meter=meter, stop=stop):
                packs.append(pack)
                _emit_pack(pack, emit)
    meter.finish()
    here = [pack for pack in packs if pack.state != "missing"]
    if lost := next((pack.unrecorded for pack in packs if pack.unrecorded), None):
        emit(Note(message=f"{lost}; the next start of `seed` reads packs again", warning=True))
    if absent := len(packs) - len(here):
        emit(Note(message=f"{count(absent, 'pack')} of {len(packs):,} not in `{channel}`: not checked"))
    return Summary(
        packages=len(here),
        files=len(here),
        bytes=sum(pack.size for pack in here),
        bytes_moved=0,
        bytes_read=sum(pack.size for pack in here),
        seconds=time.monotonic() - began,
        failed=sum(pack.state == "damaged" for pack in packs) + len(unusable),
        unit="pack",
    )


def _releases(channel: Path) -> Iterator[Opened]:
    """Yield the releases of the folder whose packs are checked, as the folder has them; no signature is checked."""
    retired = retired_in(channel)
    for name in (each for each in release_names(channel) if each not in retired):
        with suppress(PtmError):  # it is unusable, and named as such
            _, release = read_release(channel, name)
            yield Opened(
                release=name,
                created=release.created,
                content_root=f"{PIN_PREFIX}{release.content_root}",
                channel=str(channel),
                how="unsigned",
            )


def _emit_pack(pack: CheckedPack, emit: Emit) -> None:
    if pack.state == "damaged":
        emit(Result(kind="pack", id=pack.pack, status="error", reason=pack.why, bytes=pack.size))
    elif pack.state != "missing":
        emit(Result(kind="pack", id=pack.pack, status="ok", reason="every byte is right", bytes=pack.size))
