"""`publish RELEASE --to globus:COLLECTION/path`: put a release of our own channel into a collection, by transfers.

Files land in `.ptm-staging/<job>` below the channel, with checksums compared by the service; their sizes are listed and
samples of them read back over HTTPS; then they are renamed into place. Then the place is read over HTTPS as a fetch
client reads it, with the new timestamp held in memory; only if that succeeds does `metadata/timestamp.json` follow, in
a job of its own. So the channel is the old one or the new one whenever anything stops, and running the same command
again goes on with the same task.
What is there already is believed when its size is right and what is read of it over HTTPS is ours.
"""

import os
import random
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

import msgspec

from ptmtorrent.channel.folder import read_release
from ptmtorrent.channel.paths import FIRST_ROOT, METADATA, RELEASE_FILE, TIMESTAMP, TIMESTAMP_NAME, release_folder
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import open_regular, read_regular, write_file
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import AuthError, ConfigError, IntegrityError, Interrupted, NotFound, TransportError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.locations import GlobusLocation
from ptmtorrent.model.moments import Clock, Monotonic, read_clock
from ptmtorrent.model.records import Emit, Note, PlanMade, Result, Summary
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.reading.collection import JOBS, Collection, here_of
from ptmtorrent.reading.read_back import HeldTimestamp, check_as_reader
from ptmtorrent.state.publications import add_publication, note_publication
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.hints import resume_hint
from ptmtorrent.transports.globus.jobs import ENDED, Job, JobItem, Jobs, with_state
from ptmtorrent.transports.globus.locations import STAGING, GlobusAccess, LocalCollection
from ptmtorrent.transports.globus.login import open_service
from ptmtorrent.transports.globus.run_job import MAX_ITEMS, JobContext, run_job
from ptmtorrent.transports.globus.service import Entry, TransferService
from ptmtorrent.transports.globus.wait import WaitPolicy
from ptmtorrent.trust.channel_state import ChannelState, read_channel_state, read_state
from ptmtorrent.trust.fingerprints import read_first_root
from ptmtorrent.trust.metadata import timestamp_version
from ptmtorrent.workflows.publish.compare import SAMPLE_BYTES, Comparison
from ptmtorrent.workflows.publish.listing import LoadKeys, choose_listed, settle_state
from ptmtorrent.workflows.publish.publish import list_files

SAMPLES = 32
SMALL_BYTES = 4 << 20

File = tuple[str, int, str]
"""A file to move: its path in the channel, its size, and where our own collection shows it."""


