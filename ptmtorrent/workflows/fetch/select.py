"""What is wanted, file by file: which packages can be laid out, where, and what of them is here already.

Packages, files and objects are rows of columns; a file becomes a value, its `Assembly`, when an earlier run left
something of it, or when the first of its objects arrives. The documents of packages are kept as they came, on disk: a
manifest is decoded again while its files are written. One package that cannot be had is a record, never the end of the
others.
"""

import os
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from threading import RLock

import msgspec
import numpy as np

from ptmtorrent.catalogue.index import Described, Documents
from ptmtorrent.config import PROJECT_FILE
from ptmtorrent.disk.locks import LOCK_NAME
from ptmtorrent.errors import IntegrityError, Interrupted, NoSpace, PtmError, StoreError, UnsupportedFormat
from ptmtorrent.layouts.folders import Names, refuse_links, same_content, spell_refused
from ptmtorrent.layouts.port import Destination, Layout
from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, SnapshotId
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.manifest import FileEntry, Manifest, Run, spell_missing
from ptmtorrent.model.records import Status
from ptmtorrent.model.subset import wants
from ptmtorrent.model.wanted import ObjectTable
from ptmtorrent.state.laid_out import Ledger, Neighbours
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch.assembly import Assembly, Owner, Part, unfinished

_Numbered = tuple[int, FileEntry]
"""A file, and its number in the manifest."""
WANTED, HERE, FAILED = 0, 1, 2
"""The states of a file."""

OVER_SIZE = "over --max-bytes"
"""The reason of a package that does not fit into the bytes that were left."""

MANY = 8
"""Files from which on the disk is asked whether it can be synced as a whole."""
LINKED = 64
"""Packages whose links are kept."""
FEW = 64
"""Files of a package up to which all destinations are found at once."""
KEPT_FILES = 4096
"""Files whose destinations are kept, unless one package has more."""


