"""`publish RELEASE --to DIR`: put a release of our own channel into a directory that anything can serve.

Packs, torrents and the release's files come first, by hard link where the filesystem allows one; then the metadata.
Then the directory is read as a fetch client reads it, with the new timestamp held in memory; only if that succeeds is
`timestamp.json` written, by rename. So the directory is the old channel or the new one whenever the power goes, and
running the same command again copies only what is missing.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.channel.folder import read_optional, read_release, read_volume_packs
from ptmtorrent.channel.paths import (
    FIRST_ROOT,
    MINISIGN_PUBLIC,
    TIMESTAMP,
    listed_path,
    pack_path,
    release_path,
    signature_path,
)
from ptmtorrent.channel.readers import LocalReader
from ptmtorrent.disk import durable
from ptmtorrent.disk.durable import read_regular
from ptmtorrent.errors import ConfigError, IntegrityError, PtmError, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Clock, Monotonic, read_clock, spell
from ptmtorrent.model.records import Emit, Note, PlanMade, Result, Summary
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.reading.read_back import HeldTimestamp, check_as_reader
from ptmtorrent.state.publications import add_publication, note_publication
from ptmtorrent.trust.channel_state import ChannelState, read_channel_state
from ptmtorrent.trust.expiry import is_due
from ptmtorrent.workflows.publish.listing import LoadKeys, choose_listed, held_releases, settle_state
from ptmtorrent.workflows.publish.same_channel import check_same_channel


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    """One file to put in place: its path in the channel and its size in bytes; `there` when it is in place already.

    `listed` files are named by `release.json`; all others lead to it, and come after them.
    """

    path: str
    size: int
    there: bool
    listed: bool


def publish(  # noqa: PLR0913  # what, from where, to where, and how it is watched
    name: ReleaseName,
    home: Home,
    to: Path,
    *,
    emit: Emit,
    load_keys: LoadKeys | None = None,
    dry_run: bool = False,
    clock: Clock = read_clock,
    monotonic: Monotonic = time.monotonic,
) -> Summary:
    """Put release `name` of the channel of `home` into the directory `to`; a `dry_run` only says what it would move.

    The directory then lists `name` and what it held before. If that is less than the home lists, the list is signed
    with the keys from `load_keys`. `bytes_moved` counts what was copied, not what was hard-linked or in place already.

    Raises:
        NotFound: no such release, naming near matches; or a reader would miss a file. The directory serves what it did.
        UsageError: `to` is the channel itself.
        ConfigError: the release is not signed yet, keys are needed, or `to` holds another channel or a newer state.
        IntegrityError: a file of the release is missing or has another size or other bytes.
        TrustError: a reader would refuse a signature, or a role has expired. The directory serves what it did.
        NoSpace: the disk is full; run again to go on.
        StoreError: a file cannot be read or written.
    """
    started = monotonic()
    source = home.channel
    _, release = read_release(source, name)
    own, there = read_states(home, to, name)
    listed = choose_listed(own, held_releases(to, there), str(to), add=name, drop=None)
    # A dry run signs nothing: the documents that it would sign are about as long as the home's own.
    state = own if dry_run else settle_state(home, own, there, listed, load_keys=load_keys, now=clock())
    items = [_inspect(source, to, path, size) for path, size in list_files(source, release, state)]
    emit(_plan(source, to, release, items))
    if dry_run:
        return _summary(release, 0, monotonic() - started)
    meter = new_meter("publish", emit, monotonic, bytes_total=sum(item.size for item in items))
    moved = _put(source, to, items, meter)
    turned = point_to(home, to, state, name, now=clock(), emit=emit)
    moved += len(state.timestamp) if turned else 0
    changed = turned or not all(item.there for item in items)
    emit(Result(kind="release", id=name, status="ok" if changed else "notneeded", path=str(to), bytes=moved))
    warn_of_unpublished(own, state, str(to), emit)
    warn_of_expiry(state, clock(), emit)
    return _summary(release, moved, monotonic() - started)


def read_states(home: Home, to: Path, name: ReleaseName) -> tuple[ChannelState, ChannelState | None]:
    """Return the states of the home's channel and of the directory `to`, which may hold nothing yet.

    Raises:
        UsageError: `to` is the channel itself.
        ConfigError: the release `name` is not signed yet, or `to` holds another channel or a newer state of this one.
    """
    if to.resolve() == home.channel.resolve():
        raise UsageError(f"`{to}` is the channel to publish from", hint="name another directory, or serve this one")
    state = read_channel_state(home.channel)
    if state is None or name not in state.releases:
        raise ConfigError(f"release `{name}` is not signed yet", hint=f"finish it: ptmtorrent release {name}")
    check_same_channel(home.channel, to, state)
    return state, read_channel_state(to)


def point_to(  # noqa: PLR0913  # what is served from where, and what is read of it
    home: Home, to: Path, state: ChannelState, name: ReleaseName | None, *, now: datetime, emit: Emit
) -> bool:
    """Make `to` serve `state` if a reader accepts it; return whether the timestamp changed.

    Every file that `state` leads to is in place. All files of the release `name` are read.

    Raises:
        NotFound, IntegrityError, TrustError: a reader does not accept it; `to` serves what it did before.
        StoreError: a file cannot be read or written.
    """
    root = read_regular(home.channel / FIRST_ROOT)
    reader = LocalReader(to)
    check_as_reader(HeldTimestamp(reader, state.timestamp), root, state.releases, name, now)
    place = str(to.resolve())
    add_publication(home.publications, place, state.releases)
    turned = read_optional(to / TIMESTAMP) != state.timestamp
    if turned:
        durable.write_file(to / TIMESTAMP, state.timestamp)
    durable.make_readable(to, to / TIMESTAMP)
    if turned:
        try:
            check_as_reader(reader, root, state.releases, None, now)
        except PtmError as error:
            emit(Note(message=f"`{to}` was changed and does not read back: {error.message}", warning=True))
            raise
    note_publication(home.publications, place, state.releases)
    return turned


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
    for path in list_metadata(state):
        yield path, None


def list_metadata(state: ChannelState) -> Iterator[str]:
    """Yield the paths of the public key and of the documents that the timestamp of `state` leads to."""
    yield MINISIGN_PUBLIC
    yield from state.files


def put_files(source: Path, to: Path, paths: Iterable[str]) -> None:
    """Put small files of the channel `source` into `to`, durably.

    Raises:
        IntegrityError: one is missing.
        ConfigError: `to` has another file of that name.
        StoreError: one cannot be read or written.
    """
    for path in paths:
        if not _inspect(source, to, path, None).there:
            durable.link_or_copy(source / path, to / path)
        durable.make_readable(to, to / path)


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
    return _Item(path=path, size=have, there=there, listed=size is not None)


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
    """Put the files in place in their order; return the bytes that were copied.

    What the release lists is durable before the first file that leads to it.
    """
    moved = 0
    by_target = {to / item.path: item for item in items}

    def on_placed(target: Path, linked: bool) -> None:  # noqa: FBT001  # as `link_all` calls it
        nonlocal moved
        item = by_target[target]
        if not item.there and not linked:
            moved += item.size
            _compare(source / item.path, target)
        durable.make_readable(to, target)
        meter.add(bytes=item.size)

    durable.ensure_dir(to, mode=durable.PUBLIC_DIR)
    durable.link_all(((source / item.path, to / item.path) for item in items if item.listed), on_placed)
    for item in items:
        if not item.listed:
            target = to / item.path
            on_placed(target, item.there or durable.link_or_copy(source / item.path, target))
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


def warn_of_unpublished(own: ChannelState, state: ChannelState, to: str, emit: Emit) -> None:
    """Say that the home's newest release is not listed by the destination `to`, if it is not."""
    newest = own.releases[-1]
    if newest not in state.releases:
        emit(Note(message=f"`{to}` does not list `{newest}`; to add it: ptmtorrent publish {newest} --to {to}"))


def warn_of_expiry(state: ChannelState, now: datetime, emit: Emit) -> None:
    """Warn that the timestamp of `state` expires within a week."""
    if is_due("timestamp", state.expires, now):
        what = f"The channel expires on {spell(state.expires)}; fetching from it fails after that"
        emit(Note(message=f"{what}; run `ptmtorrent renew`, then publish again", warning=True))


def _compare(source: Path, copy: Path) -> None:
    """Read a copy back.

    Raises:
        IntegrityError: it has other bytes than its source.
    """
    with durable.disk_errors(copy):
        same = blake3().update_mmap(copy).digest() == blake3().update_mmap(source).digest()
    if not same:
        raise IntegrityError(
            f"`{copy}` does not have the bytes that were written", hint="check the disk, then run again"
        )


def _summary(release: Release, moved: int, seconds: float) -> Summary:
    totals = release.totals
    return Summary(packages=totals.packages, files=totals.files, bytes=totals.raw, bytes_moved=moved, seconds=seconds)
