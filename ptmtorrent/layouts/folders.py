"""Places that are really there: no component below a root may be a link, because a link could lead anywhere."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, disk_errors_but_missing, ensure_dir, new_temporary, sync_dir
from ptmtorrent.errors import StoreError

_MOVE_IT = "move it away, or lay out elsewhere with `--to`"


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


def refuse_links(root: Path, folder: Path) -> None:
    """Refuse `folder` when something below `root` on the way to it is there and is no folder itself.

    Raises:
        StoreError: naming it.
    """
    place = root
    for component in folder.relative_to(root).parts:
        place = place / component
        if not os.path.lexists(place):
            return
        refuse_unless_dir(place)


def refuse_unless_dir(place: Path) -> None:
    """Refuse `place` unless it is a folder itself, not a link to one.

    Raises:
        StoreError: naming it.
    """
    with disk_errors(place):
        mode = os.lstat(place).st_mode
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "not a folder"
        raise StoreError(f"`{place}` is {what}, and a package needs a folder there", hint=_MOVE_IT)


def refuse_strange(place: Path) -> None:
    """Refuse a place where something is that is not a plain file: it would be followed, waited for or lost.

    Raises:
        StoreError: it is a link or a file, or it cannot be read.
    """
    with suppress(FileNotFoundError), disk_errors_but_missing(place):
        mode = os.lstat(place).st_mode
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
            what = kinds.get(stat.S_IFMT(mode), "not a plain file")
            raise StoreError(f"`{place}` is {what}, and a package needs a file there", hint=_MOVE_IT)


def read_link(place: Path) -> str | None:
    """Return the text of the link at `place`; None when nothing or something else is there.

    Raises:
        StoreError: it cannot be read.
    """
    with suppress(FileNotFoundError), disk_errors_but_missing(place):
        return os.readlink(place) if place.is_symlink() else None  # noqa: PTH115  # the text, not a path
    return None


def is_ours_alone(place: Path) -> bool:
    """Tell whether `place` is a plain file with no other name: writing into it changes nothing elsewhere."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def drop_shared(place: Path) -> None:
    """Remove the name `place` when writing there would change something elsewhere: a link, a second name, a device.

    Raises:
        StoreError: it is a folder, or cannot be removed.
    """
    if not is_ours_alone(place):
        with suppress(FileNotFoundError), disk_errors_but_missing(place):
            place.unlink()


def ignores_case(folder: Path) -> bool:
    """Tell whether names in `folder` that differ in case alone are one name. Makes and removes a file to find out.

    Raises:
        StoreError: nothing can be written there.
    """
    ensure_dir(folder)
    probe = new_temporary(folder / "probe")
    with disk_errors(probe):
        probe.touch(exist_ok=False)
        try:
            return probe.with_name(probe.name.upper()).exists()
        finally:
            probe.unlink()


def files_below(folder: Path) -> list[Path]:
    """Return everything below `folder` that is no folder itself, sorted; links are not followed.

    Raises:
        StoreError: a folder cannot be read.
    """
    found: list[Path] = []
    left = [folder]
    while left:
        place = left.pop()
        with suppress(FileNotFoundError), disk_errors_but_missing(place), os.scandir(place) as entries:
            for entry in entries:
                (left if entry.is_dir(follow_symlinks=False) else found).append(place / entry.name)
    return sorted(found)


def same_file(path: Path, size: int, digest: str) -> bool:
    """Return whether the file at `path` has these bytes, by hashing it.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with disk_errors_but_missing(path):
            if path.stat().st_size != size:
                return False
            return blake3(max_threads=1).update_mmap(path).hexdigest() == digest
    except FileNotFoundError:
        return False
