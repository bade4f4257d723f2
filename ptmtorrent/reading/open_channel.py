"""Open a channel: find it, decide what makes it trusted, and verify its release.

Four ways in, from a location and a `--release`: no location at all is the sample channel that ships with the program,
pinned in code; `b3:<content root>` pins the release itself; our own channel is trusted by its own root; any other by
the root that was pinned for it with `trust add`.
"""

import difflib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ptmtorrent.channel.paths import FIRST_ROOT, METADATA, RELEASES
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import CountingReader, LocalReader, RetryingReader
from ptmtorrent.disk.durable import PRIVATE_DIR, disk_errors, is_unwritable, read_regular
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, PtmError, StoreError, TrustError, UsageError
from ptmtorrent.model.ids import ContentRoot, PackageName, is_hex64
from ptmtorrent.model.locations import FolderLocation, GlobusLocation, Location, WebLocation, as_location
from ptmtorrent.model.moments import Clock, behind_note, spell
from ptmtorrent.model.records import Emit, Note, Opened, ignore
from ptmtorrent.model.release import Release
from ptmtorrent.model.withdrawn import Withdrawal
from ptmtorrent.paths import Home, sample_channel
from ptmtorrent.scrub import Login
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.locations import GlobusAccess
from ptmtorrent.trust.client import ListedRelease, VerifiedRelease, open_archived, open_fresh
from ptmtorrent.trust.fingerprints import fingerprint, folder_of
from ptmtorrent.trust.memory import LOCK
from ptmtorrent.trust.pins import Pins
from ptmtorrent.trust.withdrawals import seen_withdrawn, withdrawn_unverified

if TYPE_CHECKING:
    from ptmtorrent.reading.collection import Collection

PIN_PREFIX = "b3:"


class OpenChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel with one verified release. `folder` is set when it lies here; `how` is as in `VerifiedRelease`.

    `reader` counts what was read of it, metadata and `release.json` included. `listed` are all releases that its
    verified metadata lists, oldest first; none for a release that was opened by its content root.

    `collection` is set when it lies in a Globus collection, `login` when its server is read with one. `withdrawn` are
    packages of any release that are not to be had any more.
    """

    location: str
    reader: CountingReader
    release: Release
    how: str
    folder: Path | None
    collection: "Collection | None" = None
    login: Login | None = None
    listed: tuple[ListedRelease, ...] = ()
    withdrawn: dict[PackageName, Withdrawal] = {}

    @property
    def proven(self) -> bool:
        """Whether rows must be those that the content root covers: no signature covers the list of tables."""
        return self.how == "archived"

    def cite(self) -> Opened:
        """Return what one cites the opened release by, and where it was read."""
        release = self.release
        return Opened(
            release=release.name,
            created=release.created,
            content_root=f"{PIN_PREFIX}{release.content_root}",
            channel=self.location,
            how=self.how,
        )


def open_channel(  # noqa: PLR0913  # which channel, and what it is opened with
    location: Location | Path | str | None,
    release: str | None,
    home: Home,
    *,
    clock: Clock,
    emit: Emit,
    globus: Callable[[], GlobusAccess] | None = None,
    stop: Stop | None = None,
    accept_expired: bool = False,
) -> OpenChannel:
    """Return the channel at `location` (None: the sample channel) with its newest release, or the one `release` names.

    `release` is a name, or `b3:` and a content root: then neither keys nor time are asked. `globus` returns how
    Globus collections are reached. A read that waits ends once `stop` is set. With `accept_expired`, signatures that
    have expired are a warning.

    Raises:
        NotFound: there is no channel, or it has no such release; names near matches.
        TrustError: a signature, expiry or hash does not hold, or the channel's root is not pinned.
        UsageError: the location or the release is malformed.
        AuthError: a Globus collection wants a login.
        TransportError, IntegrityError, UnsupportedFormat: it could not be read.
    """
    if location is None:
        return _open_sample(release, emit)
    place = as_location(location)
    collection = None
    if isinstance(place, GlobusLocation):
        from ptmtorrent.reading.collection import Collection, no_access

        collection = Collection(place, globus() if globus else no_access(home), stop)
    folder = _find_folder(place, home) if isinstance(place, FolderLocation) else None
    found = RetryingReader(collection.reader(), emit) if collection else find_reader(place, stop=stop, emit=emit)
    reader = CountingReader(found)
    if release is not None and release.startswith(PIN_PREFIX):
        verified = open_archived(reader, _content_root(release))
        verified = msgspec.structs.replace(verified, withdrawn=_withdrawn(reader, place, folder, home))
    else:
        root = _root(place, folder, home)
        now = clock()
        with _writable(home.trust, root) as state:
            refresh = partial(
                open_fresh, reader, root=root, state=state, now=now, release=release, accept_expired=accept_expired
            )
            verified = refresh() if folder is not None else _once_again(refresh)
        if note := behind_note(now, verified.refreshed, f"the latest refresh of channel `{place}`"):
            emit(note)
        if verified.expired is not None:
            message = (
                f"the signatures of channel `{place}` expired on {spell(verified.expired)}: it may have a newer state"
            )
            emit(Note(message=message, warning=True))
    return _opened(place, reader, verified, collection)


def _withdrawn(
    reader: ChannelReader, place: Location, folder: Path | None, home: Home
) -> dict[PackageName, Withdrawal]:
    """Return what was withdrawn, as was seen of a channel that is trusted, and as it says itself, unverified."""
    found = withdrawn_unverified(reader)
    with suppress(PtmError):
        state = home.trust / folder_of(fingerprint(_root(place, folder, home)))
        return {**found, **seen_withdrawn(state).packages}
    return found


def _once_again(refresh: Callable[[], VerifiedRelease]) -> VerifiedRelease:
    """Return what `refresh` returns, calling it twice if a server sent something else than signed metadata."""
    try:
        return refresh()
    except (IntegrityError, TrustError):
        return refresh()


@contextmanager
def _writable(state: Path, root: bytes) -> Iterator[Path]:
    """Yield the folder of what was seen of channels.

    If nothing can be written there for the channel of `root`, it is another one with a copy for this channel alone,
    which is removed.
    """
    seen = state / folder_of(fingerprint(root))
    if not is_unwritable(seen):
        yield state
        return
    with tempfile.TemporaryDirectory(prefix="ptmtorrent-") as folder:
        copy = Path(folder) / seen.name
        if seen.is_dir():
            with disk_errors(seen):
                shutil.copytree(seen, copy, symlinks=True, ignore=shutil.ignore_patterns(LOCK))
                for parent, _, _ in os.walk(copy):
                    Path(parent).chmod(PRIVATE_DIR)  # it has the mode of what it is copied from
        yield Path(folder)


def find_reader(
    location: Location | str, globus: GlobusAccess | None = None, *, stop: Stop | None = None, emit: Emit = ignore
) -> ChannelReader:
    """Return a reader of the files at `location`; nothing is read yet.

    Raises:
        UsageError: the location is malformed.
        ConfigError: it is in a Globus collection, and `globus` is None.
    """
    place = as_location(location)
    if isinstance(place, FolderLocation):
        return LocalReader(place.path)
    if isinstance(place, WebLocation):
        return _server_reader(place, stop, emit)
    if globus is None:
        raise ConfigError(f"`{place}` cannot be read here", hint="name a folder or a web server")
    from ptmtorrent.reading.collection import Collection

    return RetryingReader(Collection(place, globus, stop).reader(), emit)


def _open_sample(release: str | None, emit: Emit) -> OpenChannel:
    try:
        from ptmtorrent.trust.sample import SAMPLE_CONTENT_ROOT, SAMPLE_RELEASE
    except ModuleNotFoundError as error:
        raise NotFound("this installation has no sample channel", hint="name a channel with --channel") from error
    folder = sample_channel()
    if not folder.is_dir():
        raise NotFound(f"the sample channel is missing from `{folder}`", hint="name a channel with --channel")
    emit(Note(message="no channel was named: this is the sample channel that ships with ptmtorrent (--channel LOC)"))
    reader = CountingReader(LocalReader(folder))
    verified = open_archived(reader, SAMPLE_CONTENT_ROOT, name=SAMPLE_RELEASE)
    names = {verified.release.name, f"{PIN_PREFIX}{verified.release.content_root}"}
    if release is not None and release not in names:
        raise NotFound(f"the sample channel has no release `{release}`", hint=f"it has `{verified.release.name}` only")
    return _opened(FolderLocation(path=folder), reader, verified)


def _find_folder(place: FolderLocation, home: Home) -> Path:
    folder = place.path
    if not (folder / METADATA).is_dir() and not (folder / RELEASES).is_dir():
        raise NotFound(f"there is no channel at `{place}`", hint=_near(place.location, home))
    return folder


def _server_reader(place: WebLocation, stop: Stop | None, emit: Emit) -> ChannelReader:
    from ptmtorrent.channel.web_reader import HttpReader
    from ptmtorrent.http import new_client

    client = new_client(login=place.login, stop=stop)
    reader = RetryingReader(HttpReader(place.url, client), emit)
    weakref.finalize(reader, client.close)
    return reader


def _root(place: Location, folder: Path | None, home: Home) -> bytes:
    """Return the root that the channel is trusted by."""
    if folder is not None and folder.resolve() == home.channel.resolve():
        try:
            return read_regular(folder / FIRST_ROOT)
        except FileNotFoundError as error:
            raise NotFound("your own channel has no release yet", hint="make one: ptmtorrent release NAME") from error
        except OSError as error:
            raise StoreError(f"`{folder / FIRST_ROOT}` could not be read: {error.strerror}") from error
    root = Pins(home.trust).find(place)
    if root is None:
        raise TrustError(
            f"the channel `{place}` is not trusted yet",
            hint=f"ask its maintainer for the fingerprint, then: ptmtorrent trust add {place} --fingerprint b3:...",
        )
    return root


def _content_root(release: str) -> ContentRoot:
    text = release.removeprefix(PIN_PREFIX)
    if not is_hex64(text):
        raise UsageError(f"`{release}` is not a content root", hint="write `b3:` and 64 lowercase hex digits")
    return ContentRoot(text)


def _near(place: str, home: Home) -> str | None:
    pinned = [pin.location for pin in Pins(home.trust).list()]
    parent = Path(place).parent
    beside = [str(path) for path in parent.iterdir() if (path / METADATA).is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(place, {*pinned, *beside}, n=3, cutoff=0.6)
    return f"did you mean {', '.join(f'`{match}`' for match in near)}?" if near else None


def _opened(
    place: Location, reader: CountingReader, verified: VerifiedRelease, collection: "Collection | None" = None
) -> OpenChannel:
    return OpenChannel(
        location=place.location,
        reader=reader,
        release=verified.release,
        how=verified.how,
        folder=place.path if isinstance(place, FolderLocation) else None,
        collection=collection,
        login=place.login if isinstance(place, WebLocation) else None,
        listed=verified.listed,
        withdrawn=verified.withdrawn,
    )
