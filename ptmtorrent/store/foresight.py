"""The index as recovery will leave it, for those who only read: without packs that are missing or were cut short."""

from contextlib import ExitStack
from pathlib import Path

from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName
from ptmtorrent.model.manifest import Capture
from ptmtorrent.store.contents import INDEX_NAME
from ptmtorrent.store.index import Index, open_index
from ptmtorrent.store.recovery.recover import lost_packs
from ptmtorrent.store.store import Store, check_version


class Foreseen(Index):
    """An index, open for reading, without the objects of packs that it hides and the captures that need them."""

    def captures(self) -> list[bytes]:
        """Return the bytes of the newest capture of each package, of those that will still be here."""
        if not self._hidden:
            return super().captures()
        newest: dict[PackageName, tuple[tuple[int, str], ObjectId, bytes]] = {}
        for identifier, data in self.all_captures():
            capture = canonical.decode(data, Capture, name="a capture")
            row = (capture.order, identifier, data)
            if self.find(identifier) is not None and self.find(ObjectId(capture.snapshot)) is not None:
                newest[capture.package] = max(row, newest.get(capture.package, row))
        return [newest[package][-1] for package in sorted(newest)]

    def lost_captures(self) -> list[PackageName]:
        """Return the packages whose newest capture will be lost, sorted."""
        if not self._hidden:
            return []
        kept = set(self.captures())
        gone = [data for data in super().captures() if data not in kept]
        return [canonical.decode(data, Capture, name="a capture").package for data in gone]


def foresee(root: Path) -> Store:
    """Open the store at `root` to read, without what lies in packs that are missing or were cut short.

    Raises:
        NotFound: there is no store; StoreError: it cannot be read; UnsupportedFormat: a newer version wrote it.
    """
    return Store(root, open_foreseen(root), ExitStack())


def open_foreseen(root: Path) -> Foreseen:
    """Open the index of the store at `root` as `Foreseen`.

    Raises:
        As `foresee`.
    """
    check_version(root)
    index = open_index(root / INDEX_NAME, write=False, kind=Foreseen)
    try:
        index.hide(lost_packs(root, index))
    except BaseException:
        index.close()
        raise
    return index
