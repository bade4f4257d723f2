"""`list` and `show`: what a release says of its packages, read from its verified tables, shards and manifests."""

import tempfile
from pathlib import Path

from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.catalogue.query import PackageFacts, list_packages
from ptmtorrent.catalogue.tables import PACKAGES
from ptmtorrent.channel.listed import read_listed
from ptmtorrent.errors import NotFound
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.state.upstream_flags import read_flags


def list_members(channel: OpenChannel, subset: str | None) -> list[PackageFacts]:
    """Return the packages of the release, or of `subset`, by name.

    Raises:
        NotFound: no such subset.
        IntegrityError, TransportError: a table or a shard could not be had.
    """
    facts = _read_packages(channel)
    if subset is None:
        return facts
    members = find_members(channel.release, channel.reader, (), subset, ())
    wanted = {member.content.package for member in members}
    return [row for row in facts if row.package in wanted]


def read_marks(home: Home) -> dict[str, str]:
    """Return what clones of this home found to have become of packages on their hubs, by package.

    Raises:
        StoreError: it cannot be read.
    """
    marks: dict[str, str] = {}
    for flag in read_flags(home.flags):
        marks[flag.package] = f"{marks[flag.package]}, {flag.flag}" if flag.package in marks else flag.flag
    return marks


def read_package(channel: OpenChannel, package: PackageName) -> tuple[SnapshotId, Manifest]:
    """Return one package of the release: its snapshot and the manifest that hashes to it.

    Raises:
        NotFound: no such package, naming near matches.
        IntegrityError, TransportError: shard or manifest could not be had.
    """
    members = find_members(channel.release, channel.reader, (package,), None, ())
    described = next(describe_members(members, channel.reader))
    if described.error is not None:
        raise described.error
    if described.manifest is None:
        raise NotFound(f"release `{channel.release.name}` has no manifest of `{package}`")
    return described.member.content.snapshot, described.manifest


def _read_packages(channel: OpenChannel) -> list[PackageFacts]:
    """Read `packages.parquet` from a copy that nobody else can change after its hash was checked."""
    facts: list[PackageFacts] = []
    with tempfile.TemporaryDirectory(prefix="ptmtorrent-") as folder:
        for ref in channel.release.tables:
            if Path(ref.path).name == PACKAGES:
                copy = Path(folder) / PACKAGES
                copy.write_bytes(read_listed(channel.reader, channel.release, ref))
                facts += list_packages(copy)
    return sorted(facts, key=lambda row: row.package)
