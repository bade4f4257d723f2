"""Where the objects of a package lie, and the bases of those stored as deltas: all there, and all free enough."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

import msgspec
import numpy as np

from ptmtorrent.errors import IntegrityError, NotFound, StoreError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Manifest, Rights
from ptmtorrent.model.placement import DELTA_CODECS, Base, Form, Location, Placement, Spots
from ptmtorrent.store.lookup import Lookup
from ptmtorrent.store.pack.columns import UNLISTED, PlaceColumns, ids_of
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """A row for each row of a manifest's object table: where it lies, and its base where it is a delta.

    `whole` has the whole forms of some deltas, by row.
    """

    objects: tuple[Location, ...]
    bases: tuple[Base | None, ...]
    whole: Mapping[int, Location] = msgspec.field(default_factory=dict)

    @property
    def packs(self) -> set[PackId]:
        """The packs of objects, bases and whole forms."""
        bases = (base.at for base in self.bases if base is not None)
        return {*_packs(self.objects), *_packs(bases), *_packs(self.whole.values())}

    @property
    def forms(self) -> Iterator[tuple[Form, ...]]:
        """The forms of each object: as it is stored, and whole beside a delta where that is given."""
        for row, (place, base) in enumerate(zip(self.objects, self.bases, strict=True)):
            own = Form(at=place, base=base)
            yield (own, Form(at=self.whole[row])) if row in self.whole else (own,)


class WholePlaces(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The places of a package none of whose objects is a delta, in columns: a value of Python for each takes longer.

    `packed` are its packs with their sizes, sorted.
    """

    packed: tuple[tuple[PackId, int], ...]
    spots: Spots

    @property
    def packs(self) -> set[PackId]:
        """The packs of the objects."""
        return {pack for pack, _ in self.packed}


def locate_block(lookup: Lookup, manifests: Sequence[Manifest]) -> list[WholePlaces | None]:
    """Return the places of packages, looked up together; None for those that `locate` has to look at.

    These have an object that is a delta, or is not there.
    """
    ids = ids_of(identifier for manifest in manifests for identifier, _ in manifest.objects)
    found = lookup.find_places(ids)
    if found is None:
        return [None] * len(manifests)
    packs = {number: lookup.pack_of(number) for number in set(found.pack.tolist()) if number != UNLISTED}
    ends = [0, *accumulate(len(manifest.objects) for manifest in manifests)]
    return [_places_at(found, slice(first, end), packs) for first, end in pairwise(ends)]


def check_rights(lookup: Lookup, places: WholePlaces, rights: Rights) -> None:
    """Refuse places in packs that may not be given to everyone to whom `rights` allow the package.

    Raises:
        StoreError: naming the first of them.
    """
    _check_rights(lookup, places.packs, rights)


def _places_at(found: PlaceColumns, rows: slice, packs: Mapping[int, tuple[PackId, int]]) -> WholePlaces | None:
    numbers = found.pack[rows]
    used = set(numbers.tolist())
    if UNLISTED in used:
        return None
    packed = sorted((packs[number], number) for number in used)
    pack = numbers
    if len(packed) == 1:
        pack = numbers - numbers
    elif packed:
        row_of = np.zeros(max(used) + 1, dtype=np.int64)
        row_of[[number for _, number in packed]] = range(len(packed))
        pack = row_of[numbers]
    spots = Spots(pack=pack, offset=found.offset[rows], length=found.length[rows], codec=found.codec[rows])
    return WholePlaces(packed=tuple(each for each, _ in packed), spots=spots)


def places_of(placement: Placement) -> Places:
    """Return the places that a placement says: the first form of each object, and the whole ones beside deltas."""
    forms = [placement.form(row) for row in range(len(placement.first) - 1)]
    return Places(
        objects=tuple(form.at for form in forms),
        bases=tuple(form.base for form in forms),
        whole={row: placement.forms_of(row)[1].at for row in placement.several},
    )


def locate(store: Store | Lookup, manifest: Manifest, rights: Rights) -> Places:
    """Return where each object of `manifest` lies, in the order of the object table.

    Raises:
        NotFound: an object, a base or a pack is not here.
        StoreError: one of them lies in a pack that may not be given to everyone to whom `rights` allow the package.
        IntegrityError: the store contradicts itself over a delta.
    """
    objects: list[Location] = []
    bases: list[Base | None] = []
    for row, (identifier, size) in enumerate(manifest.objects):
        try:
            place = store.location(identifier)
            bases.append(_base(store, identifier, size, place))
        except NotFound as error:
            raise NotFound(f"the store lacks `{identifier}`, which {_needed_by(manifest, row)} needs") from error
        objects.append(place)
    places = Places(objects=tuple(objects), bases=tuple(bases))
    _check_rights(store, places.packs, rights)
    return places


def _base(store: Store | Lookup, identifier: ObjectId, size: int, place: Location) -> Base | None:
    """Return the base of a delta; it is as long as the delta's object, `size` bytes."""
    if place.codec not in DELTA_CODECS:
        return None
    base = store.base_of(identifier)
    if base is None:
        raise IntegrityError(f"the object `{identifier}` is stored as a delta, and the store does not know its base")
    try:
        at = store.location(base)
    except NotFound as error:
        raise IntegrityError(f"the store lacks `{base}`, the base of the object `{identifier}`") from error
    if at.codec in DELTA_CODECS:
        raise IntegrityError(f"the object `{base}` is a delta itself, and the base of `{identifier}`")
    return Base(id=base, size=size, at=at)


def _packs(places: Iterable[Location]) -> set[PackId]:
    return {place.pack for place in places}


def _check_rights(store: Store | Lookup, packs: Iterable[PackId], rights: Rights) -> None:
    for pack in sorted(packs):
        found = store.pack_hashes(pack).rights
        if RIGHTS.index(found) > RIGHTS.index(rights):
            raise StoreError(f"it is {rights}, and needs the pack `{pack}`, which is {found}")


def _needed_by(manifest: Manifest, row: int) -> str:
    for file in manifest.files:
        if any(first <= row < first + count for first, count in file.recipe):
            return f"its file {file.name!r}"
    return "a hub answer"
