"""The rows that packages of a hub have in the table of packages, made as a clone and a release make them."""

from ptmtorrent.catalogue.query import PackageRow
from ptmtorrent.hubs.port import Described, Listed
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.manifest import Capture, Identity, Manifest, new_manifest
from ptmtorrent.workflows.clone.manifest import new_capture, rights_in
from ptmtorrent.workflows.export import row_of
from tests.model.generated import hex64


def capture_of(prefix: str, listed: Listed, commit: str = "c" * 40) -> tuple[Capture, Manifest]:
    identity = Identity(hub=prefix, name=listed.name, commit=listed.commit or commit, author=listed.author)
    described = Described(identity=identity, listed=listed, answers=())
    moment = "2026-11-30T12:00:00Z"
    capture = new_capture(described, SnapshotId(hex64(listed.name)), rights_in(listed), captured=moment, listed=moment)
    return capture, new_manifest(identity, (), ())


def export_row(prefix: str, listed: Listed) -> PackageRow:
    return row_of(*capture_of(prefix, listed))
