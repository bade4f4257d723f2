"""Partly downloaded files that survive a kill: files of a hub, and extents of packs.

Bytes are written in order, and the file is synced at every multiple of 4 MiB before further bytes are written. So after
a kill or a power cut, a file of size `s` is intact up to the last such multiple strictly below `s`, where the next run
continues without any other record. The rest, at most 4 MiB, is fetched again.

A run that ends in order loses nothing: it syncs what it leaves and seals it, by removing the permission to write. The
permission, which is in the same inode as the size, comes back before a byte is added; so a file of which all is durable
can never be mistaken for one of which it is not.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.disk.durable import disk_errors, ensure_dir, write_all

STEP_BYTES = 4 << 20
OPEN_MODE, SEALED_MODE = 0o600, 0o400


def durable_bytes(size: int) -> int:
    """Return how many bytes of a partial file of `size` bytes are durable."""
    return max(0, size - 1) // STEP_BYTES * STEP_BYTES


class PartialFiles:
    """The partial files that one run leaves: how far it wrote each itself, and their seals. Used from several threads.

    A run trusts what it wrote without a sync, so a transfer that breaks after every byte continues at the next one.
    """

    def __init__(self) -> None:
        self._written: dict[Path, int] = {}

    def written(self, path: Path) -> int:
        """Return how many bytes of `path` this run wrote, or found to be durable."""
        return self._written.get(path, 0)

    def leave(self, path: Path, position: int) -> None:
        """Remember that an unfinished file was written up to `position`."""
        self._written[path] = position

    def forget(self, path: Path) -> None:
        """Forget a file that is finished."""
        self._written.pop(path, None)

    def seal(self) -> None:
        """Make durable what was left."""
        for path in list(self._written):
            self.forget(path)
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    _seal(descriptor)
                finally:
                    os.close(descriptor)


class PartialFile:
    """A file that is being received, in order, from `position` on; the bytes before it are from earlier runs.

    `length` is the final length; a file of unknown length (None) starts again, because it may have changed. With
    `keep_whole`, a file that has its final length is kept although its last bytes may not be durable: its hash is
    checked before it is used. `files` of the same run say how far it wrote the file itself, and seal it when the run
    ends; without them it is sealed when it is closed unfinished.

    Raises:
        NoSpace: the disk is full; the message has the needed bytes.
        StoreError: it cannot be written.
    """

    def __init__(
        self, path: Path, length: int | None, *, keep_whole: bool = False, files: PartialFiles | None = None
    ) -> None:
        self.path = path
        self.length = length
        self.position = 0
        self._keep_whole = keep_whole
        self._files = files
        self._descriptor = -1

    def __enter__(self) -> Self:
        ensure_dir(self.path.parent)
        with disk_errors(self.path, self.length):
            sealed = unseal(self.path)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, OPEN_MODE)
            self.rewind(self._kept(os.fstat(self._descriptor).st_size, sealed=sealed))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._files is not None and self.left == 0:
                self._files.forget(self.path)
            elif self._files is not None:
                self._files.leave(self.path, self.position)
            elif self.left and self.position:
                with suppress(OSError):
                    _seal(self._descriptor)
        finally:
            os.close(self._descriptor)

    @property
    def left(self) -> int | None:
        """Number of missing bytes; None if the length is unknown."""
        return None if self.length is None else self.length - self.position

    def rewind(self, position: int) -> None:
        """Truncate the file to `position` bytes."""
        with disk_errors(self.path, self.length):
            os.ftruncate(self._descriptor, position)
            os.lseek(self._descriptor, position, os.SEEK_SET)
        self.position = position

    def write(self, data: bytes) -> None:
        """Append `data`, syncing at each multiple of 4 MiB."""
        rest = memoryview(data)
        with disk_errors(self.path, self.left):
            while rest:
                part = rest[: STEP_BYTES - self.position % STEP_BYTES]
                write_all(self._descriptor, part)
                self.position += len(part)
                rest = rest[len(part) :]
                if self.position % STEP_BYTES == 0:
                    os.fdatasync(self._descriptor)

    def read_start(self, length: int) -> bytes:
        """Return the first `length` bytes; fewer if the file is shorter."""
        with disk_errors(self.path):
            return os.pread(self._descriptor, length, 0)

    def _kept(self, found: int, *, sealed: bool) -> int:
        if self.length is None or found > self.length:
            return 0
        own = self._files.written(self.path) if self._files is not None else 0
        if sealed or found == own or (self._keep_whole and found == self.length):
            return found
        return durable_bytes(found)


def _is_sealed(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and not found.st_mode & 0o222


def _seal(descriptor: int) -> None:
    os.fdatasync(descriptor)
    os.fchmod(descriptor, SEALED_MODE)


def unseal(path: Path) -> bool:
    """Give a sealed file the permission to write again; return whether it was sealed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # there is none, or what is in its place cannot be opened for writing either
        return False
    try:
        sealed = _is_sealed(os.fstat(descriptor))
        if sealed:
            os.fchmod(descriptor, OPEN_MODE)
        return sealed
    finally:
        os.close(descriptor)
