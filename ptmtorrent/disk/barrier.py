"""Makes groups of files and of names durable: with one call for the whole disk, where that is sure, else one by one.

A sync of one file waits for the disk once, and so do a thousand of a thousand. `syncfs` writes everything that its disk
has not written yet and waits once. It is used for groups worth it, on filesystems whose `syncfs` writes files and names
and, from Linux 5.8 on, returns the errors that the system met when it wrote them earlier.
"""

import ctypes
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.disk.durable import disk_error, sync_each
from ptmtorrent.errors import NoSpace, StoreError

FEW = 16
"""Files and folders up to which each is synced by itself: other programs' unwritten bytes are not waited for then."""

_REPORTS_ERRORS = (5, 8)
"""The version of Linux from which on `syncfs` returns errors of writing."""
_SURE = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})
"""Numbers of filesystems: ext2 to ext4, XFS, Btrfs, F2FS, tmpfs."""
_STATFS_BYTES = 512
"""More than any system's `struct statfs`, whose first word is the number of the filesystem."""


class Barrier:
    """Syncs files and folders on the disk of the folder `root`. Open it before anything is written.

    Errors of writing are those that the disk met since then, or that were not reported before.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._descriptor = _open_disk(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def sync(self, files: Collection[Path], folders: Collection[Path]) -> dict[Path, StoreError]:
        """Make the bytes of `files` and the names in `folders` durable; return the errors of those that are not.

        Raises:
            NoSpace: the disk is full.
        """
        if self._descriptor is None or len(files) + len(folders) <= FEW:
            return sync_each(files, folders)
        try:
            sync_disk(self._descriptor)
        except OSError as cause:
            error = disk_error(cause, self._root)
            if isinstance(error, NoSpace):
                raise error from cause
            return dict.fromkeys((*files, *folders), error)
        return {}


def sync_disk(descriptor: int) -> None:
    """Write everything that the disk of an open folder has not written yet. Raises `OSError`."""
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _open_disk(root: Path) -> int | None:
    """Return a descriptor of the folder, if its disk is one that can be synced as a whole."""
    if not sys.platform.startswith("linux") or not _reports_errors(os.uname().release):
        return None
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    if _filesystem(descriptor) in _SURE:
        return descriptor
    os.close(descriptor)
    return None


def _reports_errors(release: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and (int(found[1]), int(found[2])) >= _REPORTS_ERRORS


def _filesystem(descriptor: int) -> int | None:
    """Return the number of the filesystem of an open folder; None if the system does not say."""
    library = ctypes.CDLL(None, use_errno=True)
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if not hasattr(library, "syncfs") or not hasattr(library, "fstatfs") or library.fstatfs(descriptor, found):
        return None
    return int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFFFFFF
