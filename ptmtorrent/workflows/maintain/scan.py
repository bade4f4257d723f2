"""Scans files that were fetched, with every scanner that is installed here: rules change after a release was made."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ptmtorrent.disk.durable import open_regular
from ptmtorrent.errors import NotFound, PtmError, StoreError
from ptmtorrent.facts.findings.scanner import Scanner
from ptmtorrent.model.containers.source import ByteSource
from ptmtorrent.model.findings import Scan, worst
from ptmtorrent.model.ids import show_path
from ptmtorrent.model.records import Emit, Result, Summary
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.state.laid_out import LaidOut, Ledger
from ptmtorrent.stop import ANEW_HINT, Stop
from ptmtorrent.store.cutters import FileSource

MAX_OPEN = 256
"""Files of a package that are open at a time; a package with more is scanned in parts."""


class Scanned(NamedTuple):
    """What was found in the files of one package."""

    package: str
    scan: Scan


def scan_fetched(home: Home, target: str | None, *, emit: Emit, stop: Stop) -> tuple[list[Scanned], Summary]:
    """Scan the fetched files below the path `target`, of the package `target`, or all; a record a package.

    Raises:
        NotFound: this home fetched no files there.
        StoreError: the ledger cannot be read.
        Interrupted: `stop` was set.
    """
    began = time.monotonic()
    with Ledger(home.ledger) as ledger:
        files = [file for file in ledger.files() if target is None or _is_meant(file, target)]
    if not files:
        raise NotFound(
            f"this home fetched no files to `{target or home.root}`", hint="fetch first: ptmtorrent fetch PACKAGE"
        )
    files.sort(key=lambda file: (file.package, file.path))
    scanned: list[Scanned] = []
    failed = 0
    with Scanner(wide=True) as scanner:
        for package, group in groupby(files, key=lambda file: file.package):
            stop.raise_if_set("scanning", hint=ANEW_HINT)
            try:
                scans = list(_scan(scanner, list(group)))
            except PtmError as error:
                failed += 1
                emit(Result(kind="package", id=package, status="error", reason=error.message))
                continue
            scanned += [Scanned(package, scan) for scan in scans]
            emit(Result(kind="package", id=package, status="ok", reason=_spell(scans)))
    summary = Summary(
        packages=len({file.package for file in files}),
        files=len(files),
        bytes=sum(file.size for file in files),
        bytes_moved=0,
        seconds=time.monotonic() - began,
        failed=failed,
    )
    return scanned, summary


def _scan(scanner: Scanner, files: list[LaidOut]) -> Iterator[Scan]:
    root = Path(os.path.commonpath([file.path.parent for file in files]))
    for start in range(0, len(files), MAX_OPEN):
        with ExitStack() as stack:
            sources: dict[str, ByteSource] = {}
            for file in files[start : start + MAX_OPEN]:
                try:
                    descriptor = open_regular(file.path.resolve())
                except OSError as error:
                    raise StoreError(f"`{file.path}` cannot be read: {error.strerror}") from error
                stack.callback(os.close, descriptor)
                sources[show_path(str(file.path.relative_to(root)))] = FileSource(descriptor, file.path)
            yield scanner.scan(sources)


def _spell(scans: list[Scan]) -> str:
    found = worst(finding for scan in scans for finding in scan.findings)
    tools = ", ".join(sorted({tool for scan in scans for tool in scan.tools}))
    if found is None:
        return f"nothing found by {tools}"
    total = sum(len(scan.findings) + scan.more for scan in scans)
    return f"{count(total, 'finding')} by {tools}, the worst of level `{found.level}`: `{found.file}` {found.meaning}"


def _is_meant(file: LaidOut, target: str) -> bool:
    return file.package == target or file.path.is_relative_to(Path(target).absolute())
