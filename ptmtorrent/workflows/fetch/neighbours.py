"""The folders of packages, of earlier fetches and of this one: none may be inside another one."""

import os
from collections.abc import Iterator
from pathlib import Path

from ptmtorrent.errors import StoreError
from ptmtorrent.state.laid_out import Ledger, PackageFolder

_Key = tuple[int, int]
"""Device and number of a folder."""


class Neighbours:
    """The folders of packages, of earlier runs by the ledger and of this one: none may be inside another one.

    Folders are compared as the disk knows them, by device and number, so that a link, a name in another case or a
    second mount of a disk leads to the same answer.

    `folds`: the disk takes names that differ in case alone for one.
    """

    def __init__(self, ledger: Ledger, *, folds: bool) -> None:
        self._ledger = ledger
        self._folds = folds
        self._there: dict[_Key, PackageFolder] = {}
        self._above: dict[_Key, list[PackageFolder]] = {}
        self._claimed: dict[str, str] = {}
        self._claimed_above: dict[str, str] = {}
        for found in ledger.folders():
            keys = _keys(Path(os.path.realpath(found.folder)))
            if (own := next(keys, None)) is not None and _key(found.folder) == own:
                self._there[own] = found
                for key in keys:
                    self._above.setdefault(key, []).append(found)

    def claim(self, real: str, folder: Path, package: str) -> None:
        """Reserve `folder`, which is `real` without links, for a package.

        Raises:
            StoreError: it is inside the folder of another package, or around it, or is that folder.
        """
        name, above = self._names(real)
        self._refuse_claimed(name, above, folder, package)
        if self._there:
            self._refuse_earlier(Path(real), folder, package)
        self._claimed[name] = package
        for place in above:
            if place in self._claimed_above:
                break  # and so are all above it
            self._claimed_above[place] = package

    def _refuse_claimed(self, name: str, above: list[str], folder: Path, package: str) -> None:
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
        inner = next(filter(self._is_there, self._above.get(key, ()) if key else ()), None)
        if inner is not None:
            raise _nested(package, folder, inner.package, f"which is in `{inner.folder}`")

    def _is_there(self, found: PackageFolder) -> bool:
        return any(os.path.lexists(file.path) for file in self._ledger.files(found.folder))

    def _names(self, real: str) -> tuple[str, list[str]]:
        """Return the name of a folder and those above it, innermost first, as the disk compares them."""
        name = real.casefold() if self._folds else real
        above: list[str] = []
        end = name.rfind("/")
        while end > 0:
            above.append(name[:end])
            end = name.rfind("/", 0, end)
        return name, above


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
