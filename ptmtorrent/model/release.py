"""A release: a dated, immutable set of snapshots, and the few hashes that stand for all of it.

`content_root` is the citable id: it covers what the release *is* (members, subsets, tables), and none of where the
bytes lie, so a repack changes `placement_root` alone (docs/formats/release.md).
"""

import re
from typing import ClassVar

import msgspec
from blake3 import blake3

from ptmtorrent.errors import IntegrityError, NotFound, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import (
    ContentRoot,
    InfoHash,
    ObjectId,
    PackageName,
    ReleaseName,
    SnapshotId,
    check_path,
    is_hex64,
    parse_release_name,
)
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.placement import Location

MAX_RELEASE_BYTES = 4 << 20
"""`release.json` is at most 4 MiB, also where no signature bounds it."""

MAX_SHARD_BITS = 10
"""At most 1,024 shards: one of them is then about 270 packages of the largest hub."""

_SUBSET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A file below the release's folder: path relative to it, bytes, BLAKE3-256."""

    path: str
    size: int
    blake3: str


class SubsetRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named query, frozen to its members.

    `query` says in words and SQL what selected them; `only` narrows the files of each member by kind. `packages`,
    `files`, `bytes` count what a fetch lays out; `stored` is the sum of its encoded objects and `packs_bytes` that
    of the packs they lie in, both in bytes: read amplification is `packs_bytes / stored`.
    """

    name: str
    query: str
    only: tuple[FileKind, ...] = ()
    packages: int
    files: int
    bytes: int
    stored: int
    packs_bytes: int
    content: tuple[FileRef, ...]
    placement: tuple[FileRef, ...]


class VolumeRef(msgspec.Struct, frozen=True, kw_only=True):
    """A set of packs that is one torrent, twice: `v1` and `v2` over the same bytes (docs/formats/volume.md)."""

    rights: Rights
    level: int
    packs: int
    bytes: int
    v1: InfoHash
    v2: InfoHash
    torrent_v1: FileRef
    torrent_v2: FileRef


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the release. `raw` is files, `stored` encoded objects, `packs_bytes` packs with their padding."""

    packages: int
    files: int
    raw: int
    stored: int
    packs: int
    packs_bytes: int


