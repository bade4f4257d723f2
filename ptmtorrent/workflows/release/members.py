"""From captures to members of a release: manifests read and checked, every object found, placements stored."""

from collections.abc import Iterator, Sequence

import msgspec

from ptmtorrent.catalogue.tables import TableWriter
from ptmtorrent.errors import IntegrityError, NotFound, PtmError, StoreError, UnsupportedFormat
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
            placement = _encode_placement(capture, places)
        except (NotFound, StoreError, IntegrityError, UnsupportedFormat) as error:
            yield _left_out(capture, error)
            continue
        member = _place(store, capture, _content_row(capture, data, manifest), placement)
        tallies.add_package(capture, manifest, places)
        tables.add(capture, manifest)
        yield member


def check_members(store: Store, captures: Sequence[Capture]) -> Iterator[ContentRow | Result]:
    """Yield the row of each capture, in order, or a record of why it cannot be a member; write nothing.

    An object that is not sealed yet counts as found.
    """
    for capture in captures:
        try:
            data, manifest = _read_manifest(store, capture)
            try:
                locate(store, manifest, capture.rights)
            except NotFound:
                if not all(store.has(identifier) for identifier, _ in manifest.objects):
                    raise
        except (NotFound, StoreError, IntegrityError, UnsupportedFormat) as error:
            yield _left_out(capture, error)
            continue
        yield _content_row(capture, data, manifest)


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


def _left_out(capture: Capture, error: PtmError) -> Result:
    return Result(kind="package", id=capture.package, status="error", reason=f"it is left out: {error.message}")


def _content_row(capture: Capture, data: bytes, manifest: Manifest) -> ContentRow:
    return ContentRow(
        package=capture.package,
        snapshot=capture.snapshot,
        manifest_size=len(data),
        raw=manifest.size,
        files=len(manifest.files),
    )


def _read_manifest(store: Store, capture: Capture) -> tuple[bytes, Manifest]:
    data = store.read(ObjectId(capture.snapshot))
    manifest = decode_manifest(data, capture.snapshot)
    if manifest.package.package != capture.package:
        raise IntegrityError(f"its snapshot is of `{manifest.package.package}`")
    return data, manifest


def _encode_placement(capture: Capture, places: Places) -> bytes:
    """Return the placement, which readers must accept: one with many deltas takes more memory than its manifest."""
    data = canonical.encode(new_placement(capture.snapshot, places.objects, places.bases))
    canonical.check_size(data, f"placement of {capture.package}")
    return data


def _place(store: Store, capture: Capture, content: ContentRow, placement: bytes) -> Member:
    """Put the placement. The same places give the same bytes: what did not move adds nothing to the store."""
    identifier = store.put(placement, kind="placement", pack_class=PackClass("meta", capture.rights))
    return Member(capture=capture, content=content, placement=identifier, placement_size=len(placement))
