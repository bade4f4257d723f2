"""Reads the current metadata of the maintainer's channel folder, verified with the maintainer's keys."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from ptmtorrent.channel.paths import FIRST_ROOT, TIMESTAMP, metadata_path
from ptmtorrent.disk.durable import read_optional
from ptmtorrent.errors import ConfigError, IntegrityError, TrustError
from ptmtorrent.model.ids import ContentRoot, ReleaseName
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.metadata import parse_metadata, retired_releases, stated_sequence
from ptmtorrent.trust.roles import TIMESTAMP_LIFE

Signed = TypeVar("Signed", Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class Published:
    """What the channel points to. A folder without a timestamp points to nothing yet.

    `sequence` is that of the newest release ever signed, listed or not. `expires` has a time for each role in use.
    """

    roots: tuple[Root, ...] = ()
    timestamp_version: int = 0
    targets: dict[str, TargetFile] = field(default_factory=dict)
    retired: dict[ReleaseName, ContentRoot] = field(default_factory=dict)
    sequence: int = 0
    snapshot: MetaFile | None = None
    about_targets: MetaFile | None = None
    expires: dict[str, datetime] = field(default_factory=dict)

    @property
    def root(self) -> Root | None:
        """The newest root."""
        return self.roots[-1] if self.roots else None

    @property
    def signed_at(self) -> datetime | None:
        """The time of the latest signing by the maintainer's clock; None for a folder without a timestamp."""
        expires = self.expires.get("timestamp")
        return None if expires is None else expires - TIMESTAMP_LIFE

    def usable(self, keys: Keys) -> Keys:
        """Return those of `keys` that a root of the chain lists; all of them before there is a root.

        A directory that has not got the newest root yet accepts what a key of its root signed too.
        """
        return keys.of(*self.roots) if self.roots else keys


def read_published(channel: Path, keys: Keys | None) -> Published:
    """Read and verify root, timestamp, snapshot and targets. Expiry is not checked: publishing is what renews them.

    The root has to list `keys`, but where None are given, as for a change of keys.

    Raises:
        ConfigError: the root lists other keys than `keys`.
        TrustError: a document is damaged, missing or not signed with these keys.
        StoreError: the folder cannot be read.
    """
    try:
        roots = read_roots(channel)
        if roots and keys is not None:
            _check_keys(channel, roots[-1], keys)
        return _verify(channel, roots) if roots else Published()
    except (RepositoryError, IntegrityError, ValueError) as error:
        raise TrustError(
            f"the metadata of your channel `{channel}` is invalid: {error}",
            hint="restore `metadata/` from a mirror; nothing was signed",
        ) from error


def read_roots(channel: Path) -> tuple[Root, ...]:
    """Return the chain of roots, each signed by the one before it; none for a folder without one.

    Raises:
        RepositoryError, IntegrityError, ValueError: the chain does not hold.
        StoreError: the folder cannot be read.
    """
    data = read_optional(channel / FIRST_ROOT)
    if data is None:
        return ()
    first = parse_metadata(data, Root)
    first.signed.verify_delegate("root", first.signed_bytes, first.signatures)
    found = [first.signed]
    while (data := read_optional(channel / metadata_path("root", found[-1].version + 1))) is not None:
        following = parse_metadata(data, Root)
        for root in (found[-1], following.signed):
            root.verify_delegate("root", following.signed_bytes, following.signatures)
        if following.signed.version != found[-1].version + 1:
            raise IntegrityError(f"root {found[-1].version + 1} has the version {following.signed.version}")
        found.append(following.signed)
    return tuple(found)


def _check_keys(channel: Path, root: Root, keys: Keys) -> None:
    """Refuse keys of another channel, and too few of a role; root keys may be elsewhere."""
    for role, usable in keys.of(root).signers.items():
        needed = 1 if role == "root" else root.roles[role].threshold
        if keys.signers[role] and not usable:
            raise ConfigError(
                f"the {role} key is not a key of the channel `{channel}`",
                hint="give the home with its keys as `--home`",
            )
        if keys.signers[role] and len(usable) < needed:
            raise ConfigError(
                f"the {role} role of the channel `{channel}` needs {needed} keys, and {len(usable)} are at hand",
                hint=f"put the other keys into the keys folder, or: ptmtorrent keys rotate {role} --threshold 1",
            )


def _verify(channel: Path, roots: tuple[Root, ...]) -> Published:
    root = roots[-1]
    timestamp_data = read_optional(channel / TIMESTAMP)
    if timestamp_data is None:
        return Published(roots=roots, expires={"root": root.expires})
    timestamp = _open(root, Timestamp, timestamp_data)
    about = timestamp.snapshot_meta
    snapshot_data = _read_listed(channel / metadata_path("snapshot", about.version))
    about.verify_length_and_hashes(snapshot_data)
    snapshot = _open(root, Snapshot, snapshot_data)
    about = snapshot.meta["targets.json"]
    targets_data = _read_listed(channel / metadata_path("targets", about.version))
    about.verify_length_and_hashes(targets_data)
    targets = _open(root, Targets, targets_data)
    return Published(
        roots=roots,
        timestamp_version=timestamp.version,
        targets=targets.targets,
        retired=retired_releases(targets),
        sequence=stated_sequence(targets),
        snapshot=timestamp.snapshot_meta,
        about_targets=about,
        expires={
            "root": root.expires,
            "targets": targets.expires,
            "snapshot": snapshot.expires,
            "timestamp": timestamp.expires,
        },
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
