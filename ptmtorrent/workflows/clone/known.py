"""What the store holds of each package: read once into a temporary table, and updated with each capture."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice

from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ObjectId, PackageName, SnapshotId
from ptmtorrent.model.manifest import Identity, Manifest, Rights, decode_manifest
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.text import count
from ptmtorrent.state.clone_journal import Journal, Run
from ptmtorrent.state.clone_outcomes import NewestCaptures
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.store.stored_file import file_in
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

    def holds(
        self,
        package: PackageName,
        commit: str,
        answers: frozenset[str] = frozenset(),
        *,
        hub_id: str | None = None,
        rights: Rights = "open",
    ) -> bool:
        """Return whether the newest capture of `package` is of this commit and has these answers of the hub.

        A capture with another hub id than `hub_id` is of another package, whatever its commit. A capture made when
        more was allowed than `rights` has to be made again, which moves no byte.
        """
        if RIGHTS.index(rights) > RIGHTS.index(self.rights(package) or "open"):
            return False
        manifest = self._manifest(package)
        if manifest is None or manifest.package.commit != commit:
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
