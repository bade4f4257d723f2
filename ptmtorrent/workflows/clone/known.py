"""What the store holds of each package: read once, and updated with each capture."""

from collections.abc import Callable
from contextlib import suppress

from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ObjectId, PackageName, SnapshotId
from ptmtorrent.model.manifest import Identity, Manifest, Rights, decode_manifest
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.store.stored_file import file_in
from ptmtorrent.workflows.clone.manifest import Weights, is_weights

_MAX_REMEMBERED = 16


class KnownPackages:
    """The newest capture of every package in `store`; without a store, nothing is known.

    Packages are found by name. When a name was registered again for another package, the bases found by it do not fit,
    which only costs compression.
    """

    def __init__(self, store: Store | None) -> None:
        self._read: Callable[[ObjectId], bytes] | None = None if store is None else store.read
        captures = [] if store is None else store.captures()
        self._newest = {capture.package: capture.snapshot for capture in captures}
        self._rights = {capture.package: capture.rights for capture in captures}
        self._weights: dict[SnapshotId, Weights] = {}

    def add(self, package: PackageName, snapshot: SnapshotId, rights: Rights) -> None:
        """Record that `package` was captured."""
        self._newest[package] = snapshot
        self._rights[package] = rights

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
        if RIGHTS.index(rights) > RIGHTS.index(self._rights.get(package, "open")):
            return False
        manifest = self._manifest(package)
        if manifest is None or manifest.package.commit != commit:
            return False
        if None not in {hub_id, manifest.package.hub_id} and manifest.package.hub_id != hub_id:
            return False
        return answers <= {answer.name for answer in manifest.raw}

    def rights(self, package: PackageName) -> Rights | None:
        """Return the rights of the newest capture of the package; None if there is none."""
        return self._rights.get(package)

    def identity(self, package: PackageName) -> Identity | None:
        """Return the identity of the package at its newest capture."""
        manifest = self._manifest(package)
        return manifest.package if manifest is not None else None

    def weights(self, package: PackageName) -> Weights:
        """Return the weights files of the newest capture; empty if there is no capture or it cannot be read."""
        snapshot = self._newest.get(package)
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
        snapshot = self._newest.get(package)
        if snapshot is None or self._read is None:
            return None
        return decode_manifest(self._read(ObjectId(snapshot)), snapshot)
