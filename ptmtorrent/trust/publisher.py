"""Signs what a channel folder says, so that a crash leaves the old channel or the new one.

Order of writes: minisign signature, root, `N.targets.json`, `N.snapshot.json`, and `timestamp.json` last, by rename.
Until that rename no reader sees the rest; a run after a crash takes the next free version numbers. The metadata in the
folder is verified before anything is signed: unverified entries are never signed again.

A destination may list fewer releases than the home. Its list is signed with versions of its own (`sign_selection`), and
the home's list is signed again with higher ones: so versions only increase, whichever of the two a reader sees next.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from tuf.api.metadata import TargetFile

from ptmtorrent.channel.paths import (
    FIRST_ROOT,
    METADATA,
    MINISIGN_PUBLIC,
    TIMESTAMP,
    VersionedRole,
    metadata_path,
    metadata_version,
    parse_withdrawn_path,
    release_path,
    signature_path,
    withdrawn_path,
)
from ptmtorrent.disk.durable import disk_errors, read_regular, write_file, write_once
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, TrustError, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ContentRoot, ReleaseName
from ptmtorrent.model.moments import spell
from ptmtorrent.model.release import Release, decode_release
from ptmtorrent.model.text import count
from ptmtorrent.model.withdrawn import Withdrawn
from ptmtorrent.trust import roles
from ptmtorrent.trust.client import listed_releases
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.own import Published, read_published

Accept = Callable[[Mapping[str, bytes]], None]
"""Raises if a reader would refuse the channel with these new files, by path; called before they are written."""

RENEW_BEFORE = timedelta(days=180)
"""Time before the expiry of root, targets and snapshot at which `renew_roles` signs them again."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A signed list of some of the home's releases: the timestamp, and the paths of the documents that it leads to."""

    timestamp: bytes
    version: int
    expires: datetime
    files: tuple[str, ...]


def publish_release_metadata(  # noqa: PLR0913, PLR0917  # all are needed
    channel: Path,
    keys: Keys,
    release_json: Path,
    name: ReleaseName,
    sequence: int,
    now: datetime,
    *,
    accept: Accept | None = None,
) -> None:
    """Sign the finished release whose `release.json` is given, and make it the newest release of the channel.

    Everything the release lists must be durable already. Earlier releases stay listed. Publishing the same bytes
    again changes nothing. The caller makes sure that no other process signs at the same time.

    Raises:
        UsageError: the name is published with other bytes, or the sequence is not above all earlier ones.
        IntegrityError: `release_json` is not the release `name` with this sequence.
        ConfigError: the keys are not those of the channel.
        TrustError: the metadata in the folder was not signed by these keys, or a root that expired cannot be signed.
        StoreError: the folder cannot be written.
    """
    with disk_errors(release_json):
        data = read_regular(release_json)
    release = _check_release(data, name, sequence)
    published = read_published(channel, keys)
    keys, now = published.usable(keys), _sign_at(published, now)
    path = release_path(name)
    custom: dict[str, int | str] = {"content_root": str(release.content_root), "sequence": sequence}
    entry = roles.target(path, data, custom)
    if published.targets.get(path) == entry:
        return
    _check_new(published, path, sequence)
    signature = sign_minisign(keys, data, f"ptmtorrent release {name} sequence {sequence}")
    write_once(channel / signature_path(name), signature)
    write_once(channel / MINISIGN_PUBLIC, keys.minisign_public)
    added = {
        path: entry,
        signature_path(name): roles.target(signature_path(name), signature),
        MINISIGN_PUBLIC: roles.target(MINISIGN_PUBLIC, keys.minisign_public),
    }
    if published.root is None:
        _check_first(keys)
        write_file(channel / FIRST_ROOT, roles.sign_first_root(keys, now))
    else:
        _renew_root(channel, keys, published, now)
    _write_list(channel, keys, published, {**published.targets, **added}, now, accept)


def renew_roles(channel: Path, keys: Keys, now: datetime, *, accept: Accept | None = None) -> dict[str, datetime]:
    """Sign every role again that is due; return the time at which each of the four roles expires.

    The timestamp is always signed: for another 30 days. The others are signed once they expire within 180 days; the
    root only if its key is at hand.

    Raises:
        NotFound: the channel has no release yet.
        ConfigError: the keys are not those of the channel.
        TrustError: the metadata in the folder was not signed by these keys, or the root has expired and its key is
            not at hand.
        StoreError: the folder cannot be written.
    """
    published = read_published(channel, keys)
    keys, now = published.usable(keys), _sign_at(published, now)
    if published.snapshot is None or published.about_targets is None:
        raise NotFound(f"the channel `{channel}` has no release yet", hint="make one: ptmtorrent release NAME")
    _renew_root(channel, keys, published, now)
    if _is_due(published.expires["targets"], now):
        _write_list(channel, keys, published, published.targets, now, accept)
    else:
        snapshot = published.snapshot
        if _is_due(published.expires["snapshot"], now):
            version = _next_version(channel, "snapshot")
            data = roles.sign_snapshot(keys, version, published.about_targets, now)
            write_file(channel / metadata_path("snapshot", version), data)
            snapshot = roles.describe(version, data)
        _point_to(channel, roles.sign_timestamp(keys, published.timestamp_version + 1, snapshot, now), accept)
    return read_published(channel, keys).expires


