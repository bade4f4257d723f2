"""`show`: one package of a release, read from its verified shard and manifest."""

from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.errors import NotFound
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.reading.open_channel import OpenChannel


def show(channel: OpenChannel, package: PackageName) -> tuple[SnapshotId, Manifest]:
    """Return one package of the release: its snapshot and the manifest that hashes to it.

    Raises:
        NotFound: no such package, naming near matches.
        IntegrityError, TransportError: shard or manifest cannot be read.
    """
    members = find_members(channel.release, channel.reader, (package,), None, ())
    described = next(describe_members(members, channel.reader))
    if described.error is not None:
        raise described.error
    if described.manifest is None:
        raise NotFound(f"release `{channel.release.name}` has no manifest of `{package}`")
    return described.member.row.snapshot, described.manifest
