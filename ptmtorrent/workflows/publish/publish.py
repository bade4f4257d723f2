"""`publish RELEASE --to DIR`: put a release of our own channel into a directory that anything can serve.

Packs, torrents and the release's files come first, by hard link where the filesystem allows one; then the metadata.
Then the directory is read as a fetch client reads it, with the new timestamp held in memory; only if that succeeds is
`timestamp.json` written, by rename. So the directory is the old channel or the new one whenever the power goes, and
running the same command again copies only what is missing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from ptmtorrent.channel.folder import read_release
from ptmtorrent.channel.paths import FIRST_ROOT, TIMESTAMP, release_path
from ptmtorrent.channel.readers import LocalReader
from ptmtorrent.channel.unlisted import delete_unneeded
from ptmtorrent.disk import durable
from ptmtorrent.disk.durable import read_optional, read_regular
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, PtmError, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.locations import spell_place
from ptmtorrent.model.moments import Clock, Monotonic, read_clock, spell
from ptmtorrent.model.records import Emit, Note, PlanMade, Result, Status, Summary
from ptmtorrent.model.release import Release
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.progress import new_meter
from ptmtorrent.reading.read_back import HeldFiles, LocalFiles, check_as_reader, hint_for
from ptmtorrent.state.publications import add_publication, note_publication
from ptmtorrent.state.verified_files import VerifiedFiles
from ptmtorrent.trust.channel_state import ChannelState, read_channel_state, warn_of_clock
from ptmtorrent.trust.expiry import is_due
from ptmtorrent.workflows.publish.files import Item, hold_roots, inspect, list_files, put
from ptmtorrent.workflows.publish.listing import LoadKeys, choose_listed, held_releases, settle_state
from ptmtorrent.workflows.publish.same_channel import check_same_channel


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
        ConfigError: the release is not listed, keys are needed, or `to` holds another channel or a newer state.
        IntegrityError: a file of the release is missing or has another size or other bytes.
        TrustError: a reader would refuse a signature, or a role has expired. The directory serves what it did.
        NoSpace: the disk is full; run again to go on.
        StoreLocked: another publication of this home is running.
        StoreError: a file cannot be read or written.
    """
    started = monotonic()
    with publishing(home, dry_run=dry_run) as verified:
        return _publish(
            _Run(name=name, home=home, to=to, verified=verified, emit=emit, monotonic=monotonic, started=started),
            load_keys=load_keys,
            dry_run=dry_run,
            clock=clock,
        )


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    """What is published to where, and how it is watched."""

    name: ReleaseName
    home: Home
    to: Path
    verified: VerifiedFiles
    emit: Emit
    monotonic: Monotonic
    started: float

    def summary(self, release: Release, moved: int) -> Summary:
        """Return the summary of the run."""
        totals, seconds = release.totals, self.monotonic() - self.started
        return Summary(
            packages=totals.packages, files=totals.files, bytes=totals.raw, bytes_moved=moved, seconds=seconds
        )


def _publish(run: _Run, *, load_keys: LoadKeys | None, dry_run: bool, clock: Clock) -> Summary:
    name, home, to, emit = run.name, run.home, run.to, run.emit
    _, release = read_release(home.channel, name)
    own, there = read_states(home, to, name)
    warn_of_clock(home.channel, own, clock(), emit)
    held = tuple(each for each in held_releases(home, to, there) if each not in own.retired)
    listed = choose_listed(own, held, str(to), add=name, drop=None)
    # A dry run signs nothing: the documents that it would sign are about as long as the home's own.
    state = own if dry_run else settle_state(home, own, there, listed, load_keys=load_keys, now=clock())
    releases = [release, *(read_own(home, each) for each in listed if each != name)]
    items = [inspect(home.channel, to, file) for file in list_files(home.channel, releases, state, there)]
    emit(_plan(home.channel, to, release, items))
    if dry_run:
        return run.summary(release, 0)
    meter = new_meter("publish", emit, run.monotonic, bytes_total=sum(item.size for item in items))
    moved, wrote = put(home.channel, to, items, run.verified, meter)
    turned = point_to(home, to, state, name, verified=run.verified, now=clock(), emit=emit)
    moved += len(state.timestamp) if turned else 0
    if own.retired and (deleted := delete_unneeded(to, listed)):
        emit(Note(message=f"{count(deleted, 'pack or torrent', 'packs and torrents')} of retired releases deleted"))
    status: Status = "ok" if turned or wrote else "notneeded"
    emit(Result(kind="release", id=name, status=status, path=str(to), bytes=moved))
    warn_of_unpublished(own, state, str(to), emit)
    warn_of_expiry(state, clock(), emit)
    return run.summary(release, moved)


