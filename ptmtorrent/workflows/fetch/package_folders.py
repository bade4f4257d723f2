"""The folders of packages: none is inside another one, and each has one snapshot.

Folders are compared as the disk knows them, by device and number, so that a link, a name in another case or a second
mount of a disk leads to the same answer. They are those of this run and of earlier ones, whichever channels they are
from.

When a package is laid out at another snapshot than before, files that a fetch wrote, that nothing changed since and
that the newer snapshot lacks are removed, once all of the newer snapshot is there. Everything else is kept and named.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import StoreError
from ptmtorrent.layouts.folders import files_below
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.text import count
from ptmtorrent.state.laid_out import LaidOut, Ledger, PackageFolder

_Key = tuple[int, int]


class Neighbours:
    """Where packages are: those that the ledger knows, and those that this run has claimed a folder for.

    `folds`: the disk takes names that differ in case alone for one.
    """

    def __init__(self, ledger: Ledger, *, folds: bool) -> None:
        self._ledger = ledger
        self._folds = folds
        self._there: dict[_Key, PackageFolder] = {}
        self._above: dict[_Key, PackageFolder] = {}
        self._claimed: dict[str, str] = {}
        self._claimed_above: dict[str, str] = {}
        for found in ledger.folders():
            keys = _keys(Path(os.path.realpath(found.folder)))
            if (own := next(keys, None)) is not None and _key(found.folder) == own:
                self._there[own] = found
                self._above.update(dict.fromkeys(keys, found))

    def claim(self, folder: Path, package: str) -> None:
        """Reserve `folder` for a package.

        Raises:
            StoreError: it is inside the folder of another package, or around it, or is that folder.
        """
        real = Path(os.path.realpath(folder))
        self._refuse_claimed(real, folder, package)
        self._refuse_earlier(real, folder, package)
        name, *above = self._names(real)
        self._claimed[name] = package
        self._claimed_above.update(dict.fromkeys(above, package))

    def _refuse_claimed(self, real: Path, folder: Path, package: str) -> None:
        name, *above = self._names(real)
        other = next((self._claimed[place] for place in above if place in self._claimed), None)
        other = other or self._claimed_above.get(name)
        if other is None and self._claimed.get(name, package) != package:
            other = self._claimed[name]
        if other is not None:
            raise _nested(package, folder, other, "which this run lays out")

    def _refuse_earlier(self, real: Path, folder: Path, package: str) -> None:
        for place, key in ((place, _key(place)) for place in (real, *real.parents)):
            found = self._there.get(key) if key else None
            if found is not None and (place != real or found.package != package) and self._is_there(found):
                raise _nested(package, folder, found.package, f"which is in `{found.folder}`")
        key = _key(real)
        inner = self._above.get(key) if key else None
        if inner is not None and self._is_there(inner):
            raise _nested(package, folder, inner.package, f"which is in `{inner.folder}`")

    def _is_there(self, found: PackageFolder) -> bool:
        return any(os.path.lexists(file.path) for file in self._ledger.files(found.folder))

    def _names(self, real: Path) -> list[str]:
        """Return the names of a folder and of those above it, as the disk compares them."""
        places = [str(place) for place in (real, *real.parents)]
        return [place.casefold() for place in places] if self._folds else places


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """A package's folder after a fetch: what is left of older snapshots, and what no fetch wrote."""

    older: list[LaidOut]
    unknown: list[Path]
    whole: bool


def settle_folder(folder: PackageFolder, names: Mapping[Path, str], ledger: Ledger, emit: Emit) -> None:
    """Record that a folder holds its snapshot, whose files and hashes are `names`; remove or name what that lacks.

    Raises:
        StoreError: the folder or the ledger cannot be read.
    """
    several = folder.snapshot is None
    ledger.belongs(folder, {} if several else names)
    if several:
        return
    found = _look(folder, names, ledger)
    removed: list[Path] = []
    if found.whole:
        removed = [file.path for file in found.older if file.path not in names and _remove(file, folder.folder, ledger)]
    kept = [file.path for file in found.older if file.path not in removed]
    if removed:
        emit(Note(message=f"`{folder.package}`: removed what its new snapshot lacks: {_listed(removed)}"))
    if kept:
        then = "move it away" if found.whole else "fetch the package without `--only` to replace it"
        message = f"`{folder.package}`: kept, although another snapshot left it: {_listed(kept)}; {then}"
        emit(Note(message=message, warning=True))
    if found.unknown:
        message = f"`{folder.package}`: no snapshot of it has {_listed(found.unknown)}; move it away"
        emit(Note(message=message, warning=True))


def _nested(package: str, folder: Path, other: str, where: str) -> StoreError:
    return StoreError(
        f"`{package}` is not laid out in `{folder}`: one of this folder and that of `{other}`, {where}, is inside the"
        " other; lay it out elsewhere with `--to`"
    )


def _keys(real: Path) -> Iterator[_Key]:
    return (key for place in (real, *real.parents) if (key := _key(place)) is not None)


def _key(place: Path) -> _Key | None:
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _look(folder: PackageFolder, names: Mapping[Path, str], ledger: Ledger) -> _Found:
    rows = ledger.files(folder.folder)
    known = {row.path for row in rows}
    whole = {row.path for row in rows if names.get(row.path) == row.blake3} == set(names)
    older = [row for row in rows if row.snapshot != folder.snapshot and os.path.lexists(row.path)]
    unknown = [path for path in files_below(folder.folder) if path not in known and path not in names]
    return _Found(older=older, unknown=unknown, whole=whole)


def _remove(file: LaidOut, folder: Path, ledger: Ledger) -> bool:
    """Remove an unchanged file and the folders that it leaves empty; return whether it was removed."""
    inside = file.path.parent.relative_to(folder)
    if not ledger.knows(file.path) or os.path.realpath(file.path.parent) != os.path.join(  # noqa: PTH118  # as text
        os.path.realpath(folder), *inside.parts
    ):
        return False
    with disk_errors(file.path):
        file.path.unlink()
    ledger.forget(file.path)
    for parent in [folder.joinpath(*inside.parts[:depth]) for depth in range(len(inside.parts), 0, -1)]:
        try:
            parent.rmdir()
        except OSError:
            break
    return True


def _listed(paths: Iterable[Path]) -> str:
    first, *others = paths
    return f"`{first}`" + (f" (and {count(len(others), 'more', 'more')})" if others else "")