class Order(msgspec.Struct, kw_only=True, gc=False):
    """One package to lay out. `status` is set once it is known, `pending` are files that are not here.

    The rows of its files begin with `first`; `targets` are fewer than its `files` where several have the same bytes in
    one place. `listed` are the files of its manifest, `size` the raw bytes of those that are wanted. Files that cannot
    be written where it is laid out are in `without`, by their numbers in the manifest, and `refused` says why.
    `is_new`: its folder did not exist. `is_settled`: what an earlier fetch left of it was dealt with.
    """

    package: PackageName
    snapshot: bytes
    number: int
    only: tuple[FileKind, ...]
    first: int
    targets: int
    files: int
    listed: int
    size: int
    pending: int = 0
    status: Status | None = None
    without: frozenset[int] = frozenset()
    refused: str = ""
    is_new: bool = False
    is_settled: bool = False

    @property
    def snapshot_id(self) -> SnapshotId:
        """The id of the snapshot."""
        return SnapshotId(self.snapshot.hex())

    @property
    def rows(self) -> range:
        """The rows of its files."""
        return range(self.first, self.first + self.targets)


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A package that will not be laid out by this run, and why."""

    package: PackageName
    status: Status
    reason: str
    error: PtmError | None = None


class Selection:
    """All orders of a run, their files, and the objects in these.

    `documents` keeps what the files are written from later; without it, nothing can be written.
    """

    def __init__(
        self,
        layout: Layout,
        neighbours: Neighbours,
        *,
        force: bool = False,
        documents: Documents | None = None,
        names: Names | None = None,
    ) -> None:
        """`names` are those that the disk takes. `force` replaces files of the user's."""
        self._layout = layout
        self._neighbours = neighbours
        self.force = force
        self.folds = neighbours.folds
        self._documents = documents
        self._names = names or Names(None)
        self._root = os.path.realpath(layout.root)
        self._left = _names_in(layout.incoming())
        self._lock = RLock()
        self._order_of = array("I")
        self._entry_of = array("I")
        self._state = bytearray()
        self._sizes = array("Q")
        self._parts = array("Q", [0])
        self._live: dict[int, Assembly] = {}
        self._destinations_of: OrderedDict[int, dict[int, tuple[FileEntry, Destination]]] = OrderedDict()
        self._kept_files = 0
        self._links_of: OrderedDict[int, dict[Path, list[Path]]] = OrderedDict()
        self.orders: list[Order] = []
        self.objects = ObjectTable()
        self.settings: list[tuple[PackageName, str]] = []
        """Packages with a file that this program would read settings from, if it were started beside it."""
        self.modes: list[int] = []
        """The rows of files that are here, and are executable although they should not be, or the other way round."""
        self.missing: dict[PackageName, str] = {}
        """Packages with wanted files that were not captured, and which."""

    @property
    def live(self) -> list[Assembly]:
        """The files that exist as values: earlier runs left something of them, objects arrived, or they failed."""
        with self._lock:
            return list(self._live.values())

    @property
    def has_any(self) -> bool:
        """Whether any file, or a part of one, is here."""
        return bool(self._live) or HERE in self._state

    @property
    def has_many(self) -> bool:
        """Whether the files are enough to be worth being synced together."""
        return len(self._state) > MANY

    @property
    def found_unfinished(self) -> bool:
        """Whether earlier runs left anything unfinished."""
        return bool(self._left)

    @property
    def packs(self) -> set[PackId]:
        """Every pack that holds anything of what is wanted, here already or not."""
        return set(self.objects.packs)

    @property
    def unfinished_bytes(self) -> int:
        """Bytes that the unfinished files still take on disk."""
        sizes = np.frombuffer(self._sizes, "u8")[self._states() == WANTED] if self._state else np.empty(0, "u8")
        return int(sizes.sum()) - sum(file.allocated for file in self.live if not file.here and file.error is None)

    def order_of(self, file: Assembly) -> Order:
        """Return the package that `file` is in."""
        return self.orders[self._order_of[file.row]]

    def manifest(self, order: Order) -> Manifest:
        """Return the manifest of a package.

        Raises:
            StoreError, IntegrityError: it cannot be read back.
        """
        if self._documents is None:
            raise StoreError("what packages are written from was not kept", hint="run the same command again")
        return self._documents.manifest(order.number)

    def files_of(self, order: Order) -> tuple[FileEntry, ...]:
        """Return the files of a package that are wanted."""
        return tuple(file for _, file in _choose_files(self.manifest(order), order.only, order.without))

    def rows(self, state: int) -> list[int]:
        """Return the rows of the files in a state."""
        return np.flatnonzero(self._states() == state).tolist() if self._state else []

    def assembly(self, row: int) -> Assembly:
        """Return the file in a row, which is kept until it is settled, unless it is here already.

        Raises:
            StoreError, IntegrityError: its manifest cannot be read back.
        """
        with self._lock:
            if (known := self._live.get(row)) is not None:
                return known
            order = self.orders[self._order_of[row]]
            made = self._make(order, self.manifest(order), row)
            made.here = self._state[row] == HERE
            if not made.here:
                self._live[row] = made
            return made

    def place_of(self, part: int) -> tuple[int, int]:
        """Return the row of the file that has a row of the objects, and the number of that part in it."""
        row = bisect_right(self._parts, part) - 1
        return row, part - self._parts[row]

    def settle(self, file: Assembly) -> None:
        """Record that a file is finished, or failed."""
        with self._lock:
            self._state[file.row] = HERE if file.error is None else FAILED
            if file.error is None:
                self._live.pop(file.row, None)
            else:
                self._live[file.row] = file

    def complete(self) -> Iterator[Assembly]:
        """Yield the unfinished files that lack no object, empty ones among them, of packages that can be laid out."""
        for row in np.flatnonzero(self._can_be_written()).tolist():
            known = self._live.get(row)
            if (known is not None and not known.missing) or not self._sizes[row]:
                yield self.assembly(row)

    def error_of(self, order: Order) -> PtmError | None:
        """Return why a file of a package cannot be laid out."""
        failed = (self._live[row] for row in order.rows if self._state[row] == FAILED)
        return next((file.error for file in failed if file.error), None)

    def lacking(self) -> Numbers:
        """Return the rows of the objects that unfinished files lack, of packages that can be laid out."""
        if not len(self.objects):
            return np.empty(0, "u4")
        parts = np.diff(np.frombuffer(self._parts, "u8")).astype("i8")
        wanted = self._can_be_written()
        rows = np.repeat(wanted, parts) & (self.objects.objects.array("size") > 0)
        for file in self.live:
            first = self._parts[file.row]
            if wanted[file.row]:
                rows[first : first + len(file.parts)] = False
                rows[[first + number for number in file.missing]] = True
        return np.flatnonzero(rows).astype("u4")

    def lacking_of(self, order: Order) -> Iterator[ObjectId]:
        """Yield the objects that the files of one package lack."""
        for row in order.rows:
            if self._state[row] == WANTED and (file := self._live.get(row)) is not None:
                yield from (file.parts[number][0] for number in file.missing)
            elif self._state[row] == WANTED:
                yield from map(self.objects.objects.id, range(self._parts[row], self._parts[row + 1]))

    def present(self) -> Iterator[tuple[int, int]]:
        """Yield each part that a file has, finished or not, as the row of the file and the number of the part."""
        for row in self.rows(HERE):
            yield from ((row, number) for number in range(self._parts[row + 1] - self._parts[row]))
        for file in self.live:
            if file.error is None:
                numbers = range(len(file.parts))
                yield from ((file.row, n) for n in numbers if n in file.in_target or n not in file.missing)

    def id_of(self, row: int, number: int) -> ObjectId:
        """Return the object that is a part of a file."""
        return self.objects.objects.id(self._parts[row] + number)

    def add(  # a package, and what is here
        self,
        described: Described,
        manifest: Manifest,
        files: list[tuple[int, FileEntry]],
        ledger: Ledger,
        stop: Stop,
    ) -> Order:
        """Take some files of a package in, by their numbers in the manifest, and find out what of them is here.

        Raises:
            UnsupportedFormat: it holds something that this layout or version cannot lay out.
            StoreError: two of its files want one place, or the package would be inside another one.
            Interrupted: `stop` was set.
        """
        member = described.member
        refused = self._names.refused(((number, file.name) for number, file in files), folds=self.folds)
        files = [(number, file) for number, file in files if number not in refused]
        targets = self._targets(manifest, files)
        folder = self._layout.folder(manifest)
        is_there = refuse_links(self._layout.root, folder)
        real = self._root + str(folder)[len(str(self._layout.root)) :]
        self._neighbours.claim(real, folder, member.package)
        if described.placement is None:
            raise IntegrityError(f"`{member.package}` has no placement")
        chosen = [manifest.files[number] for number in targets]
        self.objects.add(manifest, described.placement, _runs(chosen))
        order = Order(
            package=member.package,
            snapshot=bytes.fromhex(member.row.snapshot),
            number=len(self.orders),
            only=member.only,
            first=len(self._state),
            targets=len(targets),
            files=len(files),
            listed=len(manifest.files) + len(manifest.missing),
            size=sum(file.size for _, file in files),
            pending=len(targets),
            without=frozenset(refused),
            refused=spell_refused(refused.values()),
            is_new=not is_there,
        )
        self._append(order, targets, manifest)
        self.settings += [(order.package, file.name) for _, file in files if _is_settings(file)][:1]
        if missing := [file for file in manifest.missing if wants(member.only, file)]:
            self.missing[order.package] = spell_missing(missing)
        if self._documents is not None:
            self._documents.add(described)
        if is_there or self._left:
            self._examine(order, manifest, ledger, stop)
        return order

    def _append(self, order: Order, targets: list[int], manifest: Manifest) -> None:
        self.orders.append(order)
        end = self._parts[-1]
        for number in targets:
            file = manifest.files[number]
            end += sum(rows for _, rows in file.recipe)
            self._order_of.append(order.number)
            self._entry_of.append(number)
            self._sizes.append(file.size)
            self._parts.append(end)
        self._state += bytes(len(targets))

    def _targets(self, manifest: Manifest, files: list[tuple[int, FileEntry]]) -> list[int]:
        """Return the files of a manifest that lie in different places, the first of each place."""
        places: dict[str, int] = {}
        for number, file in files:
            place = self._layout.place(manifest, file)
            first = manifest.files[places.setdefault(place, number)]
            if first.blake3 != file.blake3:
                target = self._layout.destination(manifest, file).target
                raise StoreError(f"`{target}` is wanted for another file too, with other bytes")
        return list(places.values())

    def _examine(self, order: Order, manifest: Manifest, ledger: Ledger, stop: Stop) -> None:
        """Find out what of a package earlier runs left: only files of which there is something are kept as values."""
        folder = self._layout.folder(manifest)
        _record_announced(folder, ledger)
        makes_way = None if self._layout.keeps_snapshots else folder
        owner = Owner(ledger=ledger, folder=makes_way, force=self.force, folds=self.folds)
        for row in order.rows:
            if stop.is_set():
                stop.raise_if_set("checking files that are already here")
            file = self._make(order, manifest, row)
            file.examine(owner, order.package, order.snapshot_id)
            if file.here:
                self._state[row] = HERE
                order.pending -= 1
                if file.has_wrong_mode:
                    self.modes.append(row)
            elif file.error is not None:
                self._state[row] = FAILED
            if file.error is not None or (not file.here and file.is_begun):
                self._live[row] = file

    def _make(self, order: Order, manifest: Manifest, row: int) -> Assembly:
        number = self._entry_of[row]
        if order.number in self._destinations_of or order.files <= FEW:
            file, destination = self.destinations(order, manifest)[number]
        else:  # objects of large packages may alternate: all of one would be found anew for each
            file = manifest.files[number]
            destination = self._layout.destination(manifest, file)
        incoming = unfinished(self._layout, destination.target, file.blake3)
        made = Assembly(row, destination, file, lambda: tuple(_parts(manifest, file)), incoming)
        if order.files > order.targets:
            for link in self._links(order, manifest).get(destination.target, ()):
                made.add_link(link)
        return made

    def destinations(self, order: Order, manifest: Manifest) -> dict[int, tuple[FileEntry, Destination]]:
        """Return the wanted files of a package and their destinations, by number; those of a few packages are kept."""
        if (known := self._destinations_of.get(order.number)) is None:
            files = _choose_files(manifest, order.only, order.without)
            known = {number: (file, self._layout.destination(manifest, file)) for number, file in files}
            self._destinations_of[order.number] = known
            self._kept_files += len(known)
            while self._kept_files > KEPT_FILES and len(self._destinations_of) > 1:
                self._kept_files -= len(self._destinations_of.popitem(last=False)[1])
        return known

    def _links(self, order: Order, manifest: Manifest) -> dict[Path, list[Path]]:
        """Return the links to each target of a package; those of a few are kept, because packages share objects."""
        if (links := self._links_of.pop(order.number, None)) is None:
            links = {}
            for _, destination in self.destinations(order, manifest).values():
                if destination.link:
                    links.setdefault(destination.target, []).append(destination.link)
        self._links_of[order.number] = links
        if len(self._links_of) > LINKED:
            self._links_of.popitem(last=False)
        return links

    def _can_be_written(self) -> Numbers:
        """Return whether each file is wanted, and no file of its package failed."""
        if not self._state:
            return np.empty(0, "?")
        orders = np.frombuffer(bytes(self._order_of), "u4")
        failed = orders[self._states() == FAILED]
        can: Numbers = (self._states() == WANTED) & ~np.isin(orders, failed)
        return can

    def _states(self) -> Numbers:
        return np.frombuffer(bytes(self._state), "u1")


