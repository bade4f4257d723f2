"""`show`: one package of a release, read from its verified tables, shard and manifest."""

from typing import NamedTuple

from ptmtorrent.catalogue.findings import read_findings
from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.catalogue.query import PackageRow, read_rows
from ptmtorrent.errors import NotFound
from ptmtorrent.model.findings import Finding
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.reading.flagged import read_flagged
from ptmtorrent.reading.open_channel import OpenChannel


class Shown(NamedTuple):
    """A package: its row of the table of packages, the manifest that hashes to its snapshot, and findings in it."""

    row: PackageRow
    manifest: Manifest
    findings: list[Finding]


def show(channel: OpenChannel, package: PackageName) -> Shown:
    """Return one package of the release.

    Raises:
        NotFound: no such package, naming near matches.
        IntegrityError, TransportError: a table, shard or manifest cannot be read.
    """
    members = find_members(channel.release, channel.reader, (package,), None, ())
    described = next(describe_members(members, channel.reader))
    if described.error is not None:
        raise described.error
    rows = read_rows(channel.release, channel.reader, PackageRow, packages=(package,), proven=channel.proven)
    if described.manifest is None or not rows:
        raise NotFound(f"release `{channel.release.name}` has no manifest of `{package}`")
    flagged = read_flagged(channel.release, channel.reader)
    has_any = flagged is not None and package in flagged.packages
    findings = read_findings(channel.release, channel.reader, package) if has_any else []
    return Shown(rows[0], described.manifest, findings)
