"""The layout of plain folders, `<root>/<hub>/<package name>/<path>`, and the checks of existing paths in any layout.

No path below the root of a layout may be a link, because a link could lead anywhere. `survey` finds what lies where a
file should go, and `clear` removes what may be removed of it.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import (
    disk_error,
    disk_errors,
    disk_errors_but_missing,
    ensure_dir,
    new_temporary,
    sync_dir,
)
from ptmtorrent.errors import StoreError
from ptmtorrent.layouts.port import Destination, Finished, Marks
from ptmtorrent.model.ids import check_path, path_bytes
from ptmtorrent.model.manifest import EXECUTABLE_MODE, FileEntry, Manifest

INCOMING = ".ptmtorrent-incoming"
SHARED_DIR = 0o777
"""The mode of folders for packages, less the umask of the user."""
_MOVE_IT = "move it away, or choose another folder with `--to`"
_FORCE = "move it away, or replace it with `--force`"

Identity = tuple[int, int, int, int, int]
"""Device, number, mode, size and time of change of what lies at a path: what tells whether it is still the same."""


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What lies where a file should go: `seen` at its path, and `clears`, to be removed before it can be there.

    `forced` are those that no fetch left as they are, and that are replaced all the same.
    """

    seen: Identity | None = None
    clears: tuple[tuple[Path, Identity], ...] = ()
    forced: tuple[Path, ...] = ()

    @property
    def has_file(self) -> bool:
        """Whether a regular file is there."""
        return self.seen is not None and stat.S_ISREG(self.seen[2])

    @property
    def is_free(self) -> bool:
        """Whether nothing is there, and nothing is in the way."""
        return self.seen is None and not self.clears


class PlainDir:
    """The layout of packages below `root` as the folders they are upstream."""

    name = "dir"
    keeps_snapshots = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def incoming(self) -> Path:
        """Return the folder for unfinished files; see `Layout.incoming`."""
        return self.root / INCOMING

    def destination(self, manifest: Manifest, file: FileEntry) -> Destination:
        """Return the destination of `file`; see `Layout.destination`."""
        mode = 0o755 if file.mode == EXECUTABLE_MODE else 0o644
        return Destination(target=self.folder(manifest) / file.name, mode=mode, link_text=file.link)

    def place(self, manifest: Manifest, file: FileEntry) -> str:  # noqa: ARG002  # as the port has it
        """Return the path of `file`; see `Layout.place`."""
        return file.name

    def finish(self, manifest: Manifest, files: tuple[FileEntry, ...], marks: Marks) -> Finished:  # noqa: ARG002  # needs nothing more
        """Return the package's folder; see `Layout.finish`."""
        return Finished(folder=self.folder(manifest))

    def folder(self, manifest: Manifest) -> Path:
        """Return the folder of the package; see `Layout.folder`."""
        package = manifest.package
        check_path(f"{package.hub}/{package.name}")
        return self.root.joinpath(package.hub, package.name)


def ensure_real_dir(root: Path, folder: Path) -> None:
    """Create `folder`, which is below `root`, durably. The path of `root` may contain links, the path below it may not.

    Raises:
        StoreError: the path contains a link or a file, which the message names; or the folder cannot be created.
    """
    ensure_dir(root, mode=SHARED_DIR)
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


def refuse_links(root: Path, folder: Path) -> bool:
    """Refuse `folder` if a component of its path below `root` exists and is not a folder; return whether it exists.

    Raises:
        StoreError: naming the component.
    """
    place, inside = str(root), str(folder)
    at = len(place) if place != "/" else 0
    while at < len(inside):
        at = inside.find("/", at + 1)
        at = len(inside) if at < 0 else at
        try:
            mode = os.lstat(inside[:at]).st_mode
        except OSError:
            return False
        if not stat.S_ISDIR(mode):
            refuse_unless_dir(Path(inside[:at]))
    return True


