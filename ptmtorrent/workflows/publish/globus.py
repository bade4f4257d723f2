"""`publish RELEASE --to globus:COLLECTION/path`: put a release of our own channel into a collection, by transfers.

Files land in `.ptm-staging/<job>` below the channel, with checksums compared by the service; their sizes are listed and
samples of them read back over HTTPS; then they are renamed into place. Then the place is read over HTTPS as a fetch
client reads it, with the new timestamp held in memory; only if that succeeds does `metadata/timestamp.json` follow, in
a job of its own. So the channel is the old one or the new one whenever anything stops, and running the same command
again goes on with the same task.
What is there already is believed when its size is right and what is read of it over HTTPS is ours.
"""

import time
from collections.abc import Sequence
from datetime import datetime

from ptmtorrent.channel.folder import read_release
from ptmtorrent.channel.paths import TIMESTAMP
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import NotFound
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Clock, Monotonic, read_clock
from ptmtorrent.model.records import Emit, Note, PlanMade, Result, Status, Summary
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.progress import new_meter
from ptmtorrent.reading.read_back import HeldFiles, check_as_reader
from ptmtorrent.state.publications import add_publication, note_publication
from ptmtorrent.transports.globus.run_job import MAX_ITEMS
from ptmtorrent.trust.channel_state import ChannelState, read_channel_state, warn_of_clock
from ptmtorrent.trust.fingerprints import read_first_root
from ptmtorrent.workflows.publish.globus_send import finish, move, tidy
from ptmtorrent.workflows.publish.globus_target import (
    File,
    GlobusDestination,
    Target,
    held_at,
    missing_files,
    missing_pointer,
    open_target,
    read_there,
    with_timestamp,
)
from ptmtorrent.workflows.publish.listing import LoadKeys, choose_listed, settle_state
from ptmtorrent.workflows.publish.publish import read_own, unsigned_release


def publish_to_globus(  # noqa: PLR0913  # what, from where, to where, and how it is watched
    name: ReleaseName,
    home: Home,
    to: GlobusDestination,
    *,
    emit: Emit,
    load_keys: LoadKeys | None = None,
    dry_run: bool = False,
    clock: Clock = read_clock,
    monotonic: Monotonic = time.monotonic,
) -> Summary:
    """Put release `name` into the channel of the collection.

    As in `publish`, the place then lists what it holds, which may need the keys from `load_keys`.

    Raises:
        NotFound: no such release; or a reader would miss a file, and the place serves what it did.
        TrustError: a reader would refuse a signature, or a role has expired; the place serves what it did.
        ConfigError: it is not signed, the place holds another channel or a newer state, or ours is unknown.
        AuthError: a login, a consent or a permission is missing; the job is kept.
        TransportError: a task failed, or Globus cannot be reached.
        IntegrityError: a file is damaged here, or what was read back is not what was sent; nothing was renamed.
        Interrupted: `to.stop` was set; the same command goes on.
        StoreLocked: another publication of this home is running.
    """
    started = monotonic()
    _, release = read_release(home.channel, name)
    own = read_channel_state(home.channel)
    if own is None or name not in own.releases:
        raise unsigned_release(name)
    warn_of_clock(home.channel, own, clock(), emit)
    with open_target(home, to, emit, dry_run=dry_run) as target:
        there = read_there(target, own)
        state = own
        if not dry_run:
            held = tuple(each for each in held_at(target, there) if each not in own.retired)
            listed = choose_listed(own, held, to.place.location, add=name, drop=None)
            state = settle_state(home, own, there, listed, load_keys=load_keys, now=clock())
            target = with_timestamp(target, state, own)  # noqa: PLW2901  # the same target, with its timestamp
        others = () if dry_run else state.releases
        releases = [release, *(read_own(home, each) for each in others if each != name)]
        missing, total = missing_files(target, releases, state, there)
        emit(_plan(release, missing, missing_pointer(target, state), total))
        moved = 0
        if not dry_run:
            moved = send(target, releases, state, there, now=clock(), monotonic=monotonic)
            allowed = to.anyone and target.service.allow_everyone(to.place.collection, f"{to.place.path}/")
            tidy(target)
            if gone := [each for each in own.retired if there is not None and each in there.releases]:
                hint = f"ptmtorrent publish --retire {gone[0]} --to {to.place.location}"
                emit(Note(message=f"`{gone[0]}` had a withdrawn package; to delete its packs there: {hint}"))
            status: Status = "ok" if moved or allowed else "notneeded"
            emit(Result(kind="release", id=name, status=status, path=to.place.location, bytes=moved))
    totals = release.totals
    seconds = monotonic() - started
    return Summary(packages=totals.packages, files=totals.files, bytes=totals.raw, bytes_moved=moved, seconds=seconds)


def send(  # noqa: PLR0913  # what goes where, and how it is watched
    target: Target,
    releases: Sequence[Release],
    state: ChannelState,
    there: ChannelState | None,
    *,
    now: datetime,
    monotonic: Monotonic,
) -> int:
    """Put what is missing of `releases`, then the timestamp of `state` if a reader accepts it; return the bytes moved.

    All files of the first of `releases` are read back.

    Raises:
        As `publish_to_globus`.
    """
    moved = 0
    with WriteLock(target.home.globus):
        for job in target.context.jobs.open("publish", target.from_location, target.place.folder):
            moved += finish(target, job)
        missing, _ = missing_files(target, releases, state, there)
        total = sum(file[1] for file in [*missing, *missing_pointer(target, state)])
        meter = new_meter("publish", target.emit, monotonic, bytes_total=total)
        moved += move(target, missing, meter)
        _read_back(target, state, releases[0].name, now)
        moved += move(target, missing_pointer(target, state), meter)
        note_publication(target.home.publications, target.place.location, state.releases)
        meter.finish()
    return moved


def _read_back(target: Target, state: ChannelState, name: ReleaseName, now: datetime) -> None:
    """Read the place as a client does, before its timestamp is sent; record that it will list the release."""
    try:
        reader = target.collection.reader()
    except NotFound as error:
        target.emit(Note(message=f"the place was not read back over HTTPS: {error.message}", warning=True))
    else:
        root = read_first_root(target.source)
        check_as_reader(HeldFiles(reader, {TIMESTAMP: state.timestamp}), root, state.releases, now, name=name)
    add_publication(target.home.publications, target.place.location, state.releases)


def _plan(release: Release, missing: Sequence[File], pointer: Sequence[File], total: int) -> PlanMade:
    to_move = sum(size for _, size, _ in [*missing, *pointer])
    return PlanMade(
        packages=release.totals.packages,
        files=len(missing) + len(pointer),
        bytes=total,
        bytes_to_move=to_move,
        requests=-(-len(missing) // MAX_ITEMS) + len(pointer),
        disk=0,
    )
