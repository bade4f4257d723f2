"""A release: a dated, immutable set of snapshots, and the few hashes that stand for all of it.

`release.json` has a constant size: the members are listed in runs of the index, of which it names the files. The
`content_root` is the citable id: it covers what the release *is*, and none of where the bytes lie or in which files
(docs/formats/release.md).
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
    PackageName,
    ReleaseName,
    check_path,
    is_hex64,
    parse_release_name,
)
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.members import MAX_RUNS, MAX_SHARD_BITS, MemberRow

MAX_RELEASE_BYTES = 4 << 20
"""`release.json` is at most 4 MiB, also where no signature bounds it."""

MAX_DOCUMENT_FILES = 1 << 16
"""Limit of the files of documents of one run; a row of the index names one by 16 bits."""

FOLDERS = ("releases", "torrents")
"""The folders of a channel in which listed files lie."""

_SUBSET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the channel: its path there, bytes, BLAKE3-256."""

    path: str
    size: int
    blake3: str


class SubsetRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named query, frozen to its members.

    `query` says in words and SQL what selected them; `only` narrows the files of each member by kind. `packages`,
    `files`, `bytes` count what a fetch lays out; `stored` is the sum of its encoded objects and `packs_bytes` that
    of the packs they lie in, both in bytes: read amplification is `packs_bytes / stored`. `members` is the file of
    their names, absent if every package is a member.
    """

    name: str
    query: str
    only: tuple[FileKind, ...] = ()
    packages: int
    files: int
    bytes: int
    stored: int
    packs_bytes: int
    members: FileRef | None = None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One selected package: its row, and the file of its documents. `only` selects its files by kind; empty: all."""

    row: MemberRow
    documents: FileRef
    only: tuple[FileKind, ...] = ()

    @property
    def package(self) -> PackageName:
        """The name of the package."""
        return self.row.package


