"""File writes that survive a power cut: the bytes first, then the name, then the folder that holds the name.

A file is complete when `rename` makes it visible. A crash leaves either the old file or the new one, and possibly a
file whose name starts with `.tmp-`, which is never read.
"""

import errno
import os
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from ptmtorrent.errors import NoSpace, StoreError

READ_BYTES = 4 << 20

TEMPORARY_PREFIX = ".tmp-"
PRIVATE_DIR = 0o700
"""The mode of folders by default: what a home keeps is for its user alone."""
PUBLIC_DIR, PUBLIC_FILE = 0o755, 0o644
"""The modes of a published channel, which a web server reads as another user."""
_MAX_VECTORS = 512
"""Chunks per call of `writev`; systems allow 1,024."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.EEXIST, errno.ENOTDIR}
_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}
_CANNOT_SYNC_FOLDER = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def disk_error(error: OSError, path: Path, needed: int | None = None) -> StoreError:
    """Return the error of this project for `error` at `path`, to be raised `from error`.

    A full disk or an exhausted quota becomes `NoSpace`, whose message has the `needed` bytes if they are given.
    """
    if error.errno in _FULL:
        bytes_needed = "" if needed is None else f"; {needed} more bytes are needed"
        return NoSpace(
            f"the disk is full: `{path}` could not be written{bytes_needed}",
            hint=f"free some space on the disk of `{path.parent}` and run the same command again",
        )
    if error.errno == errno.ELOOP:
        return StoreError(
            f"`{path}` is a link, which is not followed", hint="look where it leads and remove it, then run again"
        )
    return StoreError(f"`{path}` could not be used: {error.strerror or error}", hint=_hint(error, path))


def _hint(error: OSError, path: Path) -> str | None:
    """Return a hint for an error that the user can resolve; None for others."""
    if error.errno in _NOT_ALLOWED:
        return f"check the permissions of `{path.parent}` and how its disk is mounted, then run the same command again"
    if error.errno in _NO_FOLDER:
        in_the_way = next((existing for existing in (path, *path.parents) if os.path.lexists(existing)), path)
        return f"move `{in_the_way}` away, because a folder is needed there, then run the same command again"
    return None


@contextmanager
def disk_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Raise `disk_error` in place of any `OSError` of the block."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, needed) from error


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`, also when the system writes only a part per call. Raises `OSError`."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_chunks(descriptor: int, chunks: Sequence[bytes | memoryview]) -> None:
    """Write `chunks` in order, with few system calls. Raises `OSError`."""
    rest = deque(memoryview(chunk).cast("B") for chunk in chunks if len(chunk))
    while rest:
        written = os.writev(descriptor, list(islice(rest, _MAX_VECTORS)))
        while rest and written >= len(rest[0]):
            written -= len(rest.popleft())
        if written:
            rest[0] = rest[0][written:]


def read_into(descriptor: int, target: memoryview, offset: int) -> int:
    """Read into `target` from `offset` on; return the bytes read, fewer at the end of the file. Raises `OSError`."""
    done = 0
    while done < len(target) and (count := os.preadv(descriptor, [target[done:]], offset + done)):
        done += count
    return done


def read_at(descriptor: int, offset: int, length: int) -> bytes:
    """Return `length` bytes from `offset` on, fewer at the end of the file. Raises `OSError`."""
    data = os.pread(descriptor, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    done = len(data)
    while done < length and (data := os.pread(descriptor, length - done, offset + done)):
        parts.append(data)
        done += len(data)
    return b"".join(parts)


class NotRegular(OSError):
    """What lies at a path is a FIFO, a device or a socket."""


def open_regular(path: Path, flags: int = 0) -> int:
    """Return a descriptor to read the file at `path`; the caller closes it. `flags` are those of `os.open`.

    Raises:
        NotRegular: it is a FIFO, a device or a socket; nothing was read from it.
        OSError: it cannot be opened; `IsADirectoryError` for a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotRegular(errno.EINVAL, "it is a FIFO, a device or a socket, not a file", str(path))


def read_whole(path: Path, take: Callable[[bytes], object]) -> os.stat_result | None:
    """Give the bytes of the file at `path` to `take`, part by part; return its state, or None if it changed meanwhile.

    The bytes are durable then, where the disk can be written: what is recorded of them must not outlive them.

    Raises:
        OSError: as `open_regular`.
    """
    descriptor = open_regular(path)
    try:
        found = os.fstat(descriptor)
        for offset in range(0, found.st_size, READ_BYTES):
            take(read_at(descriptor, offset, READ_BYTES))
        with suppress(OSError):  # a read-only disk
            os.fsync(descriptor)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return found if (found.st_size, found.st_mtime_ns) == (after.st_size, after.st_mtime_ns) else None