class _Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a release goes, and what it is put there with."""

    source: Path
    here: LocalCollection
    collection: Collection
    service: TransferService
    context: JobContext
    emit: Emit
    timestamp: Path
    """The file with the signed timestamp to put there."""

    def local(self, path: str) -> Path:
        """Return the file of this home that is sent as `path`."""
        return self.timestamp if path == TIMESTAMP else self.source / path

    @property
    def place(self) -> GlobusLocation:
        """The channel in its collection."""
        return self.collection.place

    @property
    def from_location(self) -> str:
        """Our own channel, as a location."""
        return f"globus:{self.here.collection}{self.here.path_of(self.source)}"


def publish_to_globus(  # noqa: PLR0913  # what, from where, to where, and how it is watched
    name: ReleaseName,
    home: Home,
    place: GlobusLocation,
    access: GlobusAccess,
    *,
    emit: Emit,
    stop: Stop,
    load_keys: LoadKeys | None = None,
    anyone: bool = False,
    dry_run: bool = False,
    clock: Clock = read_clock,
    monotonic: Monotonic = time.monotonic,
) -> Summary:
    """Put release `name` into the channel at `place`; with `anyone`, let everybody read it without a login.

    As in `publish`, the place then lists what it holds, which may need the keys from `load_keys`.

    Raises:
        NotFound: no such release; or a reader would miss a file, and the place serves what it did.
        TrustError: a reader would refuse a signature, or a role has expired; the place serves what it did.
        ConfigError: it is not signed, the place holds another channel or a newer state, or ours is unknown.
        AuthError: a login, a consent or a permission is missing; the job is kept.
        TransportError: a task failed, or Globus cannot be reached.
        IntegrityError: what was read back is not what was sent; nothing was renamed.
        Interrupted: `stop` was set; the same command goes on.
    """
    started = monotonic()
    here = here_of(access)
    _, release = read_release(home.channel, name)
    state = read_channel_state(home.channel)
    if state is None or name not in state.releases:
        raise ConfigError(f"release `{name}` is not signed yet", hint=f"finish it: ptmtorrent release {name}")
    with open_service(access, stop) as service:
        context = JobContext(
            jobs=Jobs(access.folder / JOBS),
            service=service,
            wait_policy=WaitPolicy(stall_seconds=access.patience),
            on_message=lambda message: emit(Note(message=message)),
            on_bytes=lambda _: None,
        )
        target = _Target(
            source=home.channel,
            here=here,
            collection=Collection(place, access, stop),
            service=service,
            context=context,
            emit=emit,
            timestamp=home.channel / TIMESTAMP,
        )
        there = _check_target(target, state)
        if not dry_run:
            target, state = _settle(target, home, state, there, name, load_keys=load_keys, now=clock())
        moved = _publish(
            target, release, state, stop, home, anyone=anyone, dry_run=dry_run, clock=clock, monotonic=monotonic
        )
    totals = release.totals
    seconds = monotonic() - started
    return Summary(packages=totals.packages, files=totals.files, bytes=totals.raw, bytes_moved=moved, seconds=seconds)


def _publish(  # noqa: PLR0913  # one step of the above, with the service open
    target: _Target,
    release: Release,
    state: ChannelState,
    stop: Stop,
    home: Home,
    *,
    anyone: bool,
    dry_run: bool,
    clock: Clock,
    monotonic: Monotonic,
) -> int:
    missing, total = _missing(target, release, state)
    pointer = _missing_pointer(target, state)
    target.emit(_plan(release, missing, pointer, total))
    if dry_run:
        return 0
    moved = 0
    with WriteLock(home.globus):
        meter = new_meter("publish", target.emit, monotonic, bytes_total=sum(f[1] for f in [*missing, *pointer]))
        for job in target.context.jobs.open("publish", target.from_location, target.place.folder):
            moved += _finish(target, job, stop)
            missing, _ = _missing(target, release, state)
        moved += _move(target, missing, meter, stop)
        _read_back(target, home, state, release.name, clock())
        moved += _move(target, _missing_pointer(target, state), meter, stop)
        note_publication(home.publications, target.place.location, state.releases)
        meter.finish()
        allowed = anyone and target.service.allow_everyone(target.place.collection, f"{target.place.path}/")
    _tidy(target)
    changed = moved > 0 or allowed
    target.emit(
        Result(
            kind="release",
            id=release.name,
            status="ok" if changed else "notneeded",
            path=target.place.location,
            bytes=moved,
        )
    )
    return moved


def _move(target: _Target, files: Sequence[File], meter: Meter, stop: Stop) -> int:
    """Send `files` in jobs of at most `MAX_ITEMS`; return the bytes moved."""
    moved = 0
    for at in range(0, len(files), MAX_ITEMS):
        job = target.context.jobs.plan(
            "publish",
            source=target.from_location,
            destination=target.place.folder,
            files=files[at : at + MAX_ITEMS],
            landing=target.place.below(STAGING),
        )
        moved += _finish(target, job, stop)
        meter.add(bytes=job.bytes)
    return moved


def _settle(  # noqa: PLR0913  # as `settle_state`
    target: _Target,
    home: Home,
    own: ChannelState,
    there: ChannelState | None,
    name: ReleaseName,
    *,
    load_keys: LoadKeys | None,
    now: datetime,
) -> tuple[_Target, ChannelState]:
    """Return the state to publish, and the target with the file of its timestamp."""
    before = () if there is None else there.releases
    held = tuple(each for each in before if RELEASE_FILE in _list(target, release_folder(each)))
    listed = choose_listed(own, held, target.place.location, add=name, drop=None)
    state = settle_state(home, own, there, listed, load_keys=load_keys, now=now)
    if state is own:
        return target, state
    return msgspec.structs.replace(target, timestamp=_keep_timestamp(home.channel, state)), state


def _keep_timestamp(channel: Path, state: ChannelState) -> Path:
    """Keep the timestamp of a place beside the home's own, so that a transfer can read it; return the file."""
    path = channel / METADATA / f"{state.version}.{TIMESTAMP_NAME}"
    write_file(path, state.timestamp)
    return path


