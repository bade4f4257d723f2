"""The layout of plain folders, `<root>/<hub>/<package name>/<path>`, and the checks of paths and names in any layout.

No path below the root of a layout may be a link, because a link could lead anywhere. `survey` finds what lies where a
file should go, and `clear` removes what may be removed of it.
"""

import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import (
    disk_error,
    disk_errors,
    disk_errors_but_missing,
    ensure_dir,
    open_regular,
    sync_dir,
)
from ptmtorrent.errors import StoreError
from ptmtorrent.layouts.port import Destination, Finished, Marks
from ptmtorrent.model.ids import check_path, path_bytes, show_path
from ptmtorrent.model.manifest import EXECUTABLE_MODE, FileEntry, Manifest
from ptmtorrent.model.text import count

INCOMING = ".ptmtorrent-incoming"
SHARED_DIR = 0o777
"""The mode of folders for packages, less the umask of the user."""
NAMES = "names"
"""The folder for trying names, below that for unfinished files."""

MAX_REFUSED = 20
"""Files that cannot be written which the record of their package names."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-]|[A-Za-z0-9_-]|\.[A-Za-z0-9_-]{1,63}")
_NOT_ON_WINDOWS = re.compile(rb'[\x00-\x1f\\:*?"<>|]|[. ]$')
_DEVICES = re.compile(rb"(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])(\..*)?", re.DOTALL)
_PIECE_BYTES = 8 << 20
MAX_PATH_BYTES = 4096
"""Limit of a path in a call of the system, its end included."""
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


def ensure_real_dir(root: Path, folder: Path, unsynced: set[Path] | None = None) -> None:
    """Create `folder`, which is below `root`, durably. The path of `root` may contain links, the path below it may not.

    With `unsynced`, folders that have new names are added to it, not synced.

    Raises:
        StoreError: the path contains a link or a file, which the message names; or the folder cannot be created.
    """
    if refuse_links(root, folder) and root.is_dir():
        return
    ensure_dir(root, mode=SHARED_DIR)
    for depth in range(1, len(folder.relative_to(root).parts) + 1):
        place = root.joinpath(*folder.relative_to(root).parts[:depth])
        if os.path.lexists(place) or not _make_dir(place):
            refuse_unless_dir(place)
        else:
            (sync_dir if unsynced is None else unsynced.add)(place.parent)


def _make_dir(place: Path) -> bool:
    """Create a folder; return False if something has just appeared there."""
    with disk_errors(place), suppress(FileExistsError):
        place.mkdir()
        return True
    return False


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
                " home left it: move it away",
                hint="move away what is in the way",
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
    if os.path.lexists(place) and not is_unshared_file(place):
        with suppress(FileNotFoundError), disk_errors_but_missing(place):
            place.unlink()


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


def same_content(path: Path, size: int, digest: str, on_bytes: Callable[[int], None] | None = None) -> bool:
    """Return whether a file at `path` has this size and BLAKE3 hash, or the text of a link there has this hash.

    `on_bytes` is as for `same_file`.

    Raises:
        StoreError: it cannot be read.
    """
    text = read_link(path)
    if text is not None:
        return blake3(path_bytes(text)).hexdigest() == digest
    return path.is_file() and same_file(path, size, digest, on_bytes)


def same_file(path: Path, size: int, digest: str, on_bytes: Callable[[int], None] | None = None) -> bool:
    """Return whether the file at `path` has this size and BLAKE3 hash.

    `on_bytes` is called with the bytes that were hashed, a few megabytes at a time; what it raises ends the reading.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with disk_errors_but_missing(path):
            if path.stat().st_size != size:
                return False
            if on_bytes is None or size <= _PIECE_BYTES:
                same = blake3(max_threads=1).update_mmap(path).hexdigest() == digest
                if on_bytes is not None:
                    on_bytes(size)
                return same
            hashed = blake3(max_threads=1)
            with os.fdopen(open_regular(path), "rb") as stream:
                while piece := stream.read(_PIECE_BYTES):
                    hashed.update(piece)
                    on_bytes(len(piece))
            return hashed.hexdigest() == digest
    except FileNotFoundError:
        return False


