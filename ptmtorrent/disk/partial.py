"""Partly downloaded files that survive a kill: files of a hub, and extents of packs.

Bytes are written in order, and the file is synced at every multiple of 4 MiB before further bytes are written. So after
a kill or a power cut, a file of size `s` is intact up to the last such multiple strictly below `s`, where the next run
continues without any other record. The rest, at most 4 MiB, is fetched again.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.disk.durable import disk_errors, ensure_dir, write_all

STEP_BYTES = 4 << 20


def durable_bytes(size: int) -> int:
    """Return how many bytes of a partial file of `size` bytes are durable."""
    return max(0, size - 1) // STEP_BYTES * STEP_BYTES


class PartialFile:
    """A file that is being received, in order, from `position` on; the bytes before it are from earlier runs.

    `length` is the final length; a file of unknown length (None) starts again, because it may have changed. With
    `keep_whole`, a file that has its final length is kept although its last bytes may not be durable: its hash is
    checked before it is used.

    Raises:
        NoSpace: the disk is full; the message has the needed bytes.
        StoreError: it cannot be written.
    """

    def __init__(self, path: Path, length: int | None, *, keep_whole: bool = False) -> None:
        self.path = path
        self.length = length
        self.position = 0
        self._keep_whole = keep_whole
        self._descriptor = -1

    def __enter__(self) -> Self:
        ensure_dir(self.path.parent)
        with disk_errors(self.path, self.length):
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            self.rewind(self._kept(os.fstat(self._descriptor).st_size))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def _kept(self, found: int) -> int:
        if self.length is None or found > self.length:
            return 0
        return found if self._keep_whole and found == self.length else durable_bytes(found)