def refuse_unless_dir(place: Path) -> None:
    """Refuse `place` unless it is a folder; a link to a folder is refused.

    Raises:
        StoreError: it is not a folder.
    """
    with disk_errors(place):
        mode = os.lstat(place).st_mode
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "not a folder"
        raise StoreError(f"`{place}` is {what}, and a package needs a folder there", hint=_MOVE_IT)


def refuse_unless_file(place: Path) -> None:
    """Refuse `place` if it exists and is not a regular file. Writing would follow a link, block on a pipe or lose it.

    Raises:
        StoreError: it is not a regular file, or it cannot be read.
    """
    with suppress(FileNotFoundError), disk_errors_but_missing(place):
        mode = os.lstat(place).st_mode
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
            what = kinds.get(stat.S_IFMT(mode), "not a regular file")
            raise StoreError(f"`{place}` is {what}, and a package needs a file there", hint=_MOVE_IT)


def survey(folder: Path, target: Path, owns: Callable[[Path], bool], *, force: bool) -> Ground:
    """Return what lies where a file of the package in `folder` should go, if it may be removed.

    `owns` states whether a path is as a fetch left it. With `force` other files and links are replaced too, and what a
    link leads to never is. A folder is removed only if nothing else is in it.

    Raises:
        StoreError: something else is in the way, which the message names.
    """
    above = target.parents[: len(target.relative_to(folder).parts) - 1]
    for place in reversed(above):
        found = _identity(place)
        if found is None:
            return Ground()
        if not stat.S_ISDIR(found[2]):
            forced = _may_remove(place, found, owns, force=force)
            return Ground(clears=((place, found),), forced=forced)
    found = _identity(target)
    if found is None:
        return Ground()
    if not stat.S_ISDIR(found[2]):
        return Ground(seen=found, forced=_may_remove(target, found, owns, force=force))
    inside = [(path, _identity(path)) for path in files_below(target)]
    for path, _ in inside:
        if not owns(path):
            raise StoreError(
                f"`{target}` is a folder, and a package needs a file there; `{path}` in it is not as a fetch of this"
                " home left it: move it away"
            )
    return Ground(clears=((target, found), *((path, each) for path, each in inside if each is not None)))


def clear(ground: Ground) -> None:
    """Remove what `survey` found in the way.

    Raises:
        StoreError: something changed since, which the message names.
    """
    for path, seen in reversed(ground.clears):
        found = _identity(path)
        if found is None:
            continue
        if stat.S_ISDIR(seen[2]):
            _remove_empty(path)
        elif found == seen:
            _remove_file(path)
        elif not stat.S_ISDIR(found[2]):  # a folder: another file of the package is there already
            raise _changed(path)


def refuse_changed(target: Path, ground: Ground) -> None:
    """Refuse to replace what is not what `survey` found at the place of a file.

    Raises:
        StoreError: it is something else, or was changed since.
    """
    found = _identity(target)
    if found is not None and found != ground.seen:
        raise _changed(target)


def _may_remove(place: Path, found: Identity, owns: Callable[[Path], bool], *, force: bool) -> tuple[Path, ...]:
    """Return `place` if it is removed only because of `force`, and nothing if a fetch left it as it is."""
    if owns(place):
        return ()
    if not stat.S_ISREG(found[2]) and not stat.S_ISLNK(found[2]):
        raise StoreError(f"`{place}` is not a regular file, and a package needs its place", hint=_MOVE_IT)
    if not force:
        what = "a link that" if stat.S_ISLNK(found[2]) else "in the way, and"
        raise StoreError(f"`{place}` is {what} is not as a fetch of this home left it; {_FORCE}", hint=_FORCE)
    return (place,)


