"""`verify`: hash again what lies here, files that a fetch laid out or packs of the store.

A folder is right if it is exactly one snapshot, or the part of it that was fetched: what another snapshot left there,
what no fetch wrote, and other packages inside it are named. What is damaged is reported, never changed. A file whose
bytes are wrong although its size and time are those of the ledger was damaged and not edited: the ledger stops
believing in its bytes, and the next fetch gets it again without `--force`.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from ptmtorrent.errors import NotFound, StoreError
from ptmtorrent.layouts.folders import files_below, same_content
from ptmtorrent.layouts.hf_cache import find_strangers
from ptmtorrent.model.records import Dropped, Emit, Opened, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.state.laid_out import LaidOut, Ledger, PackageFolder
from ptmtorrent.stop import ANEW_HINT, Stop

MAX_LISTED = 50
"""Paths that one fault of a package names."""


def verify(home: Home, target: str | None, *, emit: Emit, stop: Stop) -> Summary:
    """Hash the files laid out below the path `target`, of the package `target`, or all of them; a record a package.

    Raises:
        NotFound: this home laid out nothing there.
        StoreError: the ledger cannot be read.
        Interrupted: `stop` was set.
    """
    with Ledger(home.ledger) as ledger:
        known, missing = ledger.folders(), ledger.missing()
        files = [file for file in ledger.files() if target is None or _is_meant(file, target)]
        if not files and target is not None:
            raise NotFound(
                f"this home fetched no files to `{target}`", hint="check all fetched files: ptmtorrent verify"
            )
        folders = _Folders(known, files, target, missing)
        for opened in folders.origins():
            emit(opened)
        summary = _check(folders, files, ledger, emit, stop)
        for dropped in folders.dropped(ledger.dropped()):
            emit(dropped)
        return summary


def _check(folders: "_Folders", files: list[LaidOut], ledger: Ledger, emit: Emit, stop: Stop) -> Summary:
    began = time.monotonic()
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
        mine = list(laid_out)
        damaged = [file.path for file in folders.of_their_snapshot(mine) if not _is_whole(file, meter, stop)]
        for path in filter(ledger.knows, damaged):
            ledger.record_damage(path)
        faults = [f"not the bytes that were verified: {_listed(damaged)}"] if damaged else []
        faults += folders.faults(package, mine)
        failed += bool(faults)
        meter.add(packages=1)
        emit(_record(package, faults, folders.lacking(package)))
    meter.finish()
    return _summary(meter, began, files=len(files), failed=failed)


class _Folders:
    """The folders of packages, and what the ledger has of each; those partly outside `target` do not matter."""

    def __init__(
        self, known: Sequence[PackageFolder], files: Sequence[LaidOut], target: str | None, missing: Mapping[Path, str]
    ) -> None:
        self._missing = missing
        self._by_path = {found.folder: found for found in known}
        self._known = {file.path for file in files}
        self._checked = [
            found
            for found in known
            if target is None or found.package == target or found.folder.is_relative_to(Path(target).absolute())
        ]

    def lacking(self, package: str) -> dict[str, None]:
        """Return what the releases of a package's folders lack, in words."""
        mine = (found.folder for found in self._by_path.values() if found.package == package)
        return {self._missing[folder]: None for folder in mine if folder in self._missing}

    def dropped(self, known: Mapping[Path, tuple[str, str]]) -> Iterator[Dropped]:
        """Yield a record of each checked folder that is `known` to be of a package that its subset has no more."""
        for found in self._checked:
            if found.folder in known and self._has_files(found.folder):
                subset, release = known[found.folder]
                yield Dropped(package=found.package, path=str(found.folder), subset=subset, release=release)

    def origins(self) -> list[Opened]:
        """Return the releases that the checked folders were fetched from, as far as that is known."""
        return list(dict.fromkeys(found.opened for found in self._checked if found.opened is not None))

    def of_their_snapshot(self, files: Iterable[LaidOut]) -> Iterator[LaidOut]:
        """Yield the files that are of the snapshot of their folder."""
        return (file for file in files if not self._is_older(file))

    def faults(self, package: str, files: Sequence[LaidOut]) -> list[str]:
        """Return what is wrong with the folders of a package, apart from wrong bytes."""
        older = [file.path for file in files if self._is_older(file) and os.path.lexists(file.path)]
        unknown, inner = [], []
        used = {folder.folder for file in files if (folder := self._folder(file)) is not None}
        for found in self._checked:
            if found.package != package or found.folder not in used:
                continue
            inner += [
                other.folder
                for other in self._by_path.values()
                if found.folder in other.folder.parents and self._has_files(other.folder)
            ]
            if found.snapshot is not None:
                paths = (path for path in files_below(found.folder) if path not in self._known)
                unknown += [path for path in paths if not any(place in inner for place in path.parents)]
            else:
                unknown += find_strangers(found.folder, self._known)
        return [
            f"{what}: {_listed(paths)}"
            for what, paths in (
                ("left by another snapshot", older),
                ("in no snapshot of it", unknown),
                ("another package is inside it", inner),
            )
            if paths
        ]

    def _is_older(self, file: LaidOut) -> bool:
        folder = self._folder(file)
        return folder is not None and folder.snapshot is not None and folder.snapshot != file.snapshot

    def _folder(self, file: LaidOut) -> PackageFolder | None:
        found = (self._by_path.get(place) for place in file.path.parents)
        return next((folder for folder in found if folder is not None and folder.package == file.package), None)

    def _has_files(self, folder: Path) -> bool:
        return any(folder in path.parents and os.path.lexists(path) for path in self._known)


def _is_meant(file: LaidOut, target: str) -> bool:
    return file.package == target or file.path.is_relative_to(Path(target).absolute())


def _is_whole(file: LaidOut, meter: Meter, stop: Stop) -> bool:
    stop.raise_if_set("verification", hint=ANEW_HINT)
    before = meter.bytes

    def on_bytes(size: int) -> None:
        meter.add(bytes=size)
        stop.raise_if_set("verification", hint=ANEW_HINT)

    try:
        whole = same_content(file.path, file.size, file.blake3, on_bytes)
    except (StoreError, OSError):
        whole = False
    meter.add(bytes=file.size - (meter.bytes - before))
    return whole


def _record(name: str, faults: Sequence[str], missing: Iterable[str]) -> Result:
    """Return the record of a package; `missing` says what could not be had or written, no fault of the rest."""
    if faults:
        return Result(kind="package", id=name, status="error", reason="; ".join(faults))
    lacking = "".join(f"; not all files are here: {what}" for what in missing)
    return Result(kind="package", id=name, status="ok", reason=f"every byte is right{lacking}")


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - MAX_LISTED} more" if len(paths) > MAX_LISTED else ""
    return ", ".join(f"`{path}`" for path in paths[:MAX_LISTED]) + more


def _summary(meter: Meter, began: float, *, files: int, failed: int) -> Summary:
    seconds = time.monotonic() - began
    return Summary(
        packages=meter.packages,
        files=files,
        bytes=meter.bytes,
        bytes_moved=0,
        seconds=seconds,
        failed=failed,
        bytes_read=meter.bytes,
    )