@contextmanager
def publishing(home: Home, *, dry_run: bool) -> Iterator[VerifiedFiles]:
    """Hold the lock of publications, so that no other changes a destination; yields the record of verified files.

    A dry run needs no lock, and its record is in memory.

    Raises:
        StoreLocked: another publication of this home is running.
        StoreError: the home cannot be written.
    """
    if dry_run:
        with VerifiedFiles(None) as verified:
            yield verified
        return
    with WriteLock(home.publishing), VerifiedFiles(home.verified_files) as verified:
        yield verified


def read_own(home: Home, name: ReleaseName) -> Release:
    """Return the release `name`, which the home's channel lists.

    Raises:
        IntegrityError: its file is missing, or is not a release.
        StoreError: it cannot be read.
    """
    try:
        return read_release(home.channel, name)[1]
    except NotFound as error:
        path = release_path(name)
        raise IntegrityError(f"`{path}` is missing from your channel `{home.channel}`", hint=hint_for(path)) from error


def read_states(home: Home, to: Path, name: ReleaseName) -> tuple[ChannelState, ChannelState | None]:
    """Return the states of the home's channel and of the directory `to`, which may hold nothing yet.

    Raises:
        UsageError: `to` is the channel itself.
        ConfigError: the release `name` is not listed, or `to` holds another channel or a newer state of this one.
    """
    if to.resolve() == home.channel.resolve():
        raise UsageError(f"`{to}` is the channel to publish from", hint="name another directory, or serve this one")
    state = read_channel_state(home.channel)
    if state is None or name not in state.releases:
        raise unsigned_release(name)
    check_same_channel(home.channel, to, state)
    return state, read_channel_state(to)


def unsigned_release(name: ReleaseName) -> ConfigError:
    """Return the error for a release that the home has and does not list: it is not signed yet, or half deleted."""
    return ConfigError(
        f"release `{name}` is not in the signed list of your channel",
        hint=f"finish it: ptmtorrent release {name}, or ptmtorrent release delete {name}",
    )


def point_to(  # noqa: PLR0913  # what is served from where, and how it is checked
    home: Home, to: Path, state: ChannelState, name: ReleaseName, *, verified: VerifiedFiles, now: datetime, emit: Emit
) -> bool:
    """Make `to` serve `state` if a reader accepts it; return whether the timestamp changed.

    Every file that `state` leads to is in place. `name` is a release whose publication mends `to`.

    Raises:
        NotFound, IntegrityError, TrustError: a reader does not accept it; `to` serves what it did before.
        StoreError: a file cannot be read or written.
    """
    root = read_regular(home.channel / FIRST_ROOT)
    reader = LocalReader(to)
    files = LocalFiles(folder=to, verified=verified, mend=f"ptmtorrent publish {name} --to {to}")
    roots = hold_roots(home.channel, to, state)
    check_as_reader(HeldFiles(reader, {TIMESTAMP: state.timestamp, **roots}), root, state.releases, now, files=files)
    place = spell_place(str(to.resolve()))
    add_publication(home.publications, place, state.releases)
    turned = read_optional(to / TIMESTAMP) != state.timestamp
    if turned:
        durable.write_file(to / TIMESTAMP, state.timestamp)
    durable.make_readable(to, to / TIMESTAMP)
    for path, data in roots.items():
        durable.write_file(to / path, data)
        durable.make_readable(to, to / path)
    if turned:
        try:
            check_as_reader(reader, root, state.releases, now)
        except PtmError as error:
            emit(Note(message=f"`{to}` was changed and does not read back: {error.message}", warning=True))
            raise
    note_publication(home.publications, place, state.releases)
    return turned


def _plan(source: Path, to: Path, release: Release, items: list[Item]) -> PlanMade:
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