def _read_back(target: _Target, home: Home, state: ChannelState, name: ReleaseName, now: datetime) -> None:
    """Read the place as a client does, before its timestamp is sent; record that it will list the release."""
    try:
        reader = target.collection.reader()
    except NotFound as error:
        target.emit(Note(message=f"the place was not read back over HTTPS: {error.message}", warning=True))
    else:
        root = read_first_root(target.source)
        check_as_reader(HeldTimestamp(reader, state.timestamp), root, state.releases, name, now)
    add_publication(home.publications, target.place.location, state.releases)


def _check_target(target: _Target, state: ChannelState) -> ChannelState | None:
    """Return the state of the place, unverified; None for one without a timestamp.

    Raises:
        ConfigError: it is another channel, or a newer state of this one.
    """
    entries = _list(target, METADATA)
    if Path(FIRST_ROOT).name not in entries:
        return None
    reader = target.collection.reader()
    root = read_regular(target.source / FIRST_ROOT)
    if _read(reader, FIRST_ROOT) != root:
        raise ConfigError(
            f"`{target.place.location}` has another channel with its own keys", hint="name another folder"
        )
    if Path(TIMESTAMP).name not in entries:
        return None
    pointer = _read(reader, TIMESTAMP)
    version = timestamp_version(pointer)
    if version > state.version or (version == state.version and pointer != state.timestamp):
        raise ConfigError(
            f"`{target.place.location}` was published from a newer state of this channel, or from another copy of it",
            hint="publish from the home that made it",
        )
    try:
        return read_state(reader)
    except (IntegrityError, NotFound) as error:
        target.emit(
            Note(message=f"the metadata of `{target.place.location}` is replaced: {error.message}", warning=True)
        )
        return None


def _read(reader: ChannelReader, path: str) -> bytes:
    return reader.read(path, limit=SMALL_BYTES)


def _missing(target: _Target, release: Release, state: ChannelState) -> tuple[list[File], int]:
    """Return the files that are not in place, but for the timestamp, and the bytes of all."""
    seen: dict[str, dict[str, Entry]] = {}
    missing: list[File] = []
    total = 0
    seed = f"{release.name} {state.version}"
    same = Comparison(target.source, target.collection, target.emit, seed=seed).same
    for path, size in list_files(target.source, release, state):
        have = _size_here(target.source, path, size)
        total += have
        folder, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
        if folder not in seen:
            seen[folder] = _list(target, folder)
        there = seen[folder].get(name)
        if there is None or there.size != have or not same(path, have):
            missing.append((path, have, target.here.path_of(target.source / path)))
    return missing, total


def _size_here(source: Path, path: str, size: int | None) -> int:
    try:
        have = (source / path).stat().st_size
    except FileNotFoundError as error:
        raise IntegrityError(f"`{path}` is missing from your channel `{source}`") from error
    if size is not None and have != size:
        raise IntegrityError(f"`{path}` in your channel `{source}` is {have} bytes, expected {size}")
    return have


def _missing_pointer(target: _Target, state: ChannelState) -> list[File]:
    """Return the timestamp if it is not in place."""
    there = TIMESTAMP_NAME in _list(target, METADATA)
    if there and _read(target.collection.reader(), TIMESTAMP) == state.timestamp:
        return []
    return [(TIMESTAMP, len(state.timestamp), target.here.path_of(target.timestamp))]


def _list(target: _Target, folder: str) -> dict[str, Entry]:
    try:
        return target.service.list(target.place.collection, target.place.below(folder))
    except NotFound:
        return {}


