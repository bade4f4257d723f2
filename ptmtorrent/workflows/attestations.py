"""Exports with which others check a release by tools that are not ours: from its documents alone, no pack is read.

`model-signing` writes a bundle of OpenSSF Model Signing for each package, `in-toto` one signed statement on all
captures, `sums` the lists `SHA256SUMS` and `B3SUMS` of the files as a fetch lays them out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from blake3 import blake3

from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.catalogue.query import PackageRow, read_rows
from ptmtorrent.disk import durable
from ptmtorrent.exports.attestations import Signer, captures_envelope, model_signing_bundle, sums
from ptmtorrent.model.flagged import Flagged
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.manifest import LINK_MODE, Manifest
from ptmtorrent.model.records import Emit, Result
from ptmtorrent.model.subset import wants
from ptmtorrent.reading.flagged import read_flagged
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.trust.attester import ATTEST_PUBLIC, Attester

STATEMENT_FILE = "captures.intoto.json"
ALL = "all"
SUMS_FILES = {"sha256": "SHA256SUMS", "blake3": "B3SUMS"}
_MAX_NAME = 200


class Written(NamedTuple):
    """How many packages an export has, and how many failed."""

    packages: int
    failed: int


def export_model_signing(
    channel: OpenChannel, folder: Path, attester: Attester, only: tuple[FileKind, ...], *, emit: Emit
) -> Written:
    """Write a bundle for each package of the release into `folder`, for its files of the kinds `only`; and the key.

    Raises:
        IntegrityError, TransportError: the index of the release cannot be read.
        StoreError: `folder` cannot be written.
    """
    signer = Signer(attester.sign, attester.hint, attester.keyid)
    durable.ensure_dir(folder, mode=0o777)
    packages = failed = 0
    for manifest in _manifests(channel, emit):
        if manifest is None:
            failed += 1
            continue
        package = manifest.package.package
        files = [file for file in manifest.files if wants(only, file)]
        if any(file.path is None for file in files):
            reason = "a path of it is not UTF-8, which the format cannot say"
            emit(Result(kind="package", id=package, status="impossible", reason=reason))
            failed += 1
            continue
        data = model_signing_bundle(package, files, signer)
        durable.write_file(folder / bundle_name(package), data, None)
        packages += 1
    durable.write_file(folder / ATTEST_PUBLIC, attester.public, None)
    return Written(packages, failed)


def bundle_name(package: str) -> str:
    """Return the name of the bundle of a package: its name with `%` escapes, or a hash where that is too long."""
    name = quote(package, safe="")
    return f"{name if len(name) <= _MAX_NAME else blake3(package.encode()).hexdigest()}.sig"


def export_in_toto(channel: OpenChannel, folder: Path, attester: Attester) -> Written:
    """Write one signed statement on what was captured of each package, from where, when, and what was found.

    Raises:
        IntegrityError, TransportError: the tables of the release cannot be read.
        StoreError: `folder` cannot be written.
    """
    release, flagged = channel.release, read_flagged(channel.release, channel.reader)
    rows = read_rows(release, channel.reader, PackageRow, proven=channel.proven)
    about = {
        "name": release.name,
        "sequence": release.sequence,
        "created": release.created,
        "content_root": f"b3:{release.content_root}",
        "written_by": release.written_by,
    }
    signer = Signer(attester.sign, attester.hint, attester.keyid)
    durable.ensure_dir(folder, mode=0o777)
    data = captures_envelope(about, (_statement(row, flagged) for row in rows), signer)
    durable.write_file(folder / STATEMENT_FILE, data, None)
    durable.write_file(folder / ATTEST_PUBLIC, attester.public, None)
    return Written(len(rows), 0)


def _statement(row: PackageRow, flagged: Flagged | None) -> dict[str, Any]:
    known = {
        "package": row.package,
        "snapshot": row.snapshot,
        "hub": row.hub,
        "revision": row.revision,
        "commit": row.commit,
        "captured": row.captured,
        "listed": row.listed,
        "licence": row.licence,
        "rights": row.rights,
        "url": row.url,
    }
    flag = None if flagged is None else flagged.packages.get(row.package)
    if flag is not None:
        known["findings"] = msgspec.to_builtins({"worst": flag.level, "number": flag.findings, "meaning": flag.meaning})
    return {name: value for name, value in known.items() if value is not None}


def export_sums(channel: OpenChannel, folder: Path, *, emit: Emit) -> Written:
    """Write the hashes of all files of the release, with paths as `fetch` lays them out: `HUB/PACKAGE/FILE`.

    Raises:
        IntegrityError, TransportError: the index of the release cannot be read.
        StoreError: `folder` cannot be written.
    """
    durable.ensure_dir(folder, mode=0o777)
    listed: dict[str, list[tuple[str, str]]] = {kind: [] for kind in SUMS_FILES}
    packages = failed = 0
    for manifest in _manifests(channel, emit):
        if manifest is None:
            failed += 1
            continue
        packages += 1
        for file in manifest.files:
            if file.path is not None and file.mode != LINK_MODE:
                path = f"{manifest.package.hub}/{manifest.package.name}/{file.path}"
                listed["sha256"].append((file.sha256, path))
                listed["blake3"].append((file.blake3, path))
    for kind, name in SUMS_FILES.items():
        durable.write_file(folder / name, sums(sorted(listed[kind], key=lambda each: each[1])), None)
    return Written(packages, failed)


def _manifests(channel: OpenChannel, emit: Emit) -> Iterator[Manifest | None]:
    """Yield the manifest of each package; None, with a record, for one that cannot be read."""
    members = find_members(channel.release, channel.reader, (), ALL, ())
    for described in describe_members(members, channel.reader):
        if described.manifest is None:
            reason = described.error.message if described.error else "it has no manifest"
            emit(Result(kind="package", id=described.member.package, status="error", reason=reason))
        yield described.manifest
