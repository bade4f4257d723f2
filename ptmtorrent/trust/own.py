"""What a maintainer's own channel folder says now, verified with the maintainer's own keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from ptmtorrent.disk.durable import disk_errors_but_missing
from ptmtorrent.errors import ConfigError, TrustError
from ptmtorrent.trust.fingerprints import FIRST_ROOT
from ptmtorrent.trust.keys import ROLES, Keys

Signed = TypeVar("Signed", Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class Published:
    """What the channel points to. A folder without a timestamp points to nothing yet."""

    has_root: bool
    timestamp_version: int
    targets: dict[str, TargetFile]
    snapshot: MetaFile | None = None


def read_published(channel: Path, keys: Keys) -> Published:
    """Read and verify root, timestamp, snapshot and targets. Expiry is not asked: publishing is what renews them.

    Raises:
        ConfigError: the root names other keys than `keys`.
        TrustError: a document is damaged, missing or not signed by these keys.
        StoreError: the folder cannot be read.
    """
    root_data = _read(channel / FIRST_ROOT)
    if root_data is None:
        return Published(has_root=False, timestamp_version=0, targets={})
    try:
        return _verify(channel, _check_root(channel, root_data, keys))
    except (RepositoryError, ValueError) as error:
        raise TrustError(
            f"the metadata of your channel `{channel}` does not hold: {error}",
            hint="restore `metadata/` from a mirror; nothing was signed",
        ) from error


def _check_root(channel: Path, data: bytes, keys: Keys) -> Root:
    root = Metadata[Root].from_bytes(data)
    for role in ROLES:
        if keys.signers[role].public_key.keyid not in root.signed.roles[role].keyids:
            raise ConfigError(
                f"the {role} key is not one that the channel `{channel}` was made with",
                hint="name the home that holds its keys with `--home`",
            )
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    return root.signed


def _verify(channel: Path, root: Root) -> Published:
    folder = channel / "metadata"
    timestamp_data = _read(folder / "timestamp.json")
    if timestamp_data is None:
        return Published(has_root=True, timestamp_version=0, targets={})
    timestamp = _open(root, Timestamp, timestamp_data)
    about = timestamp.snapshot_meta
    snapshot_data = _read_listed(folder / f"{about.version}.snapshot.json")
    about.verify_length_and_hashes(snapshot_data)
    about = _open(root, Snapshot, snapshot_data).meta["targets.json"]
    targets_data = _read_listed(folder / f"{about.version}.targets.json")
    about.verify_length_and_hashes(targets_data)
    targets = _open(root, Targets, targets_data)
    return Published(
        has_root=True,
        timestamp_version=timestamp.version,
        targets=targets.targets,
        snapshot=timestamp.snapshot_meta,
    )


def _open(root: Root, kind: type[Signed], data: bytes) -> Signed:
    metadata = Metadata[Signed].from_bytes(data)
    if not isinstance(metadata.signed, kind):
        raise RepositoryError(f"a document is {metadata.signed.type}, not {kind.type}")
    root.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def _read(path: Path) -> bytes | None:
    try:
        with disk_errors_but_missing(path):
            return path.read_bytes()
    except FileNotFoundError:
        return None


def _read_listed(path: Path) -> bytes:
    data = _read(path)
    if data is None:
        raise RepositoryError(f"`{path.name}` is missing")
    return data