def _finish(target: _Target, job: Job, stop: Stop) -> int:
    """Bring `job` to `installed`; return the bytes it moved."""
    job = run_job(job, target.context, stop)
    if job.state in {"failed", "cancelled"}:
        raise TransportError(
            f"{job.name} {job.state}: {job.reason}",
            hint="nothing was published by it; fix the cause, then run the same command again",
        )
    if job.state == "landed":
        _verify(target, job)
        job = target.context.jobs.save(with_state(job, "verified"))
    if job.state != "verified":
        raise Interrupted(
            f"interrupted; {job.name} goes on" if job.task_id else "interrupted; nothing was submitted yet",
            hint=resume_hint(job.task_id) if job.task_id else "run the same command again",
        )
    _install(target, job)
    target.context.jobs.save(with_state(job, "installed"))
    return job.bytes


def _verify(target: _Target, job: Job) -> None:
    """Compare the sizes of all that landed, and read samples back over HTTPS where the collection has that."""
    sizes = {path: entry.size for path, entry in _landed(target, job.items)}
    for item in job.items:
        if sizes.get(item.landing) != item.size:
            _fail(target, job, f"`{item.landing}` landed with {sizes.get(item.landing)} bytes, not {item.size}")
    try:
        reader = target.collection.reader()
    except NotFound as error:
        target.emit(Note(message=f"nothing was read back over HTTPS: {error.message}", warning=True))
        return
    source = random.Random(job.job)  # noqa: S311  # which bytes to sample, the same for a job each time
    for item in source.sample(job.items, min(SAMPLES, len(job.items))):
        start = source.randrange(max(1, item.size - SAMPLE_BYTES))
        length = min(SAMPLE_BYTES, item.size - start)
        path = item.landing.removeprefix(f"{target.place.path}/")
        with os.fdopen(open_regular(target.local(item.path)), "rb") as file:
            file.seek(start)
            if reader.read_range(path, start, length) != file.read(length):
                _fail(target, job, f"`{item.landing}` landed with other bytes from byte {start} on")


def _fail(target: _Target, job: Job, why: str) -> None:
    target.context.jobs.save(with_state(job, "failed", reason=why))
    raise IntegrityError(why, hint="nothing was published by it; run the same command again")


def _landed(target: _Target, items: Sequence[JobItem]) -> Iterator[tuple[str, Entry]]:
    for folder in dict.fromkeys(str(PurePosixPath(item.landing).parent) for item in items):
        try:
            entries = target.service.list(target.place.collection, folder)
        except NotFound:
            continue
        for name, entry in entries.items():
            yield f"{folder}/{name}", entry


def _install(target: _Target, job: Job) -> None:
    """Rename what landed into place, in the order of the job; what a run before renamed is not there any more."""
    left = {path for path, _ in _landed(target, job.items)}
    made: set[str] = set()
    for item in job.items:
        if item.landing not in left:
            continue
        _make_folders(target, str(PurePosixPath(item.path).parent), made)
        _rename(target, item)


def _make_folders(target: _Target, folder: str, made: set[str]) -> None:
    for parent in [*reversed(PurePosixPath(folder).parents), PurePosixPath(folder)]:
        if str(parent) not in made | {"."}:
            target.service.make_folder(target.place.collection, target.place.below(str(parent)))
            made.add(str(parent))


def _rename(target: _Target, item: JobItem) -> None:
    """Give a file its name. Where a collection does not rename over a file, the old one steps aside first."""
    collection, new = target.place.collection, target.place.below(item.path)
    try:
        target.service.rename(collection, item.landing, new)
    except TransportError as error:
        if "Exists" not in error.message:
            raise
        target.service.rename(collection, new, f"{item.landing}.replaced")
        target.service.rename(collection, item.landing, new)


def _tidy(target: _Target) -> None:
    """Ask for the end of what ended jobs of ours left in the staging folder.

    It is asked for once, and not waited for: what a kill or a refusal leaves goes with the next release. The staging
    folder itself stays, as the service may come to it while the next job lands there.
    """
    try:
        ended = {job.job for job in target.context.jobs.all() if job.state in ENDED}
        if left := sorted(ended & set(_list(target, STAGING))):
            staging = target.place.below(STAGING)
            target.service.delete_folders(target.place.collection, [f"{staging}/{job}" for job in left])
    except (AuthError, NotFound, TransportError) as error:
        target.emit(Note(message=f"`{STAGING}` was not cleaned up: {error.message}", warning=True))


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
