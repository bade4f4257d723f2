"""Folders that are really there: no component below a root may be a link, because a link could lead anywhere."""

import os
import stat
from pathlib import Path

from ptmtorrent.errors import StoreError
from ptmtorrent.store.durable import disk_errors, ensure_dir, sync_dir


def ensure_real_dir(root: Path, folder: Path) -> None:
    """Make `folder`, which lies below `root`, durably; `root` itself may be reached by links, nothing below it.

    Raises:
        StoreError: a link or a file is in the way, naming it; or the folder cannot be made.
    """
    ensure_dir(root)
    place = root
    for component in folder.relative_to(root).parts:
        place = place / component
        with disk_errors(place):
            try:
                place.mkdir()
            except FileExistsError:
                refuse_unless_dir(place)
            else:
                sync_dir(place.parent)


def refuse_unless_dir(place: Path) -> None:
    """Refuse `place` unless it is a folder itself, not a link to one.

    Raises:
        StoreError: naming it.
    """
    with disk_errors(place):
        mode = os.lstat(place).st_mode
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "not a folder"
        raise StoreError(
            f"`{place}` is {what}, and a package needs a folder there",
            hint="move it away, or lay out elsewhere with `--to`",
        )


def ignores_case(folder: Path) -> bool:
    """Tell whether names in `folder` that differ in case alone are one name. Makes and removes a file to find out.

    Raises:
        StoreError: nothing can be written there.
    """
    ensure_dir(folder)
    probe = folder / f".ptmtorrent-Case-{os.getpid()}"
    with disk_errors(probe):
        probe.touch()
        try:
            return probe.with_name(probe.name.lower()).exists()
        finally:
            probe.unlink()
