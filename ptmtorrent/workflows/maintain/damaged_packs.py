"""Find the packs to repair: damaged, cut short, missing, or wrongly indexed."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import files_in
from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, is_hex64
from ptmtorrent.model.pieces import padded
from ptmtorrent.model.plan import Extent
from ptmtorrent.paths import Home
from ptmtorrent.store.contents import Contents, open_contents
from ptmtorrent.store.maintenance.pack_draft import missing_extents
from ptmtorrent.store.maintenance.verify_pack import CheckedPack, Expectation, check_pack
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.hashes import read_sidecar
from ptmtorrent.store.pack.reader import pack_in, packs_on_disk
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.inspect import InspectContext, Inspection, inspect_packs
from ptmtorrent.workflows.maintain.released import ReleasedPacks


class DamagedPack(msgspec.Struct, frozen=True, kw_only=True):
    """A pack whose bytes, stored hashes or index rows are wrong. `checked` is None if its file is missing."""

    expected: Expectation
    checked: CheckedPack | None

    @property
    def is_sound(self) -> bool:
        """Whether every byte of the pack is the one that was written."""
        checked = self.checked
        return checked is not None and checked.hashes.pack == self.expected.pack and not self._has_other_size

    @property
    def _has_other_size(self) -> bool:
        return self.checked is not None and any(damage.what == "bytes" for damage in self.checked.damages)

    @property
    def lost(self) -> tuple[ObjectId, ...]:
        """The objects that cannot be read from the pack in its present state."""
        known = tuple(entry.id for entry in self.expected.entries)
        return known if self.checked is None else self.checked.lost

    @property
    def extents(self) -> list[Extent]:
        """The extents that must come from a source, at least."""
        size = self.expected.size
        return [Extent(offset=0, length=size)] if self.checked is None else missing_extents(self.checked, size)


class IndexState(msgspec.Struct, frozen=True, kw_only=True):
    """What the index said before the store was opened for writing, which drops the rows of missing packs.

    `sizes` covers all packs, `entries` the packs that are missing or have another size. `own` are packs without stored
    hashes whose captures and manifests are all indexed.
    """

    sizes: dict[PackId, int]
    entries: dict[PackId, tuple[Entry, ...]]
    packages: frozenset[PackageName]
    own: frozenset[PackId]


EMPTY_STATE = IndexState(sizes={}, entries={}, packages=frozenset(), own=frozenset())


def read_index_state(home: Home) -> IndexState:
    """Return what the index of `home` says.

    Raises:
        StoreError: it cannot be read.
    """
    here = packs_on_disk(home.store)
    with Store.open(home.store) as store:
        sizes = store.contents.packs()
        gone = {pack: tuple(store.contents.entries(pack)) for pack, size in sizes.items() if here.get(pack) != size}
        packages = frozenset(capture.package for capture in store.captures())
        own = frozenset(pack for pack in sizes if read_sidecar(home.store, pack) is None and store.is_own(pack))
    return IndexState(sizes=sizes, entries=gone, packages=packages, own=own)


def find_damaged_packs(
    root: Path,
    before: IndexState,
    released: ReleasedPacks,
    context: InspectContext,
    on_inspected: Callable[[Inspection], None],
) -> Iterator[DamagedPack]:
    """Inspect every pack that is on disk or expected; yield the damaged ones. `on_inspected` gets each inspection.

    Raises:
        StoreError: the index cannot be read.
    """
    with open_contents(root) as contents:
        expected = {each.pack: each for each in _expected(root, contents, before, released)}
    here = {pack: each for pack, each in expected.items() if pack_in(root, pack).is_file()}
    for inspected in inspect_packs(root, here.values(), context):
        on_inspected(inspected)
        if inspected.problems or inspected.damages or inspected.lost:
            each = here[PackId(inspected.name)]
            checked = check_pack(pack_in(root, each.pack), each, context.read_base, lambda _: None)
            yield DamagedPack(expected=each, checked=checked)
    for pack, each in expected.items():
        if pack not in here:
            yield DamagedPack(expected=each, checked=None)


def released_or_empty(read: Callable[[], ReleasedPacks], warn: Callable[[str], None]) -> ReleasedPacks:
    """Return the packs of releases; if a release cannot be read, warn and continue without any."""
    try:
        return read()
    except StoreError as error:
        warn(error.message)
        return ReleasedPacks({}, {})


def _expected(root: Path, contents: Contents, before: IndexState, released: ReleasedPacks) -> Iterable[Expectation]:
    indexed, here = contents.packs(), packs_on_disk(root)
    kept = {
        PackId(path.stem)
        for folder in files_in(root / "hashes")
        for path in files_in(folder, "*.json")
        if is_hex64(path.stem)
    }
    for pack in sorted({*indexed, *here, *kept, *before.sizes, *released.sizes}):
        known = read_sidecar(root, pack)
        size = (
            indexed.get(pack)
            or (known[0].size if known is not None else None)
            or before.sizes.get(pack)
            or released.sizes.get(pack)
            or padded(here.get(pack, 0))
        )
        if size:
            entries = tuple(contents.entries(pack)) or before.entries.get(pack, ())
            yield Expectation(pack=pack, size=size, entries=entries, hashes=known[0] if known else None)
