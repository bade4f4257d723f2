"""Our own channel's packs are hard links into the store: a pack that was mended has to take its place there too."""

import os
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, link_or_copy, new_temporary, publish_file
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.volume import pack_path
from ptmtorrent.store.pack.reader import pack_in
from ptmtorrent.store.recovery.recover import packs_on_disk


def mend_links(root: Path, channel: Path, mended: AbstractSet[PackId], released: Iterable[PackId]) -> list[PackId]:
    """Put the packs of the store at `root` in the place of files of `channel` that are others; return those replaced.

    A file on the same disk that is not the store's own is what a mended pack left behind, unless it hashes to its name:
    then it may be the only whole one. Where links are impossible, only `mended` packs are compared and copied. Packs
    that are `released` and missing there are linked again.

    Raises:
        NoSpace: the disk is full.
        StoreError: the channel cannot be written.
    """
    wanted = set(released)
    replaced: list[PackId] = []
    for pack in packs_on_disk(root):
        source, target = pack_in(root, pack), channel / pack_path(pack)
        if not target.exists():
            if pack in wanted:
                link_or_copy(source, target)
                replaced.append(pack)
        elif not _is_same(source, target) and _replace(source, target, pack, must=pack in mended):
            replaced.append(pack)
    return replaced


def other_links(path: Path, channel: Path, pack: PackId) -> int:
    """Return how many names a pack's file has besides those in the store and in `channel`."""
    target = channel / pack_path(pack)
    with disk_errors(path):
        names = path.stat().st_nlink
    return names - 1 - int(target.exists() and _is_same(path, target))


def _is_same(source: Path, target: Path) -> bool:
    with disk_errors(target):
        return target.samefile(source)


def _replace(source: Path, target: Path, pack: PackId, *, must: bool) -> bool:
    temporary = new_temporary(target)
    try:
        os.link(source, temporary)
    except OSError:
        if not must or _name(target) == pack:
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
