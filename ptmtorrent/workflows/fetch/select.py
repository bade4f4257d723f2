"""What is wanted, file by file: which packages can be laid out, where, and what of them is here already.

One package that cannot be had is a record, never the end of the others.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.catalogue.index import Described
from ptmtorrent.errors import IntegrityError, PtmError, StoreError, UnsupportedFormat
from ptmtorrent.layouts.folders import refuse_links
from ptmtorrent.layouts.port import Destination, Layout
from ptmtorrent.model.ids import ObjectId, PackageName, PackId
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.manifest import FileEntry, Manifest
from ptmtorrent.model.placement import NO_BASE, Placement, Spot
from ptmtorrent.model.plan import WantedObject
from ptmtorrent.model.records import Status
from ptmtorrent.model.subset import wants
from ptmtorrent.state.laid_out import Ledger, PackageFolder
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch.assemble import Assembly, Part

_Key = tuple[int, int]
"""Device and number of a folder."""


class Order(msgspec.Struct, kw_only=True):
    """One package to lay out: its files, each with the assembly that makes it. `status` is set once it is known."""

    package: PackageName
    manifest: Manifest
    placement: Placement
    files: tuple[FileEntry, ...]
    assemblies: tuple[Assembly, ...] = ()
    pending: int = 0
    status: Status | None = None

    @property
    def size(self) -> int:
        """Raw bytes of the wanted files."""
        return sum(file.size for file in self.files)


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A package that will not be laid out by this run, and why."""

    package: PackageName
    status: Status
    reason: str
    error: PtmError | None = None


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
        inner = next(filter(self._is_there, self._above.get(key, ()) if key else ()), None)
        if inner is not None:
            raise _nested(package, folder, inner.package, f"which is in `{inner.folder}`")

    def _is_there(self, found: PackageFolder) -> bool:
        return any(os.path.lexists(file.path) for file in self._ledger.files(found.folder))

    def _names(self, real: Path) -> list[str]:
        """Return the names of a folder and of those above it, as the disk compares them."""
        places = [str(place) for place in (real, *real.parents)]
        return [place.casefold() for place in places] if self._folds else places


class Selection:
    """All orders of a run and the files they share; two packages may want one file (an HF blob, say)."""

    def __init__(self, layout: Layout, neighbours: Neighbours, *, folds: bool = False) -> None:
        """`folds`: the disk takes names that differ in case alone for one."""
        self._layout = layout
        self._neighbours = neighbours
        self._folds = folds
        self._folded: dict[str, Path] = {}
        self.orders: list[Order] = []
        self.assemblies: dict[Path, Assembly] = {}

    @property
    def unfinished(self) -> list[Assembly]:
        """The files that are still to be made, and can be."""
        return [file for file in self.assemblies.values() if not file.here and file.error is None]

    @property
    def packs(self) -> set[PackId]:
        """Every pack that holds anything of what is wanted, here already or not."""
        return {pack for order in self.orders for pack, _ in order.placement.packs}

    def add(self, order: Order) -> None:
        """Take an order in.

        Raises:
            UnsupportedFormat: it holds something that this layout or version cannot lay out.
            StoreError: a file wants a place where another package has a different one, or the package would be inside
                another one.
        """
        destinations = [self._destination(order, file) for file in order.files]
        folded = self._fold(destinations) if self._folds else {}
        fresh = {
            destination.target: self._assembly(order.manifest, file, destination)
            for file, destination in zip(order.files, destinations, strict=True)
            if destination.target not in self.assemblies
        }
        folder = self._layout.folder(order.manifest)
        refuse_links(self._layout.root, folder)
        self._neighbours.claim(folder, order.package)
        self.assemblies.update(fresh)
        order.assemblies = tuple(self.assemblies[destination.target] for destination in destinations)
        for destination, assembly in zip(destinations, order.assemblies, strict=True):
            if destination.link:
                assembly.add_link(destination.link)
        self._folded.update(folded)
        self.orders.append(order)

    def _destination(self, order: Order, file: FileEntry) -> Destination:
        destination = self._layout.destination(order.manifest, file)
        there = self.assemblies.get(destination.target)
        if there is not None and there.blake3 != file.blake3:
            raise StoreError(f"`{destination.target}` is wanted by another package too, with other bytes")
        return destination

    def _fold(self, destinations: list[Destination]) -> dict[str, Path]:
        """Refuse places that would be one on a disk that ignores case; return them by their folded names."""
        folded: dict[str, Path] = {}
        for place in (destination.link or destination.target for destination in destinations):
            key = str(place).casefold()
            if folded.setdefault(key, self._folded.get(key, place)) != place:
                raise UnsupportedFormat(f"`{place}` differs in case alone from another file, and the disk ignores case")
        return folded

    def _assembly(self, manifest: Manifest, file: FileEntry, destination: Destination) -> Assembly:
        place = destination.target.relative_to(self._layout.root).as_posix()
        name = blake3(f"{place}\0{file.blake3}".encode(errors="surrogateescape")).hexdigest(length=20)
        return Assembly(
            destination, file.size, file.blake3, tuple(_parts(manifest, file)), self._layout.incoming() / name
        )


