"""Writes what a release says of findings: the table, and the short document that a fetch reads."""

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from ptmtorrent.catalogue.findings import write_findings
from ptmtorrent.channel.folder import OwnReader, check_listed
from ptmtorrent.channel.paths import FLAGGED_FILE, TABLES
from ptmtorrent.facts.near_names import PopularNames
from ptmtorrent.model import canonical
from ptmtorrent.model.bounds import MAX_MEMORY_BYTES, json_memory
from ptmtorrent.model.findings import LEVELS, Finding, Scan, clip, new_scan
from ptmtorrent.model.flagged import Flag, Flagged, new_flagged
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.release import FileRef, Release
from ptmtorrent.reading.flagged import read_flagged
from ptmtorrent.workflows.release.index import ReleaseFolder

NAMES_TOOL = "ptmtorrent-names/1"


def write_findings_files(
    folder: ReleaseFolder, channel: Path, previous: Release | None, scans: Mapping[PackageName, Scan | None]
) -> dict[str, FileRef]:
    """Return the files of findings of a release, none if there is nothing to say.

    With `previous`, `scans` are those of new members, and those of the others are taken from it.

    Raises:
        NoSpace, StoreError: they cannot be written.
        IntegrityError: a file of the previous release is damaged.
    """
    before = None if previous is None else read_flagged(previous, OwnReader(channel))
    flagged = new_flagged(scans, before)
    if flagged.is_empty:
        return {}
    files: dict[str, FileRef] = {}
    table = None if previous is None else previous.files.get("findings")
    if flagged.packages and table is not None and before is not None and not _touches(before, scans):
        files["findings"] = table
    elif flagged.packages:
        earlier = None if table is None else check_listed(channel, table)
        path = write_findings(folder.path / TABLES, scans, earlier, ())
        files["findings"] = folder.refer(f"{TABLES}/{path.name}")
    return files | {"flagged": folder.write(FLAGGED_FILE, _encode(flagged))}


def add_near_names(
    scans: Mapping[PackageName, Scan | None], popular: Collection[PackageName] | None
) -> Mapping[PackageName, Scan | None]:
    """Return `scans` with a finding for each package whose name resembles that of a `popular` one of another owner.

    None if every package is popular, which says nothing.
    """
    if not popular:
        return scans
    known, named = PopularNames(popular), dict(scans)
    for package, scan in scans.items():
        found = None if scan is None else known.resembled_by(package)
        if scan is not None and found is not None:
            meaning = clip(f"the name resembles the popular `{found.name}`: it {found.how}")
            finding = Finding(tool=NAMES_TOOL, file="", rule="near-name", level="suspicious", meaning=meaning)
            named[package] = new_scan([*scan.tools, NAMES_TOOL], [*scan.findings, finding])
    return named


def _touches(before: Flagged, scans: Mapping[PackageName, Scan | None]) -> bool:
    """Return whether the table has other rows with these `scans`."""
    return any(name in before.packages or (scan is not None and scan.findings) for name, scan in scans.items())


def _encode(flagged: Flagged) -> bytes:
    """Return the document; without its texts, and then without its mildest flags, if readers would refuse it."""
    for severity in range(-1, len(LEVELS)):
        packages = {name: flag for name, flag in flagged.packages.items() if flag.severity >= severity}
        if severity >= 0:
            packages = {name: Flag(flag.level, flag.findings, "", "") for name, flag in packages.items()}
        data = canonical.encode(msgspec.structs.replace(flagged, packages=packages))
        if len(data) <= canonical.MAX_DOCUMENT_BYTES and json_memory(data) <= MAX_MEMORY_BYTES:
            return data
    return canonical.encode(msgspec.structs.replace(flagged, packages={}, unscanned=()))
