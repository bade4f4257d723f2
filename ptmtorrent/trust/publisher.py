"""Signs a release in a channel folder; a crash leaves either the old channel or the new one.

Order of writes: minisign signature, root (the first time), `N.targets.json`, `N.snapshot.json`, and `timestamp.json`
last, by rename. Before that rename, readers do not see the other files. A run after a crash uses the next free version
numbers. Existing metadata is verified before it is signed again, so entries of others are never signed.
"""

from datetime import datetime
from pathlib import Path

from tuf.api.metadata import TargetFile

from ptmtorrent.channel.paths import (
    FIRST_ROOT,
    METADATA,
    MINISIGN_PUBLIC,
    TIMESTAMP,
    VersionedRole,
    metadata_path,
    metadata_version,
    release_path,
    signature_path,
)
from ptmtorrent.disk.durable import disk_errors, write_file, write_once
from ptmtorrent.errors import IntegrityError, NotFound, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.release import Release, decode_release
from ptmtorrent.trust import roles
from ptmtorrent.trust.client import listed_releases
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.own import Published, read_published


def publish_release_metadata(  # noqa: PLR0913, PLR0917  # all are needed
    channel: Path, keys: Keys, release_json: Path, name: ReleaseName, sequence: int, now: datetime
) -> None:
    """Sign the finished release with this `release.json` and add it to the metadata of the channel.

    All files of the release must be durable already. Earlier releases stay listed. Publishing the same bytes again
    changes nothing. The caller must hold a lock.

    Raises:
        UsageError: the name is published with other bytes, or the sequence is not above all earlier ones.
        IntegrityError: `release_json` is not the release `name` with this sequence.
        ConfigError: the keys are not those of the channel.
        TrustError: the metadata in the folder was not signed by these keys.
        StoreError: the folder cannot be written.
    """
    with disk_errors(release_json):
        data = release_json.read_bytes()
    release = _check_release(data, name, sequence)
    published = read_published(channel, keys)
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
    _write_metadata(channel, keys, published, {**published.targets, **added}, now)


def renew_timestamp(channel: Path, keys: Keys, now: datetime) -> datetime:
    """Sign the timestamp of the channel again, unchanged, for another 30 days; return its expiry.

    Raises:
        NotFound: the channel has no timestamp yet.
        ConfigError: the keys are not those of the channel.
        TrustError: the metadata in the folder was not signed by these keys.
        StoreError: the folder cannot be written.
    """
    published = read_published(channel, keys)
    if published.snapshot is None:
        raise NotFound(f"the channel `{channel}` has no release yet", hint="create one: ptmtorrent release NAME")
    timestamp = roles.sign_timestamp(keys, published.timestamp_version + 1, published.snapshot, now)
    write_file(channel / TIMESTAMP, timestamp)
    return now + roles.TIMESTAMP_LIFE


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


def _check_new(published: Published, path: str, sequence: int) -> None:
    if path in published.targets:
        raise UsageError(
            f"`{path}` is published already, with other bytes; a release never changes",
            hint="use another name for the new release",
        )
    highest = max((listed.sequence for listed in listed_releases(published.targets).values()), default=0)
    if sequence <= highest:
        raise UsageError(f"`{path}` has sequence {sequence}, but the channel is at {highest} already")


def _write_metadata(
    channel: Path, keys: Keys, published: Published, targets: dict[str, TargetFile], now: datetime
) -> None:
    if not published.has_root:
        write_file(channel / FIRST_ROOT, roles.sign_first_root(keys, now))
    version = _next_version(channel, "targets")
    signed = roles.sign_targets(keys, version, targets, now)
    write_file(channel / metadata_path("targets", version), signed)
    about_targets = roles.describe(version, signed)
    version = _next_version(channel, "snapshot")
    signed = roles.sign_snapshot(keys, version, about_targets, now)
    write_file(channel / metadata_path("snapshot", version), signed)
    about_snapshot = roles.describe(version, signed)
    timestamp = roles.sign_timestamp(keys, published.timestamp_version + 1, about_snapshot, now)
    write_file(channel / TIMESTAMP, timestamp)


def _next_version(channel: Path, role: VersionedRole) -> int:
    """Return the version after the highest one in the folder, which may be an unused file of a crashed run."""
    folder = channel / METADATA
    with disk_errors(folder):
        found = [metadata_version(role, file.name) or 0 for file in folder.iterdir()]
    return 1 + max(found, default=0)