class RunRef(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the index: `rows` rows in 2**`bits` shards, and the files of documents that its rows name by number."""

    level: int
    bits: int
    rows: int
    index: FileRef
    documents: tuple[FileRef, ...]


class TableRef(msgspec.Struct, frozen=True, kw_only=True):
    """A table: a Parquet file for each run, in the order of the runs, with the rows of that run's packages."""

    name: str
    files: tuple[FileRef, ...]


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
    """`releases/<name>/release.json`. `files` are further files by name, such as `policy`."""

    FORMAT: ClassVar[str] = "ptmtorrent/release"
    VERSION: ClassVar[int] = 2

    name: ReleaseName
    sequence: int
    previous: str | None = None
    created: str
    written_by: str
    content_root: ContentRoot
    placement_root: str
    members_root: str
    runs: tuple[RunRef, ...]
    tree: FileRef
    tables: tuple[TableRef, ...]
    subsets: tuple[SubsetRef, ...]
    volumes: tuple[VolumeRef, ...]
    totals: Totals
    files: dict[str, FileRef] = msgspec.field(default_factory=dict)

    @property
    def policy(self) -> FileRef | None:
        """The policy, if the release was made by one."""
        return self.files.get("policy")

    @property
    def listed(self) -> tuple[FileRef, ...]:
        """Every file that the release lists but torrents and packs, each once."""
        members = [subset.members for subset in self.subsets if subset.members is not None]
        runs = [file for run in self.runs for file in (run.index, *run.documents)]
        tables = [file for table in self.tables for file in table.files]
        return tuple(dict.fromkeys((*runs, self.tree, *members, *tables, *self.files.values())))

    def table(self, name: str) -> tuple[FileRef, ...]:
        """Return the files of the table `name`, none if the release has no such table."""
        return next((table.files for table in self.tables if table.name == name), ())

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


def content_root(name: ReleaseName, members_root: str, subsets: tuple[SubsetRef, ...]) -> ContentRoot:
    """Hash what a release is: its name, members and subsets, and nothing of where bytes lie.

    `members_root` covers snapshots, and through them every byte of every file, and the facts in the tables. The file of
    a subset lists names alone, so that its hash is that of its members.
    """
    tree = {
        "format": "ptmtorrent/content-root",
        "members": members_root,
        "name": name,
        "subsets": [
            {
                "members": members_root if subset.members is None else subset.members.blake3,
                "name": subset.name,
                "only": subset.only,
                "query": subset.query,
            }
            for subset in sorted(subsets, key=lambda subset: subset.name)
        ],
        "version": 2,
    }
    return ContentRoot(blake3(canonical.encode(tree)).hexdigest())


def placement_root(
    runs: tuple[RunRef, ...], tree: FileRef, tables: tuple[TableRef, ...], volumes: tuple[VolumeRef, ...]
) -> str:
    """Hash where the bytes of a release lie: index, documents, tables and volumes."""
    found = {
        "format": "ptmtorrent/placement-root",
        "runs": runs,
        "tables": tables,
        "tree": tree,
        "version": 2,
        "volumes": volumes,
    }
    return blake3(canonical.encode(found)).hexdigest()


def decode_release(data: bytes) -> Release:
    """Read `release.json` and check that its two roots are those of what it lists.

    Who vouches for the bytes (a signature, or a pinned `content_root`) is the caller's business.

    Raises:
        IntegrityError: not canonical, a malformed hash or path, or a root that does not follow from the lists.
        UnsupportedFormat: written by another version.
    """
    release = canonical.decode(data, Release, name="release.json")
    try:
        parse_release_name(release.name)
    except UsageError as error:
        raise IntegrityError(f"release.json has an invalid name: {error.message}") from error
    _check_names(release)
    _check_files(release)
    _check_runs(release)
    if release.content_root != content_root(release.name, release.members_root, release.subsets):
        raise IntegrityError(f"release `{release.name}` does not hash to its own content root")
    if release.placement_root != placement_root(release.runs, release.tree, release.tables, release.volumes):
        raise IntegrityError(f"release `{release.name}` does not hash to its own placement root")
    return release


def _check_names(release: Release) -> None:
    for subset in release.subsets:
        if not _SUBSET_NAME.fullmatch(subset.name):
            raise IntegrityError(f"release.json lists a subset with the invalid name {subset.name!r}")
    for name in (*release.files, *(table.name for table in release.tables)):
        if not _FILE_NAME.fullmatch(name):
            raise IntegrityError(f"release.json lists a file or table with the invalid name {name!r}")
    for table in release.tables:
        if len(table.files) != len(release.runs):
            raise IntegrityError(
                f"release.json lists {len(table.files)} files of `{table.name}` for {len(release.runs)} runs"
            )
    if not is_hex64(release.members_root):
        raise IntegrityError("release.json has a malformed root of its members")


def _check_runs(release: Release) -> None:
    if len(release.runs) > MAX_RUNS:
        raise IntegrityError(f"release `{release.name}` has {len(release.runs)} runs, over the limit of {MAX_RUNS}")
    for run in release.runs:
        if not (0 <= run.bits <= MAX_SHARD_BITS and run.level >= 0 and run.rows >= 0):
            raise IntegrityError(f"release `{release.name}` has a run in 2**{run.bits} shards")
        if len(run.documents) > MAX_DOCUMENT_FILES:
            raise IntegrityError(f"release `{release.name}` has a run with {len(run.documents)} files of documents")


def _check_files(release: Release) -> None:
    """Refuse malformed references, and sizes no reader should believe of files that are read whole."""
    torrents = [torrent for volume in release.volumes for torrent in (volume.torrent_v1, volume.torrent_v2)]
    for file in (*release.listed, *torrents):
        check_path(file.path)
        if not is_hex64(file.blake3) or file.size < 0 or file.path.partition("/")[0] not in FOLDERS:
            raise IntegrityError(f"release.json lists `{file.path}` with a malformed hash, size or folder")
    members = [subset.members for subset in release.subsets if subset.members is not None]
    for file in (*torrents, release.tree, *members, *release.files.values()):
        if file.size > canonical.MAX_DOCUMENT_BYTES:
            raise IntegrityError(f"release.json lists `{file.path}` with {file.size} bytes, more than any document")
