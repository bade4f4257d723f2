"""One writer at a time: an advisory lock that ends with its process, however that ends."""

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.errors import StoreError, StoreLocked
from ptmtorrent.store.durable import disk_error, ensure_dir, write_all

LOCK_NAME = "lock"
_BUSY = {errno.EWOULDBLOCK, errno.EACCES}


class WriteLock:
    """The right to write below `folder`, held between `__enter__` and `__exit__`.

    The lock is `flock` on `<folder>/lock`: the system frees it when the process dies, so a left-over file locks
    nothing. The file holds the pid of the last holder, for the message alone.

    Raises:
        StoreLocked: another process holds it, naming the pid.
        StoreError: the folder cannot be written, or the filesystem has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        path = self._folder / LOCK_NAME
        while self._descriptor is None:
            ensure_dir(self._folder)
            self._descriptor = _lock(path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _lock(path: Path) -> int | None:
    """Return the descriptor that holds the lock; None when its last holder removed the file meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        _take(descriptor, path.parent)
        if _is_at(descriptor, path):
            _sign(descriptor, path)
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise disk_error(error, path) from error


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _BUSY:
            raise StoreError(
                f"`{folder}` cannot be locked: {error.strerror}", hint="keep it on a local disk"
            ) from error
        pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        raise StoreLocked(
            f"`{folder}` is being written by another process (pid {pid})",
            hint="wait until it is done, then run the same command again",
        ) from error


def _sign(descriptor: int, path: Path) -> None:
    try:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        raise disk_error(error, path) from error