def sign_selection(channel: Path, keys: Keys, names: Collection[ReleaseName], now: datetime) -> Selection:
    """Sign a list of the releases `names` alone, for a destination; then sign the home's own list again above it.

    The documents are written into `channel`, where only the returned timestamp leads to them.

    Raises:
        UsageError: `names` has a release that the channel does not list.
        ConfigError, TrustError, StoreError: as `renew_roles` says.
    """
    published = read_published(channel, keys)
    keys, now = published.usable(keys), _sign_at(published, now)
    listed = listed_releases(published.targets)
    for name in names:
        if name not in listed:
            raise UsageError(f"the channel `{channel}` does not list a release `{name}`")
    _renew_root(channel, keys, published, now)
    withdrawn = [path for path in published.targets if parse_withdrawn_path(path) is not None]
    chosen = {
        MINISIGN_PUBLIC,
        *withdrawn,
        *(path for name in names for path in (release_path(name), signature_path(name))),
    }
    targets = {path: target for path, target in published.targets.items() if path in chosen}
    version = published.timestamp_version + 1
    timestamp, files = _sign_list(channel, keys, targets, published.retired, _sequence(published), version, now)
    own, _ = _sign_list(channel, keys, published.targets, published.retired, _sequence(published), version + 1, now)
    write_file(channel / TIMESTAMP, own)
    return Selection(
        timestamp=timestamp, version=version, expires=now + roles.TIMESTAMP_LIFE, files=(*withdrawn, *files)
    )


def drop_release(channel: Path, keys: Keys, name: ReleaseName, now: datetime, *, accept: Accept | None = None) -> None:
    """Take the release `name` from the signed list of the channel; its files stay.

    Its sequence is not used again: the list states the highest sequence ever signed.

    Raises:
        NotFound: the channel does not list it.
        ConfigError, TrustError, StoreError: as `renew_roles` says.
    """
    published = read_published(channel, keys)
    keys, now = published.usable(keys), _sign_at(published, now)
    if release_path(name) not in published.targets:
        raise NotFound(f"the channel `{channel}` lists no release `{name}`")
    _renew_root(channel, keys, published, now)
    gone = {release_path(name), signature_path(name)}
    targets = {path: target for path, target in published.targets.items() if path not in gone}
    _write_list(channel, keys, published, targets, now, accept)


def publish_withdrawn(
    channel: Path, keys: Keys, document: Withdrawn, now: datetime, *, accept: Accept | None = None
) -> None:
    """Sign a list of withdrawn packages in place of the one before; releases stay listed.

    Raises:
        NotFound: the channel has no release yet.
        ConfigError, TrustError, StoreError: as `renew_roles` says.
    """
    published = read_published(channel, keys)
    keys, now = published.usable(keys), _sign_at(published, now)
    if published.snapshot is None:
        raise NotFound(f"the channel `{channel}` has no release yet", hint="make one: ptmtorrent release NAME")
    _renew_root(channel, keys, published, now)
    path, data = withdrawn_path(document.number), canonical.encode(document)
    write_file(channel / path, data)
    kept = {name: target for name, target in published.targets.items() if parse_withdrawn_path(name) is None}
    _write_list(channel, keys, published, {**kept, path: roles.target(path, data)}, now, accept)


def retire_releases(
    channel: Path, keys: Keys, names: Collection[ReleaseName], now: datetime, *, accept: Accept | None = None
) -> None:
    """Take releases that have a withdrawn package from the signed list, which names them and their roots as retired.

    Raises:
        ConfigError, TrustError, StoreError: as `renew_roles` says.
    """
    published = read_published(channel, keys)
    keys, now = published.usable(keys), _sign_at(published, now)
    listed = listed_releases(published.targets)
    gone = {path for name in names for path in (release_path(name), signature_path(name))}
    targets = {path: target for path, target in published.targets.items() if path not in gone}
    retired = {**published.retired, **{name: listed[name].content_root for name in names if name in listed}}
    _write_list(channel, keys, published, targets, now, accept, retired)


def sign_anew(channel: Path, keys: Keys, published: Published, now: datetime) -> bytes:
    """Sign what the channel lists with `keys`; return the timestamp, which nothing leads to until it is written.

    Raises:
        NotFound: the channel has no release yet.
        StoreError: the folder cannot be written.
    """
    if published.snapshot is None:
        raise NotFound(f"the channel `{channel}` has no release yet", hint="make one: ptmtorrent release NAME")
    sequence = max(_sequence(published), _highest(published.targets))
    version = published.timestamp_version + 1
    return _sign_list(channel, keys, published.targets, published.retired, sequence, version, _sign_at(published, now))[
        0
    ]


