"""From captures to members of a release: manifests read and checked, every object found, documents framed."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import msgspec

from ptmtorrent.catalogue.columns import rows_of
from ptmtorrent.catalogue.index import encode_documents
from ptmtorrent.catalogue.tables import TableWriter
from ptmtorrent.errors import IntegrityError, NoSpace, NotFound, PtmError, StoreError, UnsupportedFormat
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Capture, Manifest, decode_manifest, spell_missing
from ptmtorrent.model.members import Frame, MemberRow
from ptmtorrent.model.placement import encode_placement, encode_whole
from ptmtorrent.model.records import Result
from ptmtorrent.store.lookup import Lookup
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.release.alone import WholeForms
from ptmtorrent.workflows.release.carried import Carried
from ptmtorrent.workflows.release.index import DocumentWriter
from ptmtorrent.workflows.release.locate import Places, WholePlaces, check_rights, locate, locate_block
from ptmtorrent.workflows.release.stats import Tallies

_BLOCK = 256
"""Packages whose objects are looked up together."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What a release keeps in memory of one package.

    The frame of the row lies in the documents of an earlier release, or in the temporary file of documents.
    """

    capture: Capture
    row: MemberRow


class _Read(NamedTuple):
    """A manifest and its bytes, and where its objects lie, if none of them is a delta and all are there."""

    data: bytes
    manifest: Manifest
    lookup: Lookup
    places: WholePlaces | None


def make_members(  # noqa: PLR0913  # where it is read from, and everything it is counted and written in
    store: Store,
    captures: Sequence[Capture],
    *,
    tables: TableWriter,
    documents: DocumentWriter,
    tallies: Tallies,
    carried: Carried,
    limit: Fraction | None,
    allow_incomplete: bool = False,
) -> Iterator[Member | Result]:
    """Yield a member for each capture, having counted and tabled it; or a record of why it is none.

    All data must be sealed. Members that need whole forms, of which `limit` decides (`alone`), come last. With
    `allow_incomplete`, packages that were captured without some files are members too.
    """
    with WholeForms(store, carried, limit) as whole:
        later: list[Capture] = []
        for capture, read in _read_manifests(store, captures, allow_incomplete=allow_incomplete):
            made = _make(capture, read, tables, documents, tallies, carried, whole)
            if made is None:
                later.append(capture)
            else:
                yield made
        whole.seal()
        for capture, read in _read_manifests(store, later, allow_incomplete=allow_incomplete):
            made = _make(capture, read, tables, documents, tallies, carried, whole)
            if made is not None:
                yield made


def _make(  # noqa: PLR0913, PLR0917  # as `make_members`
    capture: Capture,
    read: _Read | PtmError,
    tables: TableWriter,
    documents: DocumentWriter,
    tallies: Tallies,
    carried: Carried,
    whole: WholeForms,
) -> Member | Result | None:
    """Return a member, or a record of why it is none; None if its whole forms are not sealed yet."""
    if isinstance(read, PtmError):
        return _left_out(capture, read)
    data, manifest = read.data, read.manifest
    try:
        found = _place(capture, read, carried, whole)
        if found is None:
            return None
        places, placement = found
        canonical.check_length(placement, f"placement of {capture.package}")
    except NoSpace:
        raise
    except (NotFound, StoreError, IntegrityError, UnsupportedFormat) as error:
        return _left_out(capture, error)
    frame = documents.add(encode_documents(data, placement))
    rows = rows_of(capture, manifest)
    row = _row(capture, data, manifest, facts=rows.facts, placement_size=len(placement), frame=frame)
    tallies.add_package(capture, manifest, places, documents=frame.length)
    tables.add(rows)
    return Member(capture=capture, row=row)


def _place(
    capture: Capture, read: _Read, carried: Carried, whole: WholeForms
) -> tuple[Places | WholePlaces, bytes] | None:
    """Return where the objects of a package lie, and its placement; None if its whole forms are not sealed yet."""
    if (plain := read.places) is not None:
        check_rights(read.lookup, plain, capture.rights)
        carried.check(plain.packs)
        return plain, encode_whole(capture.snapshot, plain.packed, plain.spots)
    places = locate(read.lookup, read.manifest, capture.rights)
    carried.check(places.packs)
    found = whole.find(read.manifest, places)
    if found is None:
        return None
    places = msgspec.structs.replace(places, whole=found)
    return places, encode_placement(capture.snapshot, list(places.forms))


def _read_manifests(
    store: Store, captures: Sequence[Capture], *, allow_incomplete: bool
) -> Iterator[tuple[Capture, _Read | PtmError]]:
    """Yield each capture with its manifest, block by block; the objects of a block are looked up in one pass."""
    with Lookup(store) as lookup:
        for first in range(0, len(captures), _BLOCK):
            block = captures[first : first + _BLOCK]
            lookup.prefetch(ObjectId(capture.snapshot) for capture in block)
            read: list[tuple[bytes, Manifest] | PtmError] = []
            for capture in block:
                try:
                    read.append(_read_manifest(lookup, capture, allow_incomplete=allow_incomplete))
                except (NotFound, StoreError, IntegrityError, UnsupportedFormat) as error:
                    read.append(error)
            manifests = [each[1] for each in read if not isinstance(each, PtmError)]
            places = locate_block(lookup, manifests)
            others = (each for each, at in zip(manifests, places, strict=True) if at is None)
            lookup.prefetch(identifier for manifest in others for identifier, _ in manifest.objects)
            placed = iter(places)
            for capture, each in zip(block, read, strict=True):
                yield capture, each if isinstance(each, PtmError) else _Read(*each, lookup, next(placed))


def check_members(
    store: Store, captures: Sequence[Capture], *, allow_incomplete: bool = False
) -> Iterator[MemberRow | Result]:
    """Yield the row of each capture, in order, or a record of why it cannot be a member; write nothing.

    An object that is not sealed yet counts as found.
    """
    for capture in captures:
        try:
            data, manifest = _read_manifest(store, capture, allow_incomplete=allow_incomplete)
            try:
                locate(store, manifest, capture.rights)
            except NotFound:
                if store.lacking(identifier for identifier, _ in manifest.objects):
                    raise
        except (NotFound, StoreError, IntegrityError, UnsupportedFormat) as error:
            yield _left_out(capture, error)
            continue
        yield _row(capture, data, manifest)


def _left_out(capture: Capture, error: PtmError) -> Result:
    return Result(kind="package", id=capture.package, status="error", reason=f"it is left out: {error.message}")


def _row(  # noqa: PLR0913  # the columns of a row
    capture: Capture,
    data: bytes,
    manifest: Manifest,
    *,
    facts: str = "",
    placement_size: int = 0,
    frame: Frame | None = None,
) -> MemberRow:
    return MemberRow(
        package=capture.package,
        snapshot=capture.snapshot,
        facts=facts,
        manifest_size=len(data),
        placement_size=placement_size,
        files=len(manifest.files),
        raw=manifest.size,
        frame=frame,
    )


def _read_manifest(store: Store | Lookup, capture: Capture, *, allow_incomplete: bool) -> tuple[bytes, Manifest]:
    data = store.read(ObjectId(capture.snapshot))
    manifest = decode_manifest(data, capture.snapshot)
    if manifest.package.package != capture.package:
        raise IntegrityError(f"its snapshot is of `{manifest.package.package}`")
    if manifest.missing and not allow_incomplete:
        raise NotFound(f"{spell_missing(manifest.missing)} (`--allow-incomplete` takes it in)")
    return data, manifest