def read_regular(path: Path, limit: int = -1) -> bytes:
    """Return the bytes of the file at `path`, at most `limit` of them; -1 for all.

    Raises:
        OSError: as `open_regular`.
    """
    with os.fdopen(open_regular(path), "rb") as stream:
        return stream.read(limit)


def files_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the entries of `folder` that match `pattern`, sorted; none if the folder does not exist.

    Raises:
        StoreError: the folder cannot be listed.
    """
    try:
        found = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise disk_error(error, folder) from error
    return [path for path in found if fnmatchcase(path.name, pattern)]


def sync_dir(path: Path) -> None:
    """Sync the folder `path`, so that the names in it are durable.

    Raises:
        StoreError: the folder cannot be opened or synced.
    """
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network filesystems cannot sync a folder; nothing can make their renames more durable.
            if error.errno not in _CANNOT_SYNC_FOLDER:
                raise
        finally:
            os.close(descriptor)


def is_unwritable(folder: Path) -> bool:
    """Return whether nothing can be written to `folder`, which need not exist: by its permissions, or by its disk."""
    while not os.access(folder, os.F_OK) and folder != folder.parent:
        folder = folder.parent
    return not os.access(folder, os.W_OK)


def ensure_dir(path: Path, *, sure: bool = False, mode: int = PRIVATE_DIR) -> None:
    """Create the folder `path` and its missing parents, durably.

    They get `mode` less the umask; `PUBLIC_DIR` whatever the umask is.
    An existing folder may not be durable yet, if its creator was killed: `sure` syncs it too.

    Raises:
        StoreError: the folder cannot be created, or the path is a file.
    """
    made: list[Path] = []
    for folder in (path, *path.parents):
        if folder.is_dir():
            break
        made.append(folder)
    if sure and os.access(folder.parent, os.R_OK | os.W_OK):
        sync_dir(folder.parent)
    for folder in reversed(made):
        with disk_errors(folder):
            folder.mkdir(mode, exist_ok=True)
            if mode == PUBLIC_DIR:
                folder.chmod(mode)
        sync_dir(folder.parent)


def publish_file(temporary: Path, target: Path) -> None:
    """Sync the finished file `temporary` and rename it to `target`, on the same filesystem, durably.

    Raises:
        NoSpace: the disk is full.
        StoreError: any other failure; `target` is then as it was.
    """
    with disk_errors(target):
        sync_file(temporary)
    name_file(temporary, target)


def sync_file(path: Path) -> None:
    """Make the bytes of the file at `path` durable. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_each(files: Iterable[Path], folders: Iterable[Path]) -> dict[Path, StoreError]:
    """Make the bytes of `files` and the names in `folders` durable; return the errors of those that are not.

    Raises:
        NoSpace: the disk is full.
    """
    errors: dict[Path, StoreError] = {}
    for path, sync in (*((path, sync_file) for path in files), *((path, sync_dir) for path in folders)):
        try:
            with disk_errors(path):
                sync(path)
        except NoSpace:
            raise
        except StoreError as error:
            errors[path] = error
    return errors


def name_file(temporary: Path, target: Path) -> None:
    """Rename `temporary`, whose bytes are durable already, to `target`, durably; see `publish_file`."""
    with disk_errors(target):
        temporary.replace(target)
    sync_dir(target.parent)


def write_file(path: Path, data: bytes, mode: int | None = PUBLIC_FILE) -> None:
    """Replace the file at `path` with `data`, atomically and durably; missing folders are created, private ones.

    It gets `mode` whatever the umask is; with None the umask decides.

    Raises:
        NoSpace: the disk is full; the message has the needed bytes.
        StoreError: any other failure.
    """
    ensure_dir(path.parent)
    temporary = new_temporary(path)
    try:
        with disk_errors(path, len(data)):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
            try:
                if mode is not None:
                    os.fchmod(descriptor, mode)
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
        publish_file(temporary, path)
    except BaseException:
        _remove_quietly(temporary)
        raise


def write_once(path: Path, data: bytes) -> None:
    """Write `data` to `path` as `write_file` does, unless the file has these bytes already."""
    with suppress(FileNotFoundError), disk_errors_but_missing(path):
        if read_regular(path, len(data) + 1) == data:
            return
    write_file(path, data)


def make_readable(root: Path, path: Path) -> None:
    """Let every user read the file `path`, which is below the folder `root`, whatever the umask was.

    Raises:
        StoreError: a mode cannot be changed.
    """
    for place, is_file in ((path, True), *((parent, False) for parent in path.parents if root in parent.parents)):
        with disk_errors(place):
            mode = stat.S_IMODE(place.stat().st_mode)
            wanted = PUBLIC_FILE if is_file else mode | PUBLIC_DIR
            if mode != wanted:
                place.chmod(wanted)


