"""Advisory locks, exclusive or shared, that the system frees when their process ends for any reason."""

import errno
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.disk.durable import disk_error, ensure_dir, open_regular, write_all
from ptmtorrent.errors import StoreError, StoreLocked

LOCK_NAME = "lock"
PASSING = "passing"
"""Written after the pid by a process that holds the lock exclusively only while it opens the folder for sharing."""

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.05
_CONFIRMATIONS = 4
"""Checks that must find a holder not to be passing: its note is written only after it takes the lock."""

_BUSY = {errno.EWOULDBLOCK, errno.EACCES}


class WriteLock:
    """The exclusive right to write below `folder`, held between `__enter__` and `__exit__`.

    The lock is `flock` on `<folder>/lock`. The system frees it when the process ends, so a remaining file locks
    nothing. The file holds the pid of the last holder, which is used only in messages.

    Raises:
        StoreLocked: another process holds the lock; the message has its pid.
        StoreError: the folder cannot be written, or the filesystem has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        while self._descriptor is None:
            self._descriptor = _lock(self._folder, exclusive=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SharedLock(WriteLock):
    """The right to write below `folder`, shared with other processes.

    The first process holds the lock exclusively, so that it can clean up. It then admits other processes with
    `share`, or refuses them with `keep`.

    Raises:
        StoreLocked: another process holds the lock exclusively, and not only while it opens the folder; the message
            has its pid.
        StoreError: the folder cannot be written, or the filesystem has no locks.
    """

    exclusive = False
    _refusals = 0

    def __enter__(self) -> Self:
        until = time.monotonic() + WAIT_SECONDS
        while self._descriptor is None:
            try:
                self._descriptor = _lock(self._folder, exclusive=True, note=PASSING)
                self.exclusive = self._descriptor is not None
            except StoreLocked:
                self._descriptor = self._join(until)
        return self

    def keep(self) -> None:
        """Keep the lock as it is. If it is exclusive, other processes are refused at once."""
        if self._descriptor is not None:
            _sign(self._descriptor, self._folder / LOCK_NAME)

    def share(self) -> None:
        """Make the lock shared, so that other processes may write too."""
        if self._descriptor is not None and self.exclusive:
            _take(self._descriptor, self._folder, fcntl.LOCK_SH)
            self.exclusive = False
        self.keep()

    def _join(self, until: float) -> int | None:
        try:
            return _lock(self._folder, exclusive=False)
        except StoreLocked:
            self._refusals = 0 if _is_passing(self._folder) else self._refusals + 1
            if self._refusals >= _CONFIRMATIONS or time.monotonic() > until:
                raise
            time.sleep(_POLL_SECONDS)
            return None


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of `folder` exclusively."""
    try:
        descriptor = open_regular(folder / LOCK_NAME, os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _BUSY
    finally:
        os.close(descriptor)
    return False


def _lock(folder: Path, *, exclusive: bool, note: str = "") -> int | None:
    """Return the descriptor that holds the lock; None if the last holder removed the file meanwhile."""
    path = folder / LOCK_NAME
    ensure_dir(folder, sure=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        _take(descriptor, folder, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        if _is_at(descriptor, path):
            _sign(descriptor, path, note)
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


def _take(descriptor: int, folder: Path, how: int) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _BUSY:
            raise StoreError(
                f"`{folder}` cannot be locked: {error.strerror}", hint="keep it on a local disk"
            ) from error
        pid = (os.pread(descriptor, 64, 0).decode(errors="replace").split() or ["unknown"])[0]
        raise StoreLocked(
            f"`{folder}` is being written by another process (pid {pid})",
            hint="wait until it is done, then run the same command again",
        ) from error


def _is_passing(folder: Path) -> bool:
    try:
        return (folder / LOCK_NAME).read_text(errors="replace").split()[1:] == [PASSING]
    except OSError:
        return False


def _sign(descriptor: int, path: Path, note: str = "") -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        write_all(descriptor, f"{os.getpid()} {note}".strip().encode() + b"\n")
    except OSError as error:
        raise disk_error(error, path) from error
