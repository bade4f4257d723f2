"""What is captured: the manifests of the newest captures, and which packages need which objects."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import msgspec

from ptmtorrent.errors import IntegrityError, NotFound, PackMissing, PtmError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackageName
from ptmtorrent.model.manifest import Capture, Manifest, decode_manifest
from ptmtorrent.paths import Home
from ptmtorrent.store.contents import Contents
from ptmtorrent.store.maintenance.references import Uses
from ptmtorrent.store.store import Store
from ptmtorrent.store.version import check_version


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """The newest capture of a package, with its manifest, or why that could not be read."""

    capture: Capture
    manifest: Manifest | None = None
    error: PtmError | None = None


def read_captured(store: Store) -> Iterator[Captured]:
    """Yield the newest capture of every package with its manifest, sorted by package; one manifest at a time."""
    for capture in store.captures():
        try:
            manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
            yield Captured(capture=capture, manifest=manifest)
        except PtmError as error:
            yield Captured(capture=capture, error=error)


def read_or_none(store: Store, identifier: ObjectId) -> bytes | None:
    """Return an object of the store, None when it is lost.

    Raises:
        StoreError: the disk failed, which says nothing about the object.
    """
    try:
        return store.read(identifier)
    except (IntegrityError, UnsupportedFormat, NotFound, PackMissing):
        return None


def require_store(home: Home) -> None:
    """Refuse a home without a store, before anything of it is looked at or touched.

    Raises:
        NotFound: there is no store.
        UnsupportedFormat: a newer version wrote it.
    """
    if not home.store.is_dir():
        raise NotFound(f"there is no store in `{home.root}`", hint="make one: ptmtorrent store init")
    check_version(home.store)


def add_bases(contents: Contents, uses: Uses, owner: int) -> None:
    """Record `owner` as the user of bases that used deltas need and that have no other user."""
    fresh = True
    while fresh:
        fresh = False
        for entry in contents.all_entries():
            if entry.base is not None and uses.owner(entry.id) is not None and uses.owner(entry.base) is None:
                uses.add(owner, [entry.base])
                fresh = True


def with_deltas(contents: Contents, lost: AbstractSet[ObjectId]) -> dict[ObjectId, ObjectId]:
    """Return, for each of `lost` and every object that is a delta against one of them, which of `lost` it needs."""
    needs = {identifier: identifier for identifier in lost}
    known = 0
    while known != len(needs):
        known = len(needs)
        for entry in contents.all_entries():
            if entry.base is not None and entry.base in needs:
                needs.setdefault(entry.id, needs[entry.base])
    return needs


def packages_with(store: Store, contents: Contents, lost: AbstractSet[ObjectId]) -> dict[ObjectId, list[PackageName]]:
    """Return which packages cannot be read without each of the objects `lost`, by themselves or as bases of deltas."""
    found: dict[ObjectId, set[PackageName]] = {}
    needs = with_deltas(contents, lost)
    for captured in read_captured(store) if lost else ():
        capture, manifest = captured.capture, captured.manifest
        wanted = {ObjectId(capture.snapshot)} | ({item for item, _ in manifest.objects} if manifest else set())
        for identifier in wanted & needs.keys():
            found.setdefault(needs[identifier], set()).add(capture.package)
    return {identifier: sorted(packages) for identifier, packages in found.items()}
