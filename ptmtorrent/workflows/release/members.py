"""From captures to members of a release: manifests read and checked, every object found, placements stored."""

from collections.abc import Iterator, Sequence

import msgspec

from ptmtorrent.catalogue.tables import TableWriter
from ptmtorrent.errors import IntegrityError, NotFound, StoreError, UnsupportedFormat
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Capture, Manifest, decode_manifest
from ptmtorrent.model.placement import new_placement
from ptmtorrent.model.records import Result
from ptmtorrent.model.release import ContentRow, PlacementRow
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.release.carried import Carried
from ptmtorrent.workflows.release.locate import Places, locate
from ptmtorrent.workflows.release.stats import Tallies


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What a release keeps in memory of one package; the size is in bytes."""

    capture: Capture
    content: ContentRow
    placement: ObjectId
    placement_size: int


def make_members(
    store: Store, captures: Sequence[Capture], tables: TableWriter, tallies: Tallies, carried: Carried
) -> Iterator[Member | Result]:
    """Yield a member for each capture, in order, having counted and tabled it; or a record of why it is none.

    All data must be sealed. Placements are put, and not sealed.
    """
    for capture in captures:
        try:
            data, manifest = _read_manifest(store, capture)
            places = locate(store, manifest, capture.rights)
            carried.check((store.location(ObjectId(capture.snapshot)), *places.all))
        except (NotFound, StoreError, IntegrityError, UnsupportedFormat) as error:
            yield Result(kind="package", id=capture.package, status="error", reason=f"it is left out: {error.message}")
            continue
        member = _place(
            store,
            capture,
            ContentRow(
                package=capture.package,
                snapshot=capture.snapshot,
                manifest_size=len(data),
                raw=manifest.size,
                files=len(manifest.files),
            ),
            places,
        )
        tallies.add_package(capture, manifest, places)
        tables.add(capture, manifest)
        yield member


def placement_rows(store: Store, members: Sequence[Member], tallies: Tallies) -> list[PlacementRow]:
    """Say where the manifest and the placement of each member lie, and count them. Everything must be sealed."""
    rows: list[PlacementRow] = []
    for member in members:
        manifest = ObjectId(member.content.snapshot)
        row = PlacementRow(
            snapshot=member.content.snapshot,
            manifest=store.location(manifest),
            placement=member.placement,
            placement_size=member.placement_size,
            placement_at=store.location(member.placement),
        )
        tallies.add_documents(member.capture, [(manifest, row.manifest), (row.placement, row.placement_at)])
        rows.append(row)
    return rows


def _read_manifest(store: Store, capture: Capture) -> tuple[bytes, Manifest]:
    data = store.read(ObjectId(capture.snapshot))
    manifest = decode_manifest(data, capture.snapshot)
    if manifest.package.package != capture.package:
        raise IntegrityError(f"its snapshot is of `{manifest.package.package}`")
    return data, manifest


def _place(store: Store, capture: Capture, content: ContentRow, places: Places) -> Member:
    """Put the placement. The same places give the same bytes: what did not move adds nothing to the store."""
    placement = canonical.encode(new_placement(capture.snapshot, places.objects, places.bases))
    identifier = store.put(placement, kind="placement", pack_class=PackClass("meta", capture.rights))
    return Member(capture=capture, content=content, placement=identifier, placement_size=len(placement))
