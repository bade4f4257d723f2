"""A channel in a Globus collection as the destination of a publication: what is there, and what would be missing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from ptmtorrent.channel.paths import FIRST_ROOT, METADATA, RELEASE_FILE, TIMESTAMP, TIMESTAMP_NAME, release_folder
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import read_regular, write_file
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.locations import GlobusLocation
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.reading.collection import JOBS, Collection, here_of
from ptmtorrent.state.verified_files import VerifiedFiles
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.jobs import Jobs
from ptmtorrent.transports.globus.locations import GlobusAccess, LocalCollection
from ptmtorrent.transports.globus.login import open_service
from ptmtorrent.transports.globus.run_job import JobContext
from ptmtorrent.transports.globus.service import Entry, TransferService
from ptmtorrent.transports.globus.wait import WaitPolicy
from ptmtorrent.trust.channel_state import ChannelState, read_state
from ptmtorrent.trust.metadata import timestamp_version
from ptmtorrent.workflows.publish.compare import Comparison
from ptmtorrent.workflows.publish.files import list_files, prove_here, size_here
from ptmtorrent.workflows.publish.publish import publishing

SMALL_BYTES = 4 << 20

File = tuple[str, int, str]
"""A file to move: its path in the channel, its size, and where our own collection shows it."""


class GlobusDestination(msgspec.Struct, frozen=True, kw_only=True):
    """The channel at `place`, reached with `access`; with `anyone`, everybody may read it without a login.

    `stop` ends the run, which the same command goes on with.
    """

    place: GlobusLocation
    access: GlobusAccess
    stop: Stop
    anyone: bool = False


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a release goes, and what it is put there with."""

    home: Home
    here: LocalCollection
    collection: Collection
    service: TransferService
    context: JobContext
    emit: Emit
    stop: Stop
    verified: VerifiedFiles
    timestamp: Path
    """The file with the signed timestamp to put there."""

    @property
    def source(self) -> Path:
        """Our own channel."""
        return self.home.channel

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

    def list(self, folder: str) -> dict[str, Entry]:
        """Return the entries of a folder of the channel by name; none if there is no such folder."""
        try:
            return self.service.list(self.place.collection, self.place.below(folder))
        except NotFound:
            return {}


@contextmanager
def open_target(home: Home, to: GlobusDestination, emit: Emit, *, dry_run: bool) -> Iterator[Target]:
    """Yield the target of a publication of `home`, which no other one changes meanwhile.

    Raises:
        ConfigError: no collection shows this machine's files.
        StoreLocked: another publication of this home is running.
    """
    here = here_of(to.access)
    with publishing(home, dry_run=dry_run) as verified, open_service(to.access, to.stop, emit) as service:
        context = JobContext(
            jobs=Jobs(to.access.folder / JOBS),
            service=service,
            wait_policy=WaitPolicy(stall_seconds=to.access.patience),
            on_message=lambda message: emit(Note(message=message)),
            on_bytes=lambda _: None,
        )
        yield Target(
            home=home,
            here=here,
            collection=Collection(to.place, to.access, to.stop),
            service=service,
            context=context,
            emit=emit,
            stop=to.stop,
            verified=verified,
            timestamp=home.channel / TIMESTAMP,
        )


def held_at(target: Target, there: ChannelState | None) -> tuple[ReleaseName, ...]:
    """Return the releases that the place lists and has."""
    before = () if there is None else there.releases
    return tuple(each for each in before if RELEASE_FILE in target.list(release_folder(each)))


def with_timestamp(target: Target, state: ChannelState, own: ChannelState) -> Target:
    """Return the target with the file of the timestamp of `state`.

    One that is not the home's `own` is kept beside that, so that a transfer can read it.
    """
    if state is own:
        return target
    path = target.source / METADATA / f"{state.version}.{TIMESTAMP_NAME}"
    write_file(path, state.timestamp)
    return msgspec.structs.replace(target, timestamp=path)


def read_there(target: Target, state: ChannelState) -> ChannelState | None:
    """Return the state of the place, unverified; None for one without a timestamp.

    Raises:
        ConfigError: it is another channel, or a newer state of this one.
    """
    entries = target.list(METADATA)
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


def missing_files(
    target: Target, releases: Sequence[Release], state: ChannelState, there: ChannelState | None
) -> tuple[list[File], int]:
    """Return the files that are not in place, but for the timestamp, and the bytes of all.

    Raises:
        IntegrityError: one of them is missing here, or has not the bytes that a release lists.
    """
    seen: dict[str, dict[str, Entry]] = {}
    missing: list[File] = []
    total = 0
    seed = f"{releases[0].name} {state.version}"
    same = Comparison(target.source, target.collection, target.emit, seed=seed).same
    for file in list_files(target.source, releases, state, there):
        have = size_here(target.source, file)
        total += have
        folder, name = str(PurePosixPath(file.path).parent), PurePosixPath(file.path).name
        if folder not in seen:
            seen[folder] = target.list(folder)
        entry = seen[folder].get(name)
        if entry is None or entry.size != have or not same(file.path, have):
            prove_here(target.source, file, target.verified)
            missing.append((file.path, have, target.here.path_of(target.source / file.path)))
    return missing, total


def missing_pointer(target: Target, state: ChannelState) -> list[File]:
    """Return the timestamp if it is not in place."""
    there = TIMESTAMP_NAME in target.list(METADATA)
    if there and _read(target.collection.reader(), TIMESTAMP) == state.timestamp:
        return []
    return [(TIMESTAMP, len(state.timestamp), target.here.path_of(target.timestamp))]


def _read(reader: ChannelReader, path: str) -> bytes:
    return reader.read(path, limit=SMALL_BYTES)