def link_or_copy(source: Path, target: Path) -> bool:
    """Create `target` with the bytes of `source`, durably, by a hard link if the filesystem allows it.

    Returns True when `target` is a link. A `target` that is the same file, or has the same size, is not changed: the
    function is for files that are named by their hash or never change. Missing folders are created.

    Raises:
        NoSpace: the disk is full; the message has the needed bytes.
        StoreError: any other failure; `target` is then as it was.
    """
    size, there = _compare(source, target)
    if there is not None:
        return there
    ensure_dir(target.parent)
    linked = _place(source, target, size, sure=True)
    sync_dir(target.parent)
    return linked


class Links:
    """Links or copies files as `link_or_copy` does; their names are durable after `sync`, which takes a folder once."""

    def __init__(self) -> None:
        self._folders: set[Path] = set()

    def place(self, source: Path, target: Path) -> bool:
        """Create `target` with the bytes of `source`, which are durable already; return whether it is a link.

        Raises:
            NoSpace: the disk is full; the message has the needed bytes.
            StoreError: any other failure; `target` is then as it was.
        """
        size, there = _compare(source, target)
        if there is None:
            if target.parent not in self._folders:
                ensure_dir(target.parent)
            there = _place(source, target, size, sure=False)
        self.keep(target)
        return there

    def keep(self, target: Path) -> None:
        """Have `sync` make the name of a file durable that is in place: a run that was killed may have created it."""
        self._folders.add(target.parent)

    def sync(self) -> None:
        """Sync each folder that has a new name. Raises `StoreError`."""
        for folder in sorted(self._folders):
            sync_dir(folder)
        self._folders.clear()


def link_all(pairs: Iterable[tuple[Path, Path]]) -> list[bool]:
    """Place each `(source, target)`, then sync each folder once (`Links`); return whether each is a link.

    Raises:
        NoSpace, StoreError: the targets before are in place.
    """
    links = Links()
    linked = [links.place(source, target) for source, target in pairs]
    links.sync()
    return linked


def _compare(source: Path, target: Path) -> tuple[int, bool | None]:
    """Return the size of `source`, and None if `target` is to be replaced by it, else whether they are one file."""
    with disk_errors(source):
        have = source.stat()
    with suppress(FileNotFoundError), disk_errors_but_missing(target):
        found = target.stat()
        if (found.st_dev, found.st_ino) == (have.st_dev, have.st_ino):
            return have.st_size, True
        if found.st_size == have.st_size:
            return have.st_size, False
    return have.st_size, None


def _place(source: Path, target: Path, size: int, *, sure: bool) -> bool:
    """Put a link to `source`, or a copy, at `target`, whose name is not durable yet; return whether it is a link.

    A copy is synced; a linked file only if `sure`.
    """
    temporary = new_temporary(target)
    try:
        linked = _link(source, temporary)
        with disk_errors(target, size):
            if not linked:
                shutil.copyfile(source, temporary)
            if sure or not linked:
                sync_file(temporary)
            temporary.replace(target)
    except BaseException:
        _remove_quietly(temporary)
        raise
    return linked


@contextmanager
def disk_errors_but_missing(path: Path) -> Iterator[None]:
    """Raise `disk_error` in place of any `OSError` of the block but `FileNotFoundError`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise disk_error(error, path) from error


def read_optional(path: Path) -> bytes | None:
    """Return the bytes of a file, or None when it does not exist.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with disk_errors_but_missing(path):
            return read_regular(path)
    except FileNotFoundError:
        return None


def free_bytes(folder: Path) -> int:
    """Return the bytes free on the disk of `folder`, or of its nearest parent that exists."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(existing).free


def require_space(needs: Iterable[tuple[Path, int]], *, hint: str) -> None:
    """Refuse to begin what cannot end: `needs` are folders, and the bytes needed in each.

    Raises:
        NoSpace: naming a folder of the disk, the bytes needed on it and the bytes free.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs:
        with disk_errors(folder):
            device = folder.stat().st_dev
        disks[device] = (folder, needed + disks.get(device, (folder, 0))[1])
    for folder, needed in disks.values():
        with disk_errors(folder):
            free = shutil.disk_usage(folder).free
        if needed > free:
            raise NoSpace(f"{needed} bytes are needed on the disk of `{folder}`, and {free} are free", hint=hint)


def new_temporary(path: Path) -> Path:
    """Return a new path beside `path` for an unfinished file."""
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise disk_error(error, target) from error
    return True


def _remove_quietly(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
