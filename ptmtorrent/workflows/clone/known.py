"""What the store holds of each package, and which of it the files of a package are likely later versions of.

The newest captures are read once into a temporary table, and updated with each capture. Folders of one name that lie at
different places are two packages, told apart before anything is captured.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ptmtorrent.errors import PtmError, UsageError
from ptmtorrent.hubs.port import Listed
from ptmtorrent.model.ids import ObjectId, PackageName, SnapshotId
from ptmtorrent.model.manifest import Identity, Manifest, MissingFile, Rights, decode_manifest
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.text import count
from ptmtorrent.state.clone_journal import Journal, Run
from ptmtorrent.state.clone_outcomes import NewestCaptures
from ptmtorrent.state.places import Places
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.store.stored_file import StoredFile, file_in
from ptmtorrent.workflows.clone.manifest import Weights, is_weights

_MAX_REMEMBERED = 16
_BLOCK = 512


class KnownPackages:
    """The newest capture of every package in `store`; without a store, nothing is known.

    Packages are found by name. When a name was registered again for another package, the bases found by it do not fit,
    which only costs compression.
    """

    def __init__(self, store: Store | None) -> None:
        self._read: Callable[[ObjectId], bytes] | None = None if store is None else store.read
        self._newest = NewestCaptures(() if store is None else store.newest_captures())
        self._weights: dict[SnapshotId, Weights] = {}
        self._last: tuple[SnapshotId, Manifest] | None = None

    def close(self) -> None:
        """Delete the temporary table."""
        self._newest.close()

    def add(self, package: PackageName, snapshot: SnapshotId, rights: Rights) -> None:
        """Record that `package` was captured."""
        self._newest.add(package, snapshot, rights)

    def holds(  # noqa: PLR0913  # what a capture must have
        self,
        package: PackageName,
        commit: str,
        answers: frozenset[str] = frozenset(),
        *,
        hub_id: str | None = None,
        rights: Rights = "open",
        missing: tuple[MissingFile, ...] = (),
    ) -> bool:
        """Return whether the newest capture of `package` is of this commit and has these answers of the hub.

        It must have every file but those that are `missing`, so that files that could not be had are tried again.
        A capture with another hub id than `hub_id` is of another package, whatever its commit. A capture made when
        more was allowed than `rights` has to be made again, which moves no byte.
        """
        if RIGHTS.index(rights) > RIGHTS.index(self.rights(package) or "open"):
            return False
        manifest = self._manifest(package)
        if manifest is None or manifest.package.commit != commit or manifest.missing != missing:
            return False
        if None not in {hub_id, manifest.package.hub_id} and manifest.package.hub_id != hub_id:
            return False
        return answers <= {answer.name for answer in manifest.raw}

    def rights(self, package: PackageName) -> Rights | None:
        """Return the rights of the newest capture of the package; None if there is none."""
        found = self._newest.get(package)
        return None if found is None else found[1]

    def snapshot(self, package: PackageName) -> SnapshotId | None:
        """Return the snapshot of the newest capture of the package; None if there is none."""
        found = self._newest.get(package)
        return None if found is None else found[0]

    def snapshots(self, prefix: str, names: Iterable[str]) -> dict[str, SnapshotId]:
        """Return the snapshots of the newest captures of packages of one hub, by their names there."""
        found = self._newest.snapshots(PackageName(f"{prefix}:{name}") for name in names)
        return {package[len(prefix) + 1 :]: snapshot for package, snapshot in found.items()}

    def identity(self, package: PackageName) -> Identity | None:
        """Return the identity of the package at its newest capture."""
        manifest = self._manifest(package)
        return manifest.package if manifest is not None else None

    def weights(self, package: PackageName) -> Weights:
        """Return the weights files of the newest capture; empty if there is no capture or it cannot be read."""
        snapshot = self.snapshot(package)
        if snapshot is None:
            return ()
        if snapshot not in self._weights:
            if len(self._weights) >= _MAX_REMEMBERED:
                self._weights.clear()
            self._weights[snapshot] = self._read_weights(package)
        return self._weights[snapshot]

    def _read_weights(self, package: PackageName) -> Weights:
        with suppress(PtmError):
            if (manifest := self._manifest(package)) is not None:
                files = (file for file in manifest.files if is_weights(file.name, file.size))
                return tuple((file.name, file_in(manifest, file)) for file in files)
        return ()

    def _manifest(self, package: PackageName) -> Manifest | None:
        snapshot = self.snapshot(package)
        if snapshot is None or self._read is None:
            return None
        if self._last is None or self._last[0] != snapshot:
            self._last = (snapshot, decode_manifest(self._read(ObjectId(snapshot)), snapshot))
        return self._last[1]


class CapturedPlaces:
    """Compares where listed folders lie with where the captured packages of their names do.

    They are kept in `file`, which is opened when the first folder is listed and created if the run `writes`. With
    `named`, the user gave the name, so that a package of that name moves to the folder.
    """

    def __init__(  # noqa: PLR0913  # what is compared
        self, file: Path, known: KnownPackages, prefix: str, emit: Emit, *, named: bool, writes: bool
    ) -> None:
        self._file, self._known, self._prefix, self._emit = file, known, prefix, emit
        self._named, self._writes = named, writes
        self._open: Places | None = None

    @property
    def _places(self) -> Places:
        if self._open is None:
            self._open = Places(self._file if self._writes or self._file.is_file() else None)
        return self._open

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()

    def check(self, listed: Listed) -> None:
        """Refuse a folder whose name belongs to a package that was captured from another one.

        Raises:
            UsageError: naming both folders.
        """
        if listed.place is None:
            return
        package = self._package(listed)
        before = self._places.get(package)
        if before in {None, listed.place} or self._known.snapshot(package) is None:
            return
        if not self._named:
            raise UsageError(
                f"`{package}` was captured from `{before}`, and `{listed.place}` is another folder of that name",
                hint="give this folder a name of its own: `--as NAME`",
            )
        message = f"`{package}` was captured from `{before}` before; its next revisions are from `{listed.place}`"
        self._emit(Note(message=message, warning=True))

    def keep(self, packages: Sequence[Listed]) -> None:
        """Keep where folders lie, durably, before anything of them is captured."""
        if not self._writes:
            return
        found = [(self._package(listed), listed.place) for listed in packages if listed.place is not None]
        if rows := [(package, place) for package, place in found if self._places.get(package) != place]:
            self._places.put(rows)

    def _package(self, listed: Listed) -> PackageName:
        return PackageName(f"{self._prefix}:{listed.name}")


def note_lost(  # noqa: PLR0913, PLR0917  # what a run has
    store: Store | None, known: KnownPackages, journal: Journal, run: Run, prefix: str, emit: Emit
) -> None:
    """Emit a note if the store lost captures that the journal has; those of this run are captured again."""

    def lost_of(captured: Iterator[tuple[str, SnapshotId]]) -> Iterator[str]:
        while block := dict(islice(captured, _BLOCK)):
            newest = known.snapshots(prefix, block)
            for name, snapshot in block.items():
                if newest.get(name) != snapshot and (store is None or not store.has(ObjectId(snapshot))):
                    yield name

    now = list(lost_of(journal.captured(run.id)))
    before = list(lost_of(journal.outcomes.captured(run.hub)))
    lost = len({*now, *before})
    if not lost:
        return
    journal.capture_again(run.id, now)
    journal.outcomes.forget(run.hub, before)
    what = f"the store lost {count(lost, 'captured package')}, perhaps in a power cut; what is listed is captured again"
    emit(Note(message=what, warning=True))


T = TypeVar("T", bound=Hashable)

MAX_FILES = 48
"""Limit of files examined as bases of one file; each costs reading its header."""


def choose_bases(path: str, packages: Iterable[Weights]) -> tuple[StoredFile, ...]:
    """Return the files of `packages` in which to look for bases of the file at `path`, the likeliest first.

    In each package that is the file of the same path, then files of the same format; when files were sharded anew, a
    tensor may be in any of them.
    """
    suffix = _suffix(path)

    def distance(name: str) -> int:
        return 0 if name == path else 1 if _suffix(name) == suffix else 2

    ranked = [(distance(name), order, name, file) for order, files in enumerate(packages) for name, file in files]
    ranked.sort(key=lambda each: each[:3])
    chosen = {file.blake3: file for _, _, _, file in reversed(ranked[:MAX_FILES])}
    return tuple(reversed(chosen.values()))


def put_bases_first(journal: Journal, run: int) -> None:
    """Rank packages that others of the run declare as their base before those others.

    A base moves to just before the first package that names it; the rest keeps its order, and nothing waits. Packages
    are known by their ranks: only those that name a base of the run, and these bases, are in memory.
    """
    named: dict[float, list[float]] = {}
    for rank, base in journal.edges(run):
        named.setdefault(rank, []).append(base)
        named.setdefault(base, [])
    moving: list[float] = []
    waiting = _smallest_after(ordered := bases_first(dict(sorted(named.items()))))
    for rank, first in zip(ordered, waiting, strict=True):
        if first < rank:
            moving.append(rank)
            continue
        journal.move_before(run, rank, moving)
        moving.clear()


def _smallest_after(ranks: Sequence[float]) -> list[float]:
    """Return for each rank the smallest of itself and those after it."""
    return list(accumulate(reversed(ranks), min))[::-1]


def bases_first(packages: Mapping[T, Sequence[T]]) -> list[T]:
    """Return the packages in order, each after those of its bases that are among them; cycles are cut anywhere."""
    ordered: dict[T, None] = {}
    begun: set[T] = set()
    for package in packages:
        path = [package] if package not in begun else []
        while path:
            begun.add(path[-1])
            base = next((base for base in packages[path[-1]] if base in packages and base not in begun), None)
            if base is None:
                ordered[path.pop()] = None
            else:
                path.append(base)
    return list(ordered)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
