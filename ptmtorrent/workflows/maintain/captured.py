"""Read the newest captures and their manifests, and find which packages need which objects."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import msgspec

from ptmtorrent.errors import IntegrityError, NotFound, PackMissing, PtmError, StoreError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackageName
from ptmtorrent.model.manifest import Capture, Manifest, decode_manifest
from ptmtorrent.paths import Home
from ptmtorrent.store.contents import Contents
from ptmtorrent.store.maintenance.references import NONE, References
from ptmtorrent.store.store import Store, check_version


class CapturedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest capture of a package with its manifest, or the error that prevented reading it."""

    capture: Capture
    manifest: Manifest | None = None
    error: PtmError | None = None


def read_captured(store: Store) -> Iterator[CapturedPackage]:
    """Yield the newest capture of every package with its manifest, sorted by package. Memory: one manifest."""
    for capture in store.captures():
        try:
            manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
            yield CapturedPackage(capture=capture, manifest=manifest)
        except PtmError as error:
            yield CapturedPackage(capture=capture, error=error)


def read_or_none(store: Store, identifier: ObjectId) -> bytes | None:
    """Return an object of the store; None if it is lost.

    Raises:
        StoreError: the disk failed, so the state of the object is unknown.
    """
    try:
        return store.read(identifier)
    except (IntegrityError, UnsupportedFormat, NotFound, PackMissing):
        return None


def require_store(home: Home) -> None:
    """Check that the home has a store of a readable version, before anything is read or changed.

    Raises:
        NotFound: there is no store.
        UnsupportedFormat: a newer version wrote it.
    """
    if not home.store.is_dir():
        raise NotFound(f"there is no store in `{home.root}`", hint="create one: ptmtorrent store init")
    check_version(home.store)


def add_bases(contents: Contents, references: References, owner: int) -> None:
    """Add `owner` as the owner of bases that referenced deltas need and that have no owner yet."""
    containers = (*contents.packs(), *contents.parts())
    fresh = True
    while fresh:
        fresh = False
        for container in containers:
            columns = contents.columns(container)
            if len(columns.deltas):
                referenced = references.owners(columns.ids[columns.deltas]) != NONE
                missing = columns.bases[referenced & (references.owners(columns.bases) == NONE)]
                references.add(owner, [ObjectId(base.tobytes().hex()) for base in missing])
                fresh = fresh or len(missing) > 0


def with_deltas(contents: Contents, lost: AbstractSet[ObjectId]) -> dict[ObjectId, ObjectId]:
    """Map each object of `lost`, and each delta against one of them, to the object of `lost` that it needs."""
    needs = {identifier: identifier for identifier in lost}
    known = 0
    while known != len(needs):
        known = len(needs)
        for entry in contents.all_entries():
            if entry.base is not None and entry.base in needs:
                needs.setdefault(entry.id, needs[entry.base])
    return needs


def packages_with(store: Store, contents: Contents, lost: AbstractSet[ObjectId]) -> dict[ObjectId, list[PackageName]]:
    """Return, for each object of `lost`, the packages that need it, directly or as the base of a delta."""
    found: dict[ObjectId, set[PackageName]] = {}
    needs = with_deltas(contents, lost)
    for captured in read_captured(store) if lost else ():
        capture, manifest = captured.capture, captured.manifest
        wanted = {ObjectId(capture.snapshot)} | ({item for item, _ in manifest.objects} if manifest else set())
        for identifier in wanted & needs.keys():
            found.setdefault(needs[identifier], set()).add(capture.package)
    return {identifier: sorted(packages) for identifier, packages in found.items()}


def drop_incomplete(store: Store) -> list[PackageName]:
    """Drop captures and known files that need an object the store lacks; return the packages of those captures.

    A clone then captures these packages again.
    """
    gone: set[ObjectId] = set()
    incomplete: list[PackageName] = []
    for captured in read_captured(store):
        capture, manifest = captured.capture, captured.manifest
        if isinstance(captured.error, StoreError) and not isinstance(captured.error, PackMissing):
            raise captured.error
        missing = set() if manifest is None else store.lacking(item for item, _ in manifest.objects)
        if manifest is None or missing:
            incomplete.append(capture.package)
            gone |= {ObjectId(capture.snapshot), *missing}
    store.contents.drop_dependents(gone)
    return incomplete