def select_packages(  # what is described, and what it is selected with
    described: Iterable[Described], wanted: Selection, max_bytes: int | None, ledger: Ledger, stop: Stop
) -> Iterator[Refused]:
    """Fill `wanted`, in order, with what fits into `max_bytes` of raw files; yield what is not taken."""
    total = 0
    for item in described:
        if stop.is_set():
            stop.raise_if_set("planning the fetch")
        package = item.member.package
        if item.manifest is None or item.placement is None:
            yield _refused(package, item.error or IntegrityError(f"`{package}` could not be read"))
            continue
        only = item.member.only
        files = _choose_files(item.manifest, only)
        size = sum(file.size for _, file in files)
        if max_bytes is not None and total + size > max_bytes:
            yield Refused(package=package, status="notneeded", reason=OVER_SIZE)
            continue
        try:
            wanted.add(item, item.manifest, files, ledger, stop)
        except (Interrupted, NoSpace):
            raise
        except PtmError as error:
            yield _refused(package, error)
            continue
        total += size


def _record_announced(folder: Path, ledger: Ledger) -> None:
    """Record what a killed fetch wrote below a folder and did not record."""
    for file in ledger.announced(folder):
        if not ledger.knows(file.path) and same_content(file.path, file.size, file.blake3):
            ledger.record(file.path, blake3=file.blake3, package=file.package, snapshot=file.snapshot)


