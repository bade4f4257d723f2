"""What a package costs when it is fetched alone, and the whole forms that bound it.

A delta is cheap for those who fetch its base too. Fetched alone, a package or a weight file may move more than its raw
bytes: then its deltas have whole forms beside them, in packs of a class of their own. A reader takes what is cheaper.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from types import TracebackType
from typing import Self

import msgspec

from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.kinds import file_kind
from ptmtorrent.model.manifest import Manifest, Rights
from ptmtorrent.model.placement import Location
from ptmtorrent.model.records import Note
from ptmtorrent.model.text import spell_size
from ptmtorrent.store.maintenance.whole_forms import WholeFormWriter, find_whole_forms, is_alone
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.release.carried import Carried
from ptmtorrent.workflows.release.locate import Places


class LoneCost(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a package or file that is fetched alone, and its raw bytes."""

    moved: int
    raw: int

    def exceeds(self, limit: Fraction) -> bool:
        """Return whether more moves than `limit` times the raw bytes."""
        return self.moved > limit * self.raw


def lone_cost(manifest: Manifest, places: Places, rows: Iterable[int]) -> LoneCost:
    """Return what moves for the objects in `rows`: each once, and the bases of deltas that are not among them."""
    objects = {manifest.objects[row][0]: row for row in rows}
    bases = {base.id: base for row in objects.values() if (base := places.bases[row]) is not None}
    moved = sum(places.objects[row].length for row in objects.values())
    moved += sum(base.at.length for base in bases.values() if base.id not in objects)
    return LoneCost(moved=moved, raw=sum(manifest.objects[row][1] for row in objects.values()))


def rows_over(manifest: Manifest, places: Places, limit: Fraction | None) -> list[int]:
    """Return the deltas that need a whole form: of a package or weight file that costs more than `limit` allows.

    A delta whose base is in the same file costs nothing more. Without a limit none needs one.
    """
    if limit is None or not any(places.bases):
        return []
    over: set[int] = set()
    for rows in _units(manifest):
        if lone_cost(manifest, places, rows).exceeds(limit):
            here = {manifest.objects[row][0] for row in rows}
            over |= {row for row in rows if (base := places.bases[row]) is not None and base.id not in here}
    return sorted(over)


def is_current(manifest: Manifest, places: Places, limit: Fraction | None) -> bool:
    """Return whether the places of a package in an earlier release have the whole forms that `limit` asks for."""
    return places.whole.keys() == set(rows_over(manifest, places, limit))


class WholeForms:
    """The whole forms that a release of `store` needs so that nothing costs more than `limit`; None: it has none.

    Raises:
        StoreError: packs cannot be read.
    """

    def __init__(self, store: Store, carried: Carried, limit: Fraction | None) -> None:
        self._store = store
        self._carried = carried
        self._limit = limit
        self._writer = WholeFormWriter(store)
        self._places: dict[tuple[Rights, ObjectId], Location] | None = None
        self._asked: set[tuple[Rights, ObjectId]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def find(self, manifest: Manifest, places: Places) -> dict[int, Location] | None:
        """Return the whole forms of a package by row; None if some are written now, and found once all are sealed.

        Raises:
            IntegrityError, NotFound: an object is damaged or missing.
            NoSpace, StoreError: one cannot be written.
        """
        if not (rows := rows_over(manifest, places, self._limit)):
            return {}
        wanted = {row: (self._rights(places.objects[row]), manifest.objects[row][0]) for row in rows}
        known = self._known()
        missing = [row for row, key in wanted.items() if key not in known]
        if not missing:
            return {row: known[key] for row, key in wanted.items()}
        for row in missing:
            if wanted[row] not in self._asked:
                rights, identifier = wanted[row]
                self._writer.add(identifier, manifest.objects[row][1], places.objects[row], rights)
                self._asked.add(wanted[row])
        return None

    def seal(self) -> None:
        """Make all packs that were begun durable; `find` finds what they hold.

        Raises:
            NoSpace, StoreError: a pack cannot be written.
        """
        if not self._asked:
            return
        for pack, size, entries in self._writer.seal():
            self._add(pack, size, self._store.pack_hashes(pack).rights, entries)

    def _known(self) -> dict[tuple[Rights, ObjectId], Location]:
        if self._places is None:
            self._places = {}
            for pack, (rights, entries) in find_whole_forms(self._store).items():
                if self._carried.is_clean(pack):
                    self._add(pack, self._store.pack_hashes(pack).size, rights, entries)
        return self._places

    def _add(self, pack: PackId, size: int, rights: Rights, entries: Sequence[Entry]) -> None:
        for entry in entries:
            at = Location(pack=pack, pack_size=size, offset=entry.offset, length=entry.stored, codec=entry.codec)
            self._known().setdefault((rights, entry.id), at)

    def _rights(self, place: Location) -> Rights:
        return self._store.pack_hashes(place.pack).rights


def note_of_whole_forms(store: Store, packs: Mapping[PackId, int]) -> Note | None:
    """Return what a release of these packs holds with whole forms and without; None if it has none.

    Raises:
        IntegrityError, NotFound, StoreError: the header of a pack cannot be read.
    """
    alone = sum(size for pack, size in packs.items() if is_alone(store, pack))
    if not alone:
        return None
    total = sum(packs.values())
    return Note(
        message=f"Its packs have {spell_size(total)}: {spell_size(alone)} of whole forms beside deltas, for packages"
        f" that are fetched alone, and {spell_size(total - alone)} without them (`lone_cost` in the policy)."
    )


def _units(manifest: Manifest) -> Iterator[list[int]]:
    """Yield the rows of the package's files together, and of each weight file."""
    files = {file.name: manifest.objects_of(file.recipe) for file in manifest.files}
    yield sorted({row for rows in files.values() for row in rows})
    for file in manifest.files:
        if file_kind(file.name, file.size) == "weights":
            yield sorted(set(files[file.name]))
