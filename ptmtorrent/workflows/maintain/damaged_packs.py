"""Which packs are not what they should be: damaged, cut short, missing, or wrongly indexed."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import files_in
from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import PackageName, PackId, is_hex64
from ptmtorrent.model.plan import PIECE_BYTES
from ptmtorrent.paths import Home
from ptmtorrent.store.contents import Contents, open_contents
from ptmtorrent.store.maintenance.verify_pack import Expectation, check_pack
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.hashes import read_sidecar
from ptmtorrent.store.pack.reader import pack_in
from ptmtorrent.store.recovery.recover import packs_on_disk
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.inspect import Glass, Looked, look_at_packs
from ptmtorrent.workflows.maintain.released import Released
from ptmtorrent.workflows.maintain.repair_pack import Patient


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """What the index said before anything was touched: opening a store to write makes it forget what is missing.

    `sizes` are of all packs, `entries` those of the packs that are missing or of another size; `own` are packs of which
    it knew all that they say about hubs.
    """

    sizes: dict[PackId, int]
    entries: dict[PackId, tuple[Entry, ...]]
    packages: frozenset[PackageName]
    own: frozenset[PackId]


NOTHING = Before(sizes={}, entries={}, packages=frozenset(), own=frozenset())


def look_before(home: Home) -> Before:
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
    return Before(sizes=sizes, entries=gone, packages=packages, own=own)


def find_patients(
    root: Path, before: Before, released: Released, glass: Glass, looked: Callable[[Looked], None]
) -> Iterator[Patient]:
    """Inspect every pack there is or should be; yield the damaged ones. `looked` is called with each result.

    Raises:
        StoreError: the index cannot be read.
    """
    with open_contents(root) as contents:
        expected = {each.pack: each for each in _expected(root, contents, before, released)}
    here = {pack: each for pack, each in expected.items() if pack_in(root, pack).is_file()}
    for found in look_at_packs(root, here.values(), glass):
        looked(found)
        if found.problems or found.damages or found.lost:
            each = here[PackId(found.name)]
            checked = check_pack(pack_in(root, each.pack), each, glass.read_base, lambda _: None)
            yield Patient(expected=each, checked=checked)
    for pack, each in expected.items():
        if pack not in here:
            yield Patient(expected=each, checked=None)


def _expected(root: Path, contents: Contents, before: Before, released: Released) -> Iterable[Expectation]:
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
            or -(-here.get(pack, 0) // PIECE_BYTES) * PIECE_BYTES
        )
        if size:
            entries = tuple(contents.entries(pack)) or before.entries.get(pack, ())
            yield Expectation(pack=pack, size=size, entries=entries, hashes=known[0] if known else None)


def released_or_nothing(read: Callable[[], Released], warn: Callable[[str], None]) -> Released:
    """Return what releases refer to; where one cannot be read, say so and go on without."""
    try:
        return read()
    except StoreError as error:
        warn(error.message)
        return Released({}, {})