def sign_minisign(keys: Keys, data: bytes, comment: str) -> bytes:
    """Return the `.minisig` file for `data` and the signed `comment`; deterministic."""
    return bytes(keys.minisign.sign(data, trusted_comment=comment)) + b"\n"


def _check_release(data: bytes, name: ReleaseName, sequence: int) -> Release:
    release = decode_release(data)
    if (release.name, release.sequence) != (name, sequence):
        raise IntegrityError(
            f"the release.json to sign is `{release.name}` with sequence {release.sequence}, "
            f"expected `{name}` with sequence {sequence}"
        )
    return release


def _check_first(keys: Keys) -> None:
    at_hand, needed = len(keys.signers.get("root", ())), 1 if keys.first is None else keys.first.threshold
    if at_hand < needed:
        raise ConfigError(
            f"the first release of a channel needs {count(needed, 'root key')}, and {at_hand} are at hand",
            hint="put the root keys into the keys folder",
        )


def _check_new(published: Published, path: str, sequence: int) -> None:
    if path in published.targets:
        raise UsageError(
            f"`{path}` is published already, with other bytes; a release never changes",
            hint="use another name for the new release",
        )
    highest = _sequence(published)
    if sequence <= highest:
        raise UsageError(f"`{path}` has sequence {sequence}, but the channel is at {highest} already")


def _sequence(published: Published) -> int:
    """Return the highest sequence ever signed."""
    return max(published.sequence, _highest(published.targets))


def _highest(targets: dict[str, TargetFile]) -> int:
    return max((listed.sequence for listed in listed_releases(targets).values()), default=0)


def _sign_at(published: Published, now: datetime) -> datetime:
    """Return the time to sign at: `now`, or the latest signing if that is later, because then the clock was set back.

    What is signed never expires before what it replaces.
    """
    return max(now, published.signed_at or now)


def _is_due(expires: datetime, now: datetime) -> bool:
    return now >= expires - RENEW_BEFORE


def _renew_root(channel: Path, keys: Keys, published: Published, now: datetime) -> None:
    root = published.root
    if root is None or not _is_due(root.expires, now):
        return
    current = keys.of(root)
    if len(current.signers.get("root", ())) >= root.roles["root"].threshold:
        write_file(channel / metadata_path("root", root.version + 1), roles.sign_next_root(current, root, now))
    elif now >= root.expires:
        raise TrustError(
            f"the root of the channel `{channel}` expired on {spell(root.expires)}, and its key is not at hand",
            hint="put the root keys back into the keys folder, then run `ptmtorrent renew`; nothing was signed",
        )


def _write_list(  # noqa: PLR0913, PLR0917  # the content of a list, who signs it when, and who accepts it
    channel: Path,
    keys: Keys,
    published: Published,
    targets: dict[str, TargetFile],
    now: datetime,
    accept: Accept | None,
    retired: Mapping[ReleaseName, ContentRoot] | None = None,
) -> None:
    sequence = max(_sequence(published), _highest(targets))
    timestamp, _ = _sign_list(
        channel, keys, targets, retired or published.retired, sequence, published.timestamp_version + 1, now
    )
    _point_to(channel, timestamp, accept)


def _point_to(channel: Path, timestamp: bytes, accept: Accept | None) -> None:
    if accept is not None:
        accept({TIMESTAMP: timestamp})
    write_file(channel / TIMESTAMP, timestamp)


def _sign_list(  # noqa: PLR0913, PLR0917  # the content of three documents
    channel: Path,
    keys: Keys,
    targets: dict[str, TargetFile],
    retired: Mapping[ReleaseName, ContentRoot],
    sequence: int,
    version: int,
    now: datetime,
) -> tuple[bytes, tuple[str, ...]]:
    """Write targets and snapshot under free versions; return the timestamp of `version`, and the paths of the two."""
    number = _next_version(channel, "targets")
    signed = roles.sign_targets(keys, number, targets, sequence, _highest(targets), now, retired=retired)
    targets_path = metadata_path("targets", number)
    write_file(channel / targets_path, signed)
    about_targets = roles.describe(number, signed)
    number = _next_version(channel, "snapshot")
    signed = roles.sign_snapshot(keys, number, about_targets, now)
    snapshot_path = metadata_path("snapshot", number)
    write_file(channel / snapshot_path, signed)
    about_snapshot = roles.describe(number, signed)
    return roles.sign_timestamp(keys, version, about_snapshot, now), (targets_path, snapshot_path)


def _next_version(channel: Path, role: VersionedRole) -> int:
    """Return the version after the highest one in the folder, which may be an unused file of a crashed run."""
    folder = channel / METADATA
    with disk_errors(folder):
        found = [metadata_version(role, file.name) or 0 for file in folder.iterdir()]
    return 1 + max(found, default=0)
