"""Reads the current metadata of the maintainer's channel folder, verified with the maintainer's keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from ptmtorrent.channel.folder import read_optional
from ptmtorrent.channel.paths import FIRST_ROOT, TIMESTAMP, metadata_path
from ptmtorrent.errors import ConfigError, IntegrityError, TrustError
from ptmtorrent.trust.keys import ROLES, Keys
from ptmtorrent.trust.metadata import parse_metadata

Signed = TypeVar("Signed", Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class Published:
    """The current metadata of the channel; empty while the folder has no timestamp."""

    has_root: bool
    timestamp_version: int
    targets: dict[str, TargetFile]
    snapshot: MetaFile | None = None


def read_published(channel: Path, keys: Keys) -> Published:
    """Read and verify root, timestamp, snapshot and targets. Expiry is ignored, because publishing renews them.

    Raises:
        ConfigError: the root lists other keys than `keys`.
        TrustError: a document is damaged, missing or not signed with these keys.
        StoreError: the folder cannot be read.
    """
    root_data = read_optional(channel / FIRST_ROOT)
    if root_data is None:
        return Published(has_root=False, timestamp_version=0, targets={})
    try:
        return _verify(channel, _check_root(channel, root_data, keys))
    except (RepositoryError, IntegrityError, ValueError) as error:
        raise TrustError(
            f"the metadata of your channel `{channel}` is invalid: {error}",
            hint="restore `metadata/` from a mirror; nothing was signed",
        ) from error


def _check_root(channel: Path, data: bytes, keys: Keys) -> Root:
    root = parse_metadata(data, Root)
    for role in ROLES:
        if keys.signers[role].public_key.keyid not in root.signed.roles[role].keyids:
            raise ConfigError(
                f"the {role} key is not a key of the channel `{channel}`",
                hint="give the home with its keys as `--home`",
            )
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    return root.signed


def _verify(channel: Path, root: Root) -> Published:
    timestamp_data = read_optional(channel / TIMESTAMP)
    if timestamp_data is None:
        return Published(has_root=True, timestamp_version=0, targets={})
    timestamp = _open(root, Timestamp, timestamp_data)
    about = timestamp.snapshot_meta
    snapshot_data = _read_listed(channel / metadata_path("snapshot", about.version))
    about.verify_length_and_hashes(snapshot_data)
    about = _open(root, Snapshot, snapshot_data).meta["targets.json"]
    targets_data = _read_listed(channel / metadata_path("targets", about.version))
    about.verify_length_and_hashes(targets_data)
    targets = _open(root, Targets, targets_data)
    return Published(
        has_root=True,
        timestamp_version=timestamp.version,
        targets=targets.targets,
        snapshot=timestamp.snapshot_meta,
    )


def _open(root: Root, kind: type[Signed], data: bytes) -> Signed:
    metadata = parse_metadata(data, kind)
    root.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def _read_listed(path: Path) -> bytes:
    data = read_optional(path)
    if data is None:
        raise IntegrityError(f"`{path.name}` is missing")
    return data
