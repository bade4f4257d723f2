"""Builds and signs the four TUF documents of a channel in memory. No I/O; the time is an argument.

Expiry bounds how long a mirror can withhold updates. The timestamp is renewed often, with a key that is online; the
other documents seldom, with keys that may be offline (docs/adr/0001-small-tuf-over-merkle-release.md).
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from securesystemslib.signer import Signer, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from ptmtorrent.model.ids import ContentRoot, ReleaseName
from ptmtorrent.trust.keys import ROLES, Keys
from ptmtorrent.trust.metadata import RETIRED, SEQUENCE

Document = TypeVar("Document", Root, Targets, Snapshot, Timestamp)

ROOT_LIFE = timedelta(days=730)
TARGETS_LIFE = timedelta(days=365)
SNAPSHOT_LIFE = timedelta(days=365)
TIMESTAMP_LIFE = timedelta(days=30)
COMPACT = JSONSerializer(compact=True)
SPEC = "1.0.31"
"""The version of the TUF specification in the documents; explicit, so that a newer library writes the same bytes."""


def sign_first_root(keys: Keys, now: datetime) -> bytes:
    """Return root 1: the keys of each role; one signature is needed of each but the root, which `keys.first` says."""
    root = Root(version=1, spec_version=SPEC, expires=_expiry(now, ROOT_LIFE), consistent_snapshot=True)
    for role in ROLES:
        for signer in keys.signers[role]:
            root.add_key(signer.public_key, role)
    if keys.first is not None:
        root.roles["root"].threshold = keys.first.threshold
        for keyid, public in keys.first.keys.items():
            root.add_key(SSlibKey(keyid, "ed25519", "ed25519", {"public": public}), "root")
    return _sign(root, keys, "root")


def next_root(root: Root, now: datetime) -> Root:
    """Return the version after `root`, with the same keys and roles and a later expiry, to be changed and signed."""
    following = deepcopy(root)
    following.version = root.version + 1
    following.expires = _expiry(now, ROOT_LIFE)
    return following


def sign_next_root(keys: Keys, root: Root, now: datetime) -> bytes:
    """Return the version after `root`, with the same keys and roles and a later expiry."""
    return _sign(next_root(root, now), keys, "root")


def sign_targets(  # noqa: PLR0913, PLR0917  # the content of the document, and who signs it when
    keys: Keys,
    version: int,
    targets: dict[str, TargetFile],
    sequence: int,
    highest_listed: int,
    now: datetime,
    *,
    retired: Mapping[ReleaseName, ContentRoot] | None = None,
) -> bytes:
    """Return the targets document that lists `targets`.

    `sequence` is that of the newest release ever signed. The document states it where it is above `highest_listed`,
    that of the newest release in `targets`: so a channel can list fewer releases than its readers have seen. `retired`
    are releases that left the list when a package was withdrawn.
    """
    unknown: dict[str, object] = {SEQUENCE: sequence} if sequence > highest_listed else {}
    if retired:
        unknown[RETIRED] = dict(retired)
    signed = Targets(
        version=version,
        spec_version=SPEC,
        expires=_expiry(now, TARGETS_LIFE),
        targets=targets,
        unrecognized_fields=unknown,
    )
    return _sign(signed, keys, "targets")


def sign_snapshot(keys: Keys, version: int, targets: MetaFile, now: datetime) -> bytes:
    """Return the snapshot document for one version of targets."""
    meta = {"targets.json": targets}
    signed = Snapshot(version=version, spec_version=SPEC, expires=_expiry(now, SNAPSHOT_LIFE), meta=meta)
    return _sign(signed, keys, "snapshot")


def sign_timestamp(keys: Keys, version: int, snapshot: MetaFile, now: datetime) -> bytes:
    """Return the timestamp document for one snapshot."""
    expires = _expiry(now, TIMESTAMP_LIFE)
    signed = Timestamp(version=version, spec_version=SPEC, expires=expires, snapshot_meta=snapshot)
    return _sign(signed, keys, "timestamp")


def describe(version: int, data: bytes) -> MetaFile:
    """Return version, length and SHA-256 of a document, for the document that refers to it."""
    return MetaFile(version=version, length=len(data), hashes={"sha256": sha256(data).hexdigest()})


def target(path: str, data: bytes, custom: dict[str, int | str] | None = None) -> TargetFile:
    """Return the target at `path` with these bytes and the `custom` fields."""
    unknown = {"custom": custom} if custom else {}
    return TargetFile(
        length=len(data), hashes={"sha256": sha256(data).hexdigest()}, path=path, unrecognized_fields=unknown
    )


def sign_with(signed: Document, signers: Iterable[Signer]) -> bytes:
    """Return the document with a signature of each of `signers`."""
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(COMPACT)


def _sign(signed: Document, keys: Keys, role: str) -> bytes:
    return sign_with(signed, keys.signers[role])


def _expiry(now: datetime, life: timedelta) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + life