class Release(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """`releases/<name>/release.json`."""

    FORMAT: ClassVar[str] = "ptmtorrent/release"

    name: ReleaseName
    sequence: int
    previous: str | None = None
    created: str
    written_by: str
    content_root: ContentRoot
    placement_root: str
    shard_bits: int
    content: tuple[FileRef, ...]
    placement: tuple[FileRef, ...]
    tables: tuple[FileRef, ...]
    subsets: tuple[SubsetRef, ...]
    volumes: tuple[VolumeRef, ...]
    totals: Totals
    policy: FileRef | None = None

    @property
    def others(self) -> tuple[FileRef, ...]:
        """The files of its folder that belong to no index and no subset: tables, and the policy if there is one."""
        return self.tables if self.policy is None else (*self.tables, self.policy)

    def subset(self, name: str) -> SubsetRef:
        """Return the subset called `name`.

        Raises:
            NotFound: naming the subsets there are.
        """
        for subset in self.subsets:
            if subset.name == name:
                return subset
        known = ", ".join(f"`{subset.name}`" for subset in self.subsets)
        raise NotFound(f"release `{self.name}` has no subset `{name}`", hint=f"it has {known}")


class ContentRow(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """`[package, snapshot, manifest bytes, raw bytes, files]`: what a member is, and how big."""

    package: PackageName
    snapshot: SnapshotId
    manifest_size: int
    raw: int
    files: int


class PlacementRow(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """`[snapshot, manifest location, placement id, placement bytes, placement location]`."""

    snapshot: SnapshotId
    manifest: Location
    placement: ObjectId
    placement_size: int
    placement_at: Location


class ContentShard(canonical.Document, frozen=True, kw_only=True):
    """Rows of `index/content/` or of a subset, sorted by package name."""

    FORMAT: ClassVar[str] = "ptmtorrent/content-shard"

    rows: tuple[ContentRow, ...]


class PlacementShard(canonical.Document, frozen=True, kw_only=True):
    """Rows of `index/placement/` or of a subset, in the order of the content shard beside it."""

    FORMAT: ClassVar[str] = "ptmtorrent/placement-shard"

    rows: tuple[PlacementRow, ...]


def shard_of(package: PackageName, bits: int) -> int:
    """Return which of the 2**`bits` shards holds `package`: the leading bits of the BLAKE3 of its name."""
    return int.from_bytes(blake3(package.encode()).digest(length=4), "big") >> (32 - bits) if bits else 0


def shard_bits_for(packages: int) -> int:
    """Return how many bits to shard by: 0 for a small release, about 256 packages a shard, at most 1,024 shards."""
    return min(MAX_SHARD_BITS, max(0, (packages - 1).bit_length() - 8)) if packages else 0


def content_root(
    name: ReleaseName,
    content: tuple[FileRef, ...],
    tables: tuple[FileRef, ...],
    subsets: tuple[SubsetRef, ...],
) -> ContentRoot:
    """Hash what a release is: its name, members, tables and subsets, and nothing of where bytes lie."""
    tree = {
        "content": content,
        "format": "ptmtorrent/content-root",
        "name": name,
        "subsets": [
            {"content": subset.content, "name": subset.name, "only": subset.only, "query": subset.query}
            for subset in sorted(subsets, key=lambda subset: subset.name)
        ],
        "tables": tables,
        "version": 1,
    }
    return ContentRoot(blake3(canonical.encode(tree)).hexdigest())


def placement_root(
    placement: tuple[FileRef, ...], subsets: tuple[SubsetRef, ...], volumes: tuple[VolumeRef, ...]
) -> str:
    """Hash where the bytes of a release lie: placement shards and volumes."""
    tree = {
        "format": "ptmtorrent/placement-root",
        "placement": placement,
        "subsets": [{"name": subset.name, "placement": subset.placement} for subset in subsets],
        "version": 1,
        "volumes": volumes,
    }
    return blake3(canonical.encode(tree)).hexdigest()


def decode_release(data: bytes) -> Release:
    """Read `release.json` and check that its two roots are those of what it lists.

    Who vouches for the bytes (a signature, or a pinned `content_root`) is the caller's business.

    Raises:
        IntegrityError: not canonical, a malformed hash or path, or a root that does not follow from the lists.
        UnsupportedFormat: written by a newer version.
    """
    release = canonical.decode(data, Release, name="release.json")
    try:
        parse_release_name(release.name)
    except UsageError as error:
        raise IntegrityError(f"release.json has an invalid name: {error.message}") from error
    _check_files(release)
    if not 0 <= release.shard_bits <= MAX_SHARD_BITS:
        raise IntegrityError(f"release `{release.name}` is sharded by {release.shard_bits} bits")
    if {len(release.content), len(release.placement)} != {1 << release.shard_bits}:
        raise IntegrityError(f"release `{release.name}` does not list a shard for each of its hash prefixes")
    if release.content_root != content_root(release.name, release.content, release.tables, release.subsets):
        raise IntegrityError(f"release `{release.name}` does not hash to its own content root")
    if release.placement_root != placement_root(release.placement, release.subsets, release.volumes):
        raise IntegrityError(f"release `{release.name}` does not hash to its own placement root")
    return release


def _check_files(release: Release) -> None:
    """Refuse malformed references, and sizes no reader should believe: shards and torrents are read whole."""
    documents = [*release.content, *release.placement]
    for subset in release.subsets:
        if not _SUBSET_NAME.fullmatch(subset.name):
            raise IntegrityError(f"release.json lists a subset with the invalid name {subset.name!r}")
        if len(subset.content) != len(subset.placement):
            raise IntegrityError(f"the subset `{subset.name}` does not list its shards in pairs")
        documents += [*subset.content, *subset.placement]
    for volume in release.volumes:
        documents += [volume.torrent_v1, volume.torrent_v2]
    documents += [] if release.policy is None else [release.policy]
    for file in (*documents, *release.tables):
        check_path(file.path)
        if not is_hex64(file.blake3) or file.size < 0:
            raise IntegrityError(f"release.json lists `{file.path}` with a malformed hash or size")
    for file in documents:
        if file.size > canonical.MAX_DOCUMENT_BYTES:
            raise IntegrityError(f"release.json lists `{file.path}` with {file.size} bytes, more than any document")