class Names:
    """The names of files that the reader's platform takes. A package keeps the names that it has upstream.

    Names of letters, digits, `_`, `-` and `.` are written everywhere. Any other is tried once, as an empty file in a
    folder made below `place` (None: nothing is tried): what a disk refuses or changes depends on its filesystem, its
    mount options and the length of the name. On Windows a name with a separator, a colon or the name of a device would
    be another place, so such names are refused untried. Leaving the context removes the folder.
    """

    def __init__(self, place: Path | None, *, windows: bool = os.name == "nt") -> None:
        self._folder = None if place is None else place / NAMES
        self._windows = windows
        self._known: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        self._clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def _clear(self) -> None:
        """Remove the folder, which a killed process may have left."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def refused(self, paths: Iterable[tuple[int, str]], *, folds: bool) -> dict[int, str]:
        """Return the files of a package that cannot be written, by number, with the reasons.

        `folds`: the disk takes names that differ in case alone for one; of several, the first can be written.
        """
        refused: dict[int, str] = {}
        folded: dict[str, str] = {}
        for number, path in paths:
            reason = self.refusal(path)
            if reason is None and folds and (other := folded.setdefault(path.casefold(), path)) != path:
                reason = (
                    f"`{show_path(path)}` differs in case alone from `{show_path(other)}`, and the disk ignores case"
                )
            if reason is not None:
                refused[number] = reason
        return refused

    def refusal(self, path: str) -> str | None:
        """Return why the file at `path` of a package cannot be written under its name; None if it can."""
        if self._folder is None and not self._windows:
            return None
        return next(filter(None, map(self._refusal_of, path.split("/"))), None)

    def _refusal_of(self, name: str) -> str | None:
        if name not in self._known:
            encoded = path_bytes(name)
            reason = _reason_on_windows(encoded) if self._windows else None
            self._known[name] = reason or (None if _PLAIN_NAME.fullmatch(name) else self._try(encoded))
        reason = self._known[name]
        return None if reason is None else f"`{show_path(name)}` {reason}"

    def _try(self, name: bytes) -> str | None:
        """Make an empty file of this name and remove it; return why that is not possible."""
        if self._folder is None:
            return None
        place = os.fsencode(self._folder) + b"/" + name
        with disk_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
        try:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            if len(place) >= MAX_PATH_BYTES:
                return None  # the folder is too deep for any name: the file's own place is found to be too long
            return f"is a name that the disk does not take: {error.strerror}"
        with disk_errors(self._folder):
            found = list(self._folder.iterdir())
            for each in found:
                each.unlink()
        if [_composed(os.fsencode(each.name)) for each in found] != [_composed(name)]:
            return f"is a name that the disk changes to {found[0].name if found else ''!r}"
        return None


def _reason_on_windows(name: bytes) -> str | None:
    if _NOT_ON_WINDOWS.search(name):
        return "is a name that Windows does not take: a separator, a control character, or a dot or space at its end"
    if _DEVICES.fullmatch(name.lower()):
        return "is the name of a device on Windows"
    return None


def _composed(name: bytes) -> str:
    """Return a name with its accents composed: some disks decompose them, and find the file by either spelling."""
    return unicodedata.normalize("NFC", name.decode(errors="surrogateescape"))


def spell_refused(reasons: Collection[str]) -> str:
    """Return which files are not laid out, and why; "" for none."""
    if not reasons:
        return ""
    more = f" (and {len(reasons) - MAX_REFUSED:,} more)" if len(reasons) > MAX_REFUSED else ""
    named = "; ".join(islice(reasons, MAX_REFUSED))
    return f"{count(len(reasons), 'file')} cannot be written here: {named}{more}"
