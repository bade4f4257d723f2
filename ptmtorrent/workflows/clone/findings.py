"""Scans the files of a package before it is captured: from the spool while they are there, else from the store."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ptmtorrent.disk.durable import open_regular
from ptmtorrent.errors import PtmError, StoreError
from ptmtorrent.facts.findings.found import TOOL
from ptmtorrent.facts.findings.scanner import Scanner
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.containers.source import ByteSource
from ptmtorrent.model.findings import Finding, Scan, clip, new_scan
from ptmtorrent.model.ids import show_path
from ptmtorrent.model.manifest import Identity
from ptmtorrent.store.cutters import FileSource
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.workflows.clone.manifest import OpenPackage

IDENTITY_TOOL = "ptmtorrent-identity/1"

MAX_FILES = 10_000
"""Limit of files that are scanned of a package; that there are more is a finding."""

MAX_OPEN = 64


def scan_files(scanner: Scanner, store: Store, package: OpenPackage, part: Callable[[HubFile], Path]) -> Scan | None:
    """Return what is found in the stored files of `package`; `part` says where a file lies, in the spool or in place.

    If one of them is not there any more, or was changed, after the scan, the files are scanned in the store. None if
    the files cannot be read any more, so that the package counts as not scanned.
    """
    every = [
        (show_path(path), file, stored)
        for path, (file, stored) in package.stored.items()
        if file.answer is None and stored.size and file.link is None
    ]
    wanted = every[:MAX_FILES]
    places = [part(file) for _, file, _ in wanted[:MAX_OPEN]]
    try:
        with ExitStack() as stack:
            sources: dict[str, ByteSource] = {}
            for number, (name, _, stored) in enumerate(wanted):
                lying = _open(places[number], stored, stack) if number < MAX_OPEN else None
                sources[name] = lying or store.source(stored)
            found = scanner.scan(sources)
        if [part(file) for _, file, _ in wanted[:MAX_OPEN]] == places:
            return _add_unread(found, len(every))
        return _add_unread(scanner.scan({name: store.source(stored) for name, _, stored in wanted}), len(every))
    except PtmError:
        return None


def _add_unread(scan: Scan, files: int) -> Scan:
    """Return `scan` with a finding if not all `files` of the package, by number, were scanned."""
    if files <= MAX_FILES:
        return scan
    meaning = f"{files:,} files, of which {MAX_FILES:,} were scanned"
    finding = Finding(tool=TOOL, file="", rule="unread", level="suspicious", meaning=meaning)
    return new_scan(scan.tools, [*scan.findings, finding])


def _open(path: Path, stored: StoredFile, stack: ExitStack) -> ByteSource | None:
    """Open a part of the spool, or a file in place, that is the stored file: its hash and its size were checked."""
    try:
        descriptor = open_regular(path)
        stack.callback(os.close, descriptor)
        source = FileSource(descriptor, path)
    except (OSError, StoreError):
        return None
    return source if source.size == stored.size else None


def add_identity(scan: Scan | None, before: Identity | None, now: Identity) -> Scan | None:
    """Return `scan` with a finding for each part of the identity that changed since the capture `before`.

    A name alone is no identity: it can be deleted and registered again, or given to another owner.
    """
    if scan is None or before is None:
        return scan
    found = [
        Finding(tool=IDENTITY_TOOL, file="", rule="identity", level="suspicious", meaning=clip(meaning))
        for what, old, new in (
            ("id on the hub", before.hub_id, now.hub_id),
            ("owner", before.author, now.author),
            ("id of the owner", before.author_id, now.author_id),
        )
        if old is not None and new is not None and old != new
        for meaning in [f"the {what} is `{new}`, and was `{old}` when the package was captured before"]
    ]
    return new_scan([*scan.tools, IDENTITY_TOOL], [*scan.findings, *found]) if found else scan
