"""`verify`: hash again what lies here, files that a fetch laid out or packs of the store.

What is damaged is reported, never changed; a damaged file only loses its time of change, so that the next fetch does
not believe the ledger and gets it again.
"""

import os
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from blake3 import blake3

from ptmtorrent.errors import NotFound, StoreError
from ptmtorrent.layouts.folders import read_link, same_file
from ptmtorrent.model.names import path_bytes
from ptmtorrent.model.records import Emit, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.state.laid_out import LaidOut, Ledger
from ptmtorrent.stop import Stop


def verify(home: Home, target: str | None, *, emit: Emit, stop: Stop) -> Summary:
    """Hash the files laid out below the path `target`, of the package `target`, or all of them; a record a package.

    Raises:
        NotFound: this home laid out nothing there.
        StoreError: the ledger cannot be read.
        Interrupted: `stop` was set.
    """
    began = time.monotonic()
    with Ledger(home.ledger) as ledger:
        files = [file for file in ledger.files() if target is None or _is_meant(file, target)]
    if not files and target is not None:
        raise NotFound(f"nothing was laid out at `{target}` from this home", hint="see what was: ptmtorrent verify")
    files.sort(key=lambda file: (file.package, file.path))
    meter = new_meter(
        "verify",
        emit,
        time.monotonic,
        bytes_total=sum(file.size for file in files),
        packages_total=len({f.package for f in files}),
    )
    failed = 0
    for package, laid_out in groupby(files, key=lambda file: file.package):
        damaged = [file.path for file in laid_out if not _is_whole(file, meter, stop)]
        failed += bool(damaged)
        meter.add(packages=1)
        emit(_record(package, damaged))
    meter.finish()
    return _summary(meter, began, files=len(files), failed=failed)


def _is_meant(file: LaidOut, target: str) -> bool:
    return file.package == target or file.path.is_relative_to(Path(target).absolute())


def _is_whole(file: LaidOut, meter: Meter, stop: Stop) -> bool:
    stop.raise_if_set("verification")
    try:
        text = read_link(file.path)
        if text is not None:
            whole = blake3(path_bytes(text)).hexdigest() == file.blake3
        else:
            whole = file.path.is_file() and same_file(file.path, file.size, file.blake3)
        if not whole and os.path.lexists(file.path):
            os.utime(file.path, follow_symlinks=False)
    except (StoreError, OSError):
        whole = False
    meter.add(bytes=file.size)
    return whole


def _record(name: str, damaged: Iterable[Path]) -> Result:
    places = ", ".join(f"`{path}`" for path in damaged)
    if places:
        return Result(kind="package", id=name, status="error", reason=f"not the bytes that were verified: {places}")
    return Result(kind="package", id=name, status="ok", reason="every byte is right")


def _summary(meter: Meter, began: float, *, files: int, failed: int) -> Summary:
    seconds = time.monotonic() - began
    return Summary(
        packages=meter.packages, files=files, bytes=meter.bytes, bytes_moved=0, seconds=seconds, failed=failed
    )