def _names_in(folder: Path) -> frozenset[str]:
    """Return the names in a folder but that of its lock; none if it cannot be read."""
    try:
        return frozenset(os.listdir(folder)) - {LOCK_NAME}  # noqa: PTH208  # of many names
    except OSError:
        return frozenset()


def _is_settings(file: FileEntry) -> bool:
    return file.name.rpartition("/")[2].casefold() == PROJECT_FILE


def _runs(files: Iterable[FileEntry]) -> list[Run]:
    """Return the recipes of `files`, one after another; runs that follow one another are joined."""
    runs: list[Run] = []
    for first, rows in chain.from_iterable(file.recipe for file in files):
        if runs and sum(runs[-1]) == first:
            runs[-1] = runs[-1][0], runs[-1][1] + rows
        else:
            runs.append((first, rows))
    return runs


def _parts(manifest: Manifest, file: FileEntry) -> Iterator[Part]:
    offset = 0
    for row in manifest.objects_of(file.recipe):
        identifier, size = manifest.objects[row]
        yield ObjectId(identifier), offset, size
        offset += size


def _refused(package: PackageName, error: PtmError) -> Refused:
    impossible = isinstance(error, UnsupportedFormat)
    return Refused(package=package, status="impossible" if impossible else "error", reason=error.message, error=error)


def _choose_files(manifest: Manifest, only: tuple[FileKind, ...], without: Collection[int] = ()) -> list[_Numbered]:
    """Return the files of the kinds `only`, or all, with their numbers in the manifest, but those `without`."""
    numbered = enumerate(manifest.files)
    return [(number, file) for number, file in numbered if number not in without and (not only or wants(only, file))]
