"""What the store holds of each package: read once, and updated with each capture."""

from collections.abc import Callable
from contextlib import suppress

from ptmtorrent.errors import PtmError
from ptmtorrent.model.capture import Rights
from ptmtorrent.model.ids import ObjectId, PackageName, SnapshotId
from ptmtorrent.model.manifest import Identity, Manifest, decode_manifest
from ptmtorrent.store.ingest.files import StoredFile, file_in
from ptmtorrent.store.pack.classes import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.manifest import is_weights

_MAX_REMEMBERED = 16

Weights = tuple[tuple[str, StoredFile], ...]
"""Weights files of one package: each path, and what is stored there."""


class Captured:
    """The newest capture of every package in `store`; without one, nothing is captured.

    Packages go by name: whose name was registered again by others merely finds bases that do not fit.
    """

    def __init__(self, store: Store | None) -> None:
        self._read: Callable[[ObjectId], bytes] | None = None if store is None else store.read
        captures = [] if store is None else store.captures()
        self._newest = {capture.package: capture.snapshot for capture in captures}
        self._rights = {capture.package: capture.rights for capture in captures}
        self._weights: dict[SnapshotId, Weights] = {}

    def add(self, package: PackageName, snapshot: SnapshotId, rights: Rights) -> None:
        """Say that `package` was captured."""
        self._newest[package] = snapshot
        self._rights[package] = rights

    def holds(  # what makes a capture the one that is wanted
        self,
        package: PackageName,
        commit: str,
        answers: frozenset[str] = frozenset(),
        *,
        hub_id: str | None = None,
        rights: Rights = "open",
    ) -> bool:
        """Tell whether the newest capture of `package` is of this commit, and has these answers of the hub.

        One with another id of the hub than `hub_id` is of another package, whatever its commit. One that was captured
        when more was allowed than `rights` has to be captured again, which moves no byte.
        """
        if RIGHTS.index(rights) > RIGHTS.index(self._rights.get(package, "open")):
            return False
        manifest = self._manifest(package)
        if manifest is None or manifest.package.commit != commit:
            return False
        if None not in {hub_id, manifest.package.hub_id} and manifest.package.hub_id != hub_id:
            return False
        return answers <= {answer.name for answer in manifest.raw}

    def identity(self, package: PackageName) -> Identity | None:
        """Return who the package was when it was captured last."""
        manifest = self._manifest(package)
        return manifest.package if manifest is not None else None

    def weights(self, package: PackageName) -> Weights:
        """Return the weights files of the newest capture; none when there is no capture, or it cannot be read."""
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
