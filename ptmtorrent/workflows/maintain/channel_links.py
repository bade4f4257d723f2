"""Replace damaged packs in our own channel, whose packs are hard links to files of the store, by repaired ones."""

import os
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.durable import disk_errors, link_all, link_or_copy, new_temporary, publish_file
from ptmtorrent.model.ids import PackId
from ptmtorrent.store.pack.reader import pack_in, packs_on_disk


def relink_packs(root: Path, channel: Path, repaired: AbstractSet[PackId], released: Iterable[PackId]) -> list[PackId]:
    """Link packs of the store at `root` into `channel` in place of differing files; return the packs that were linked.

    A file in the channel that is not the store's file is the damaged version of a repaired pack, unless it hashes to
    its name: then it is kept, because it may be the only undamaged copy. If links are impossible, only `repaired` packs
    are compared and copied. Packs in `released` that are missing from the channel are linked again.

    Raises:
        NoSpace: the disk is full.
        StoreError: the channel cannot be written.
    """
    wanted = set(released)
    replaced: list[PackId] = []
    missing: list[tuple[Path, Path]] = []
    for pack in packs_on_disk(root):
        source, target = pack_in(root, pack), channel / pack_path(pack)
        if not target.exists():
            if pack in wanted:
                missing.append((source, target))
                replaced.append(pack)
        elif not _is_same(source, target) and _replace(source, target, pack, copy=pack in repaired):
            replaced.append(pack)
    link_all(missing)
    return replaced


def count_other_links(path: Path, channel: Path, pack: PackId) -> int:
    """Return how many hard links a pack's file has besides those in the store and in `channel`."""
    target = channel / pack_path(pack)
    with disk_errors(path):
        names = path.stat().st_nlink
    return names - 1 - int(target.exists() and _is_same(path, target))


def _is_same(source: Path, target: Path) -> bool:
    with disk_errors(target):
        return target.samefile(source)


def _replace(source: Path, target: Path, pack: PackId, *, copy: bool) -> bool:
    temporary = new_temporary(target)
    try:
        os.link(source, temporary)
    except OSError:
        if not copy or _name(target) == pack:
            return False
        with disk_errors(target):
            target.unlink()
        link_or_copy(source, target)
        return True
    try:
        is_whole = _name(target) == pack
        if not is_whole:
            publish_file(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()
    return not is_whole


def _name(path: Path) -> str:
    with disk_errors(path):
        return blake3().update_mmap(path).hexdigest()