def _remove_file(path: Path) -> None:
    """Remove a file, unless another thread has just put a folder of the package in its place."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if path.is_symlink() or not path.is_dir():
            raise disk_error(error, path) from error


def _remove_empty(folder: Path) -> None:
    """Remove a folder in which there are only folders."""
    for place, _, _ in os.walk(folder, topdown=False):
        with disk_errors(Path(place)):
            Path(place).rmdir()


def _identity(place: Path) -> Identity | None:
    try:
        found = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise disk_error(error, place) from error
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


def _changed(place: Path) -> StoreError:
    return StoreError(f"`{place}` was changed while its package was fetched", hint="run the same command again")


def read_link(place: Path) -> str | None:
    """Return the text of the symbolic link at `place`; None if there is no link.

    Raises:
        StoreError: it cannot be read.
    """
    with suppress(FileNotFoundError), disk_errors_but_missing(place):
        return os.readlink(place) if place.is_symlink() else None  # noqa: PTH115  # the text, not a path
    return None


def spelled(folder: Path, path: Path) -> Path:
    """Return `path`, which is below `folder`, with its names as a disk that ignores case keeps them."""
    place = folder
    for name in path.relative_to(folder).parts:
        try:
            there = os.listdir(place)  # noqa: PTH208  # of many names
        except OSError:
            there = []
        same = [each for each in there if each.casefold() == name.casefold()]
        place /= name if name in same or not same else same[0]
    return place


def respell(folder: Path, paths: Iterable[Path]) -> None:
    """Give what is below `folder` the spelling of `paths`, where a disk that ignores case kept another one.

    Raises:
        StoreError: something cannot be renamed.
    """
    wanted: dict[str, Path] = {}
    for path in paths:
        for place in (path, *path.parents):
            if place == folder:
                break
            wanted[str(place).casefold()] = place
    left = [folder]
    while left:
        place = left.pop()
        with disk_errors(place), os.scandir(place) as entries:
            there = [(Path(entry), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for found, is_dir in there:
            named = wanted.get(str(found).casefold(), found)
            if named.name != found.name:
                with disk_errors(found):
                    found.rename(named)
            if is_dir:
                left.append(named)


def is_executable(place: Path) -> bool:
    """Return whether the owner of the file at `place` may execute it.

    Raises:
        StoreError: it cannot be read.
    """
    with disk_errors(place):
        return bool(os.lstat(place).st_mode & stat.S_IXUSR)


def is_unshared_file(place: Path) -> bool:
    """Return whether `place` is a regular file with a single name, so that writing to it changes no other path."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def remove_shared(place: Path) -> None:
    """Remove the name `place` if writing to it would change another path: a link, a hard link or a device.

    Raises:
        StoreError: it is a folder, or cannot be removed.
    """
    if not is_unshared_file(place):
        with suppress(FileNotFoundError), disk_errors_but_missing(place):
            place.unlink()


def ignores_case(folder: Path) -> bool:
    """Return whether the filesystem of `folder` ignores case; creates and removes a file to find out.

    Raises:
        StoreError: `folder` cannot be written.
    """
    ensure_dir(folder, mode=SHARED_DIR)
    probe = new_temporary(folder / "probe")
    with disk_errors(probe):
        probe.touch(exist_ok=False)
        try:
            return probe.with_name(probe.name.upper()).exists()
        finally:
            probe.unlink()


def holds_links(folder: Path) -> bool:
    """Return whether the filesystem of `folder` has symbolic links; creates and removes one to find out.

    Raises:
        StoreError: `folder` cannot be written.
    """
    ensure_dir(folder, mode=SHARED_DIR)
    probe = new_temporary(folder / "probe")
    try:
        probe.symlink_to("probe")
    except OSError as error:
        if error.errno in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
            return False
        raise disk_error(error, probe) from error
    with disk_errors(probe):
        probe.unlink()
    return True


def files_below(folder: Path) -> list[Path]:
    """Return everything below `folder` that is not a folder, sorted; links are not followed.

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


def same_content(path: Path, size: int, digest: str) -> bool:
    """Return whether a file at `path` has this size and BLAKE3 hash, or the text of a link there has this hash.

    Raises:
        StoreError: it cannot be read.
    """
    text = read_link(path)
    if text is not None:
        return blake3(path_bytes(text)).hexdigest() == digest
    return path.is_file() and same_file(path, size, digest)


def same_file(path: Path, size: int, digest: str) -> bool:
    """Return whether the file at `path` has this size and BLAKE3 hash.

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