def select_packages(
    described: Iterable[Described], wanted: Selection, max_bytes: int | None, stop: Stop
) -> Iterator[Refused]:
    """Fill `wanted`, in order, until `max_bytes` of raw files would be exceeded; yield what is not taken."""
    total, full = 0, False
    for item in described:
        stop.raise_if_set("planning the fetch")
        package = item.member.content.package
        if item.manifest is None or item.placement is None:
            yield _refused(package, item.error or IntegrityError(f"`{package}` could not be read"))
            continue
        order = Order(
            package=package,
            manifest=item.manifest,
            placement=item.placement,
            files=_choose_files(item.manifest, item.member.only),
        )
        full = full or (max_bytes is not None and total + order.size > max_bytes)
        if full:
            yield Refused(package=package, status="notneeded", reason="over --max-bytes")
            continue
        try:
            wanted.add(order)
        except PtmError as error:
            yield _refused(package, error)
            continue
        total += order.size


def find_present(wanted: Selection, ledger: Ledger, stop: Stop) -> None:
    """Find out what is here: files written before, and the right parts of unfinished ones."""
    for order in wanted.orders:
        for assembly in order.assemblies:
            stop.raise_if_set("checking files that are already here")
            assembly.examine(ledger, order.package, order.placement.snapshot)
        order.pending = sum(1 for assembly in set(order.assemblies) if not assembly.here)


def missing_objects(wanted: Selection) -> Iterator[WantedObject]:
    """Yield the objects that unfinished files lack, with where they lie; an object may come more than once."""
    for placement, identifier, size, spot in _missing(wanted):
        base = placement.bases[spot[4]][0] if spot[4] != NO_BASE else None
        yield WantedObject(id=identifier, size=size, at=placement.location(spot), base=base)


def needed_bases(wanted: Selection) -> Iterator[WantedObject]:
    """Yield the bases of the deltas that unfinished files lack, with where they lie; a base may come more than once."""
    for placement, _, _, spot in _missing(wanted):
        if spot[4] != NO_BASE:
            identifier, size, at = placement.bases[spot[4]]
            yield WantedObject(id=identifier, size=size, at=placement.location(at))


def _missing(wanted: Selection) -> Iterator[tuple[Placement, ObjectId, int, Spot]]:
    for order in wanted.orders:
        if any(assembly.error for assembly in order.assemblies):
            continue
        rows = {identifier: row for row, (identifier, _) in enumerate(order.manifest.objects)}
        for assembly in order.assemblies:
            for number in () if assembly.here else assembly.missing:
                identifier, _, size = assembly.parts[number]
                if identifier not in rows:
                    continue  # the file is shared, and this package cuts it otherwise: the other one asks for it
                yield order.placement, identifier, size, order.placement.objects[rows[identifier]]


def _parts(manifest: Manifest, file: FileEntry) -> Iterator[Part]:
    offset = 0
    for row in manifest.objects_of(file.recipe):
        identifier, size = manifest.objects[row]
        yield ObjectId(identifier), offset, size
        offset += size


def _refused(package: PackageName, error: PtmError) -> Refused:
    impossible = isinstance(error, UnsupportedFormat)
    return Refused(package=package, status="impossible" if impossible else "error", reason=error.message, error=error)


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


def _choose_files(manifest: Manifest, only: tuple[FileKind, ...]) -> tuple[FileEntry, ...]:
    return tuple(file for file in manifest.files if wants(only, file)) if only else manifest.files
