"""The only parser of TUF documents, and a reader that follows a timestamp to the list of targets.

Signatures are not checked here: `refresh` checks those of any channel, `own` those of the maintainer's. Unverified
metadata is used only where a hash or the maintainer's keys are checked afterwards.
"""

from datetime import datetime
from typing import TypeVar

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from ptmtorrent.channel.paths import TIMESTAMP, metadata_path, parse_release_path, release_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.bounds import TooManyParts, check_json, decode_json
from ptmtorrent.model.ids import ContentRoot, ReleaseName, is_hex64

MAX_METADATA_MEMORY = 32 << 20
"""Limit of the memory for one TUF document as JSON (32 MiB); its objects take as much again. 10,000 releases fit."""

RETIRED = "retired"
"""The member of a targets document with the releases that left the list when a package was withdrawn, and their roots.

Their documents stay, so that a content root that was cited can be verified.
"""

SEQUENCE = "sequence"
"""The member of a targets document with the highest sequence ever signed (docs/formats/channel.md)."""

Signed = TypeVar("Signed", Root, Timestamp, Snapshot, Targets)


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """Unverified metadata of a channel: bytes, version and expiry of the timestamp, and the targets.

    `files` are the paths of the targets and of the snapshot document.
    """

    timestamp: bytes
    version: int
    expires: datetime
    files: tuple[str, str]
    targets: dict[str, TargetFile]
    expiries: dict[str, datetime]
    retired: dict[ReleaseName, ContentRoot]


def parse_metadata(data: bytes, kind: type[Signed]) -> Metadata[Signed]:
    """Return the TUF document of type `kind` in `data`; its signatures are not checked.

    Raises:
        IntegrityError: the bytes are not TUF metadata, or a document of another type.
    """
    try:
        check_json(data, MAX_METADATA_MEMORY)
        metadata = Metadata[Signed].from_bytes(data)
    except (RepositoryError, RecursionError, TooManyParts) as error:
        raise IntegrityError(f"a {kind.type} document is not TUF metadata ({error})") from error
    if not isinstance(metadata.signed, kind):
        raise IntegrityError(f"a document is {metadata.signed.type}, not {kind.type}")
    return metadata


def timestamp_version(data: bytes) -> int:
    """Return the unverified version of a timestamp document; only a publisher compares it.

    Raises:
        IntegrityError: the document has no version.
    """
    try:
        return int(decode_json(data)["signed"]["version"])
    except (msgspec.DecodeError, LookupError, TypeError, ValueError) as error:
        raise IntegrityError(f"the metadata of the published channel is damaged: {error!r}") from error


def stated_sequence(targets: Targets) -> int:
    """Return the sequence that a targets document states besides its releases; 0 where it states none."""
    value = targets.unrecognized_fields.get(SEQUENCE, 0)
    return value if type(value) is int and value > 0 else 0


def retired_releases(targets: Targets) -> dict[ReleaseName, ContentRoot]:
    """Return the releases that left the list when a package was withdrawn; malformed entries are ignored."""
    value = targets.unrecognized_fields.get(RETIRED)
    entries = value.items() if isinstance(value, dict) else ()
    return {
        ReleaseName(name): ContentRoot(root)
        for name, root in entries
        if parse_release_path(release_path(name)) is not None and isinstance(root, str) and is_hex64(root)
    }


def read_listing(reader: ChannelReader) -> Listing:
    """Return the newest metadata of a channel, unverified.

    Raises:
        NotFound: a document is missing.
        IntegrityError: a document is too long or is not TUF metadata.
        TransportError, StoreError: the reader's own error.
    """
    from tuf.ngclient.config import UpdaterConfig

    bounds = UpdaterConfig()
    timestamp_data = reader.read(TIMESTAMP, limit=bounds.timestamp_max_length)
    timestamp = parse_metadata(timestamp_data, Timestamp).signed
    snapshot_file = metadata_path("snapshot", timestamp.snapshot_meta.version)
    snapshot = parse_metadata(reader.read(snapshot_file, limit=bounds.snapshot_max_length), Snapshot).signed
    if "targets.json" not in snapshot.meta:
        raise IntegrityError(f"`{snapshot_file}` does not name a targets document")
    targets_file = metadata_path("targets", snapshot.meta["targets.json"].version)
    targets = parse_metadata(reader.read(targets_file, limit=bounds.targets_max_length), Targets).signed
    return Listing(
        timestamp=timestamp_data,
        version=timestamp.version,
        expires=timestamp.expires,
        files=(targets_file, snapshot_file),
        targets=targets.targets,
        retired=retired_releases(targets),
        expiries={"targets": targets.expires, "snapshot": snapshot.expires, "timestamp": timestamp.expires},
    )
