"""Reads the unverified metadata of a channel folder: the files to publish, and the listed releases.

Publishing and maintenance use it on the channel of this home. Clients verify the signatures when they fetch.
"""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
from tuf.api.metadata import Root

from ptmtorrent.channel.folder import OwnReader, read_release
from ptmtorrent.channel.paths import METADATA, RELEASE_FILE, RELEASES, TIMESTAMP, metadata_version, parse_withdrawn_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import disk_errors, read_optional, read_regular
from ptmtorrent.errors import IntegrityError, NotFound, PtmError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import behind_note
from ptmtorrent.model.records import Emit
from ptmtorrent.trust.client import listed_releases
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.metadata import Listing, parse_metadata, read_listing
from ptmtorrent.trust.publisher import sign_selection

_RESTORE = (
    "copy the numbered documents of `metadata/`, which never change, from your own channel or from a place that has it"
)


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes, version and expiry of `timestamp.json`, the files it refers to, and the releases, oldest first.

    `retired` are releases that left the list when a package was withdrawn.
    """

    timestamp: bytes
    version: int
    expires: datetime
    files: tuple[str, ...]
    releases: tuple[ReleaseName, ...]
    retired: tuple[ReleaseName, ...] = ()


def read_channel_state(channel: Path) -> ChannelState | None:
    """Return the current state of the folder `channel`, or None when it has no timestamp yet.

    Raises:
        IntegrityError: a document is missing or is not TUF metadata.
        StoreError: the folder cannot be read.
    """
    if read_optional(channel / TIMESTAMP) is None:
        return None
    try:
        listing = read_listing(OwnReader(channel))
    except (IntegrityError, NotFound) as error:
        raise IntegrityError(
            f"the metadata of the channel `{channel}` is damaged: {error.message}", hint=_RESTORE
        ) from error
    return ChannelState(
        timestamp=listing.timestamp,
        version=listing.version,
        expires=listing.expires,
        files=(*_root_files(channel), *_withdrawn(listing), *listing.files),
        releases=_releases(channel, listing),
        retired=tuple(listing.retired),
    )


def warn_of_clock(channel: Path, state: ChannelState, now: datetime, emit: Emit) -> None:
    """Warn if the clock is behind the newest release of `state`; a release that cannot be read warns of nothing."""
    with suppress(PtmError):
        _, newest = read_release(channel, state.releases[-1])
        if note := behind_note(now, newest.created, f"release `{newest.name}`"):
            emit(note)


def read_state(reader: ChannelReader) -> ChannelState:
    """Return the state of a channel elsewhere, unverified; its `files` lack the roots, which cannot be listed.

    Raises:
        NotFound, IntegrityError: a document is missing or is not TUF metadata.
        TransportError: the reader's own error.
    """
    listing = read_listing(reader)
    return ChannelState(
        timestamp=listing.timestamp,
        version=listing.version,
        expires=listing.expires,
        files=(*_withdrawn(listing), *listing.files),
        releases=tuple(listed_releases(listing.targets)),
        retired=tuple(listing.retired),
    )


def read_expiries(channel: Path) -> dict[str, datetime]:
    """Return when each role of the channel in the folder expires, unverified; empty for a folder without a root.

    Raises:
        IntegrityError: a document is missing or is not TUF metadata.
        StoreError: the folder cannot be read.
    """
    root = _newest_root(channel)
    if root is None:
        return {}
    if read_optional(channel / TIMESTAMP) is None:
        return {"root": root.expires}
    listing = read_listing(OwnReader(channel))
    return {"root": root.expires, **listing.expiries}


def read_role_keys(channel: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Return the number of signatures that each role of the channel needs, and the ids of its keys; unverified.

    Raises:
        IntegrityError: the newest root is not TUF metadata.
        StoreError: the folder cannot be read.
    """
    root = _newest_root(channel)
    return {} if root is None else {role: (about.threshold, tuple(about.keyids)) for role, about in root.roles.items()}


def select_state(channel: Path, keys: Keys, names: tuple[ReleaseName, ...], now: datetime) -> ChannelState:
    """Sign a list of `names` alone (`sign_selection`); return the state of a destination that gets it.

    Raises:
        ConfigError, TrustError, StoreError: as `sign_selection` says.
    """
    selection = sign_selection(channel, keys, names, now)
    return ChannelState(
        timestamp=selection.timestamp,
        version=selection.version,
        expires=selection.expires,
        files=(*_root_files(channel), *selection.files),
        releases=names,
    )


def retired_in(channel: Path) -> tuple[ReleaseName, ...]:
    """Return the releases of a folder whose packs are not there because a package was withdrawn; unverified.

    Of a folder whose metadata cannot be read, none.
    """
    with suppress(PtmError):
        state = read_channel_state(channel)
        return state.retired if state else ()
    return ()


def with_roots(channel: Path, state: ChannelState) -> ChannelState:
    """Return `state`, of another place, with the roots of the folder `channel`: those of the place may be fewer.

    Raises:
        StoreError: the folder cannot be read.
    """
    files = dict.fromkeys((*_root_files(channel), *state.files))
    return msgspec.structs.replace(state, files=tuple(files))


def _newest_root(channel: Path) -> Root | None:
    roots = _root_files(channel)
    if not roots:
        return None
    newest = max(roots, key=lambda path: metadata_version("root", path.rpartition("/")[2]) or 0)
    return parse_metadata(read_regular(channel / newest), Root).signed


def _root_files(channel: Path) -> list[str]:
    if not (channel / METADATA).is_dir():
        return []
    with disk_errors(channel / METADATA):
        names = sorted(path.name for path in (channel / METADATA).iterdir())
    return [f"{METADATA}/{name}" for name in names if metadata_version("root", name) is not None]


def _withdrawn(listing: Listing) -> tuple[str, ...]:
    return tuple(path for path in listing.targets if parse_withdrawn_path(path) is not None)


def _releases(channel: Path, listing: Listing) -> tuple[ReleaseName, ...]:
    """Return the listed releases. A malformed entry is an error, or its packs would count as unreferenced."""
    listed = listed_releases(listing.targets)
    for path in listing.targets:
        folder, _, name = path.partition("/")
        name, _, file = name.partition("/")
        if (folder, file) == (RELEASES, RELEASE_FILE) and name not in listed:
            raise IntegrityError(f"the metadata of the channel `{channel}` is damaged: its entry `{path}` is malformed")
    return tuple(listed)
