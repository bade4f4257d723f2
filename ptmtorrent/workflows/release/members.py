"""From captures to members of a release: manifests read and checked, every object found, documents framed."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import msgspec

from ptmtorrent.catalogue.columns import facts_of
from ptmtorrent.catalogue.index import encode_documents
from ptmtorrent.catalogue.tables import TableWriter
from ptmtorrent.errors import IntegrityError, NoSpace, NotFound, PtmError, StoreError, UnsupportedFormat
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Capture, Manifest, decode_manifest
from ptmtorrent.model.members import MemberRow
from ptmtorrent.model.placement import encode_placement
from ptmtorrent.model.records import Result
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.release.alone import WholeForms
from ptmtorrent.workflows.release.carried import Carried
from ptmtorrent.workflows.release.index import DocumentWriter
from ptmtorrent.workflows.release.locate import locate
from ptmtorrent.workflows.release.stats import Tallies


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What a release keeps in memory of one package.

    The frame of the row lies in the documents of an earlier release, or in the temporary file of documents.
    """

    capture: Capture
    row: MemberRow


def make_members(  # noqa: PLR0913  # where it is read from, and everything it is counted and written in
    store: Store,
    captures: Sequence[Capture],
    *,
    tables: TableWriter,
    documents: DocumentWriter,
    tallies: Tallies,
    carried: Carried,
    limit: Fraction | None,
) -> Iterator[Member | Result]:
    """Yield a member for each capture, having counted and tabled it; or a record of why it is none.

    All data must be sealed. Members that need whole forms, of which `limit` decides (`alone`), come last.
    """
    with WholeForms(store, carried, limit) as whole:
        later: list[Capture] = []
        for capture in captures:
            made = _make(store, capture, tables, documents, tallies, carried, whole)
            if made is None:
                later.append(capture)
            else:
                yield made
        whole.seal()
        for capture in later:
            made = _make(store, capture, tables, documents, tallies, carried, whole)
            if made is not None:
                yield made


def _make(  # noqa: PLR0913, PLR0917  # as `make_members`
    store: Store,
    capture: Capture,
    tables: TableWriter,
    documents: DocumentWriter,
    tallies: Tallies,
    carried: Carried,
    whole: WholeForms,
) -> Member | Result | None:
    """Return a member, or a record of why it is none; None if its whole forms are not sealed yet."""
    try:
        data, manifest = _read_manifest(store, capture)
        places = locate(store, manifest, capture.rights)
        carried.check(places.packs)
        found = whole.find(manifest, places)
        if found is None:
            return None
        places = msgspec.structs.replace(places, whole=found)
        placement = encode_placement(capture.snapshot, list(places.forms))
        canonical.check_length(placement, f"placement of {capture.package}")
    except NoSpace:
        raise
    except (NotFound, StoreError, IntegrityError, UnsupportedFormat) as error:
        return _left_out(capture, error)
    frame = documents.add(encode_documents(data, placement))
    row = msgspec.structs.replace(
        _row(capture, data, manifest), facts=facts_of(capture, manifest), placement_size=len(placement), frame=frame
    )
    tallies.add_package(capture, manifest, places, documents=frame.length)
    tables.add(capture, manifest)
    return Member(capture=capture, row=row)


def check_members(store: Store, captures: Sequence[Capture]) -> Iterator[MemberRow | Result]:
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
        yield _row(capture, data, manifest)


def _left_out(capture: Capture, error: PtmError) -> Result:
    return Result(kind="package", id=capture.package, status="error", reason=f"it is left out: {error.message}")


def _row(capture: Capture, data: bytes, manifest: Manifest) -> MemberRow:
    return MemberRow(
        package=capture.package,
        snapshot=capture.snapshot,
        facts="",
        manifest_size=len(data),
        placement_size=0,
        files=len(manifest.files),
        raw=manifest.size,
        frame=None,
    )


def _read_manifest(store: Store, capture: Capture) -> tuple[bytes, Manifest]:
    data = store.read(ObjectId(capture.snapshot))
    manifest = decode_manifest(data, capture.snapshot)
    if manifest.package.package != capture.package:
        raise IntegrityError(f"its snapshot is of `{manifest.package.package}`")
    return data, manifest
