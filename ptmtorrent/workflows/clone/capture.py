"""The last step of a package: the hub's answers, the manifest and the capture, in this order."""

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.canonical import MAX_DOCUMENT_BYTES
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.manifest import encode_manifest
from ptmtorrent.store.pack.classes import PackClass
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.manifest import assemble, new_capture, put_answers
from ptmtorrent.workflows.clone.open_package import Open


def capture(store: Store, package: Open, *, captured: str, listed: str) -> SnapshotId:
    """Put what says that the package is here, all of whose files are stored; the caller commits.

    Raises:
        IntegrityError: a path no manifest may hold, or a manifest longer than any reader takes.
    """
    described, rights = package.plan.described, package.rights
    answers = put_answers(store, (*described.answers, *package.plan.answers), rights)
    data, snapshot = encode_manifest(assemble(described, package.stored, answers))
    if len(data) > MAX_DOCUMENT_BYTES:
        raise IntegrityError(
            f"the manifest of `{described.identity.package}`, with {len(package.stored)} files, would be "
            f"{len(data)} bytes long, more than any reader takes"
        )
    store.put(data, kind="manifest", pack_class=PackClass("meta", rights))
    store.add_capture(new_capture(described, snapshot, rights, captured=captured, listed=listed))
    return snapshot
