"""`publish RELEASE --to DIR`: put a release of our own channel into a directory that anything can serve.

Packs, torrents and the release's files come first, by hard link where the filesystem allows one; then the metadata,
and `timestamp.json` last, by rename. So the directory is the old channel or the new one whenever the power goes, and
running the same command again copies only what is missing.
"""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from ptmtorrent.channel.folder import read_optional, read_release, read_volume_packs
from ptmtorrent.channel.paths import MINISIGN_PUBLIC, TIMESTAMP, listed_path, release_path, signature_path
from ptmtorrent.disk import durable
from ptmtorrent.errors import ConfigError, IntegrityError, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Clock, Monotonic, read_clock, spell
from ptmtorrent.model.records import Emit, Note, PlanMade, Result, Summary
from ptmtorrent.model.release import Release
from ptmtorrent.model.volume import pack_path
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.trust.channel_state import ChannelState, read_channel_state
from ptmtorrent.workflows.publish.same_channel import check_same_channel

EXPIRES_SOON = timedelta(days=7)


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    """One file to put in place: its path in the channel and its size in bytes; `there` when it is in place already."""

    path: str
    size: int
    there: bool


def publish(  # noqa: PLR0913  # what, from where, to where, and how it is watched
    name: ReleaseName,
    home: Home,
    to: Path,
    *,
    emit: Emit,
    dry_run: bool = False,
    clock: Clock = read_clock,
    monotonic: Monotonic = time.monotonic,
) -> Summary:
    """Put release `name` of the channel of `home` into the directory `to`; a `dry_run` only says what it would move.

    `bytes_moved` counts what was copied; what is hard-linked moves nothing, and neither does what is there already.

    Raises:
        NotFound: no such release, naming near matches.
        UsageError: `to` is the channel itself.
        ConfigError: the release is not signed yet, or `to` holds another channel or a newer state of this one.
        IntegrityError: a file of the release is missing or has another size.
        NoSpace: the disk is full; run again to go on.
        StoreError: a file cannot be read or written.
    """
    started = monotonic()
    source = home.channel
    _, release = read_release(source, name)
    state = _check(source, to, name)
    items = [_inspect(source, to, path, size) for path, size in list_files(source, release, state)]
    emit(_plan(source, to, release, items))
    if dry_run:
        return _summary(release, 0, monotonic() - started)
    total = sum(item.size for item in items)
    meter = new_meter("publish", emit, monotonic, bytes_total=total)
    moved = _put(source, to, items, meter)
    turned = read_optional(to / TIMESTAMP) != state.timestamp
    if turned:
        durable.write_file(to / TIMESTAMP, state.timestamp)
        moved += len(state.timestamp)
    changed = turned or not all(item.there for item in items)
    emit(Result(kind="release", id=name, status="ok" if changed else "notneeded", path=str(to), bytes=moved))
    _warn_of_missing(to, state, emit)
    _warn_of_expiry(state, clock(), emit)
    return _summary(release, moved, monotonic() - started)


def _check(source: Path, to: Path, name: ReleaseName) -> ChannelState:
    if to.resolve() == source.resolve():
        raise UsageError(f"`{to}` is the channel to publish from", hint="name another directory, or serve this one")
    state = read_channel_state(source)
    if state is None or name not in state.releases:
        raise ConfigError(f"release `{name}` is not signed yet", hint=f"finish it: ptmtorrent release {name}")
    check_same_channel(source, to, state)
    return state


def list_files(source: Path, release: Release, state: ChannelState) -> Iterator[tuple[str, int | None]]:
    """Yield every file in the order in which it may appear, with its size where the release says it."""
    for volume in release.volumes:
        for pack, size in read_volume_packs(source, release, volume):
            yield pack_path(pack), size
        for torrent in (volume.torrent_v1, volume.torrent_v2):
            yield torrent.path, torrent.size
    pages = [*release.content, *release.placement]
    for subset in release.subsets:
        pages += [*subset.content, *subset.placement]
    for ref in dict.fromkeys((*pages, *release.others)):
        yield listed_path(release, ref), ref.size
    yield signature_path(release.name), None
    yield release_path(release.name), None
    yield MINISIGN_PUBLIC, None
    for path in state.files:
        yield path, None


def _inspect(source: Path, to: Path, path: str, size: int | None) -> _Item:
    """Compare one file here and there.

    Packs, tables and shards are compared by size, because their names never change meaning; the few small files that a
    second copy of this home could have written differently are compared by their bytes.
    """
    try:
        with durable.disk_errors_but_missing(source / path):
            have = (source / path).stat().st_size
    except FileNotFoundError as error:
        raise IntegrityError(f"`{path}` is missing from your channel `{source}`") from error
    if size is not None and have != size:
        raise IntegrityError(f"`{path}` in your channel `{source}` is {have} bytes, expected {size}")
    if size is None:
        there = _same_bytes(source / path, to / path)
    else:
        with durable.disk_errors(to / path):
            there = (to / path).is_file() and (to / path).stat().st_size == size
    return _Item(path=path, size=have, there=there)


def _same_bytes(source: Path, target: Path) -> bool:
    theirs = read_optional(target)
    if theirs is None:
        return False
    if theirs != read_optional(source):
        raise ConfigError(
            f"`{target}` is not the file of this channel; it was published from another copy of this home",
            hint="publish from the home that made it",
        )
    return True


def _put(source: Path, to: Path, items: list[_Item], meter: Meter) -> int:
    moved = 0
    for item in items:
        if not item.there and not durable.link_or_copy(source / item.path, to / item.path):
            moved += item.size
        meter.add(bytes=item.size)
    meter.finish()
    return moved


def _plan(source: Path, to: Path, release: Release, items: list[_Item]) -> PlanMade:
    missing = [item for item in items if not item.there]
    folder = next(path for path in (to.absolute(), *to.absolute().parents) if path.exists())
    with durable.disk_errors(folder):
        linkable = folder.stat().st_dev == source.stat().st_dev
    bytes_to_move = 0 if linkable else sum(item.size for item in missing)
    return PlanMade(
        packages=release.totals.packages,
        files=len(missing),
        bytes=sum(item.size for item in items),
        bytes_to_move=bytes_to_move,
        requests=0,
        disk=bytes_to_move,
    )


def _warn_of_missing(to: Path, state: ChannelState, emit: Emit) -> None:
    newest = state.releases[-1]
    if not (to / release_path(newest)).is_file():
        emit(
            Note(
                message=f"The newest release `{newest}` is not in `{to}`; type: ptmtorrent publish {newest} --to {to}",
                warning=True,
            )
        )


def _warn_of_expiry(state: ChannelState, now: datetime, emit: Emit) -> None:
    if now < state.expires - EXPIRES_SOON:
        return
    verb = "expires" if now < state.expires else "expired"
    what = f"The channel {verb} on {spell(state.expires)}; fetching from it fails after that"
    emit(Note(message=f"{what}; run `ptmtorrent renew`, then publish again", warning=True))


def _summary(release: Release, moved: int, seconds: float) -> Summary:
    totals = release.totals
    return Summary(packages=totals.packages, files=totals.files, bytes=totals.raw, bytes_moved=moved, seconds=seconds)
