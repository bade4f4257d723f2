"""Packages in a target that a newer release, or its subset, does not have any more.

A fetch of a subset names those that an earlier fetch of that subset laid out below the same root from the same channel;
a fetch of all packages names every one that the release lacks. `--prune` removes them: files that are as a fetch left
them, and the folders that this leaves empty. Changed files and the user's own stay, and are named.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, sync_dir
from ptmtorrent.errors import StoreError
from ptmtorrent.layouts.folders import files_below, refuse_links
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model import records
from ptmtorrent.model.records import Emit, Opened
from ptmtorrent.model.release import Member
from ptmtorrent.state.laid_out import Ledger, PackageFolder
from ptmtorrent.workflows.fetch.assembly import unfinished
from ptmtorrent.workflows.fetch.disk_space import remove_unchanged, remove_unfinished


class Subset(msgspec.Struct, frozen=True, kw_only=True):
    """The subset `name` of the release `opened`; `is_whole` if it has all packages of it."""

    name: str
    opened: Opened
    is_whole: bool


class Dropped:
    """What a fetch of `subset` does with the packages below the root of `layout` that the subset had and lacks."""

    def __init__(self, subset: Subset, layout: Layout, ledger: Ledger, emit: Emit) -> None:
        self._subset = subset
        self._layout = layout
        self._ledger = ledger
        self._emit = emit

    def settle(self, wanted: Collection[str], members: Iterable[Member], *, writes: bool, prune: bool) -> None:
        """Emit a record of each such package, and remove it with `prune`; without `writes`, nothing is changed.

        `wanted` are packages that are known to be among the `members`, which are looked through only if need be.

        Raises:
            StoreError: a folder or the ledger cannot be read or written.
        """
        for folder in self._find(wanted, members):
            if writes:
                name, release = self._subset.name, self._subset.opened.release
                self._ledger.put_gone(folder.folder, name, release, everywhere=self._subset.is_whole)
            if not self._is_kept(folder):
                self._emit(self._settle(folder) if writes and prune else self._record(folder))

    def _find(self, wanted: Collection[str], members: Iterable[Member]) -> list[PackageFolder]:
        found = [folder for folder in self._ledger.folders() if folder.package not in wanted and self._had(folder)]
        there = {member.package for member in members} if found else set()
        return [folder for folder in found if folder.package not in there and self._has_files(folder)]

    def _had(self, folder: PackageFolder) -> bool:
        """Return whether the package of a folder was among those that the subset should have."""
        if folder.opened is None or folder.opened.channel != self._subset.opened.channel:
            return False
        if not folder.folder.is_relative_to(self._layout.root):
            return False
        return self._subset.is_whole or self._subset.name in self._ledger.chosen(folder.folder)

    def _has_files(self, folder: PackageFolder) -> bool:
        return any(file.path.is_symlink() or file.path.exists() for file in self._ledger.files(folder.folder))

    def _is_kept(self, folder: PackageFolder) -> bool:
        """Return whether the package was chosen by another subset too, or by its name, and a release has it."""
        others = (gone for name, gone in self._ledger.chosen(folder.folder).items() if name != self._subset.name)
        return not self._subset.is_whole and not all(others)

    def _record(self, folder: PackageFolder) -> records.Dropped:
        return records.Dropped(
            package=folder.package,
            path=str(folder.folder),
            subset=self._subset.name,
            release=self._subset.opened.release,
        )

    def _settle(self, folder: PackageFolder) -> records.Dropped:
        kept = self._remove(folder)
        return msgspec.structs.replace(self._record(folder), removed=not kept, kept=tuple(map(str, kept)))

    def _remove(self, folder: PackageFolder) -> list[Path]:
        """Remove what fetches left of a package; return what is not as they left it, and stays."""
        layout, ledger, place = self._layout, self._ledger, folder.folder
        try:
            refuse_links(layout.root, place)
        except StoreError:
            return [place]
        for file in ledger.announced(place):
            remove_unfinished(unfinished(layout, file.path, file.blake3))
        ledger.forget_announced(place)
        for file in ledger.files(place):
            remove_unchanged(file, place, ledger)
        if kept := files_below(place):
            return kept
        inside = place.relative_to(layout.root)
        with suppress(OSError):  # folders of the user's, or of other packages, stay
            for depth in range(len(inside.parts), 0, -1):
                layout.root.joinpath(*inside.parts[:depth]).rmdir()
        above = next(each for each in place.parents if each.is_dir())
        with disk_errors(above):
            sync_dir(above)
        ledger.forget_folder(place)
        return []
