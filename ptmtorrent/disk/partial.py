"""Staging files: partly downloaded extents of packs, `<pack>.<offset>-<length>.part`, that survive a kill.

Bytes are written in order, and the file is synced at every multiple of 4 MiB before further bytes are written. So after
a kill or a power cut, a file of size `s` is intact up to the last such multiple strictly below `s`. The rest, at most
4 MiB, is fetched again.
"""

import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.disk.durable import disk_errors, ensure_dir, write_all
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent

STEP_BYTES = 4 << 20
_NAME = re.compile(r"([0-9a-f]{64})\.([0-9]{1,10})-([0-9]{1,10})\.part")


def staging_path(staging: Path, pack: PackId, extent: Extent) -> Path:
    """Return the path of the staging file of `extent` of `pack`."""
    return staging / f"{pack}.{extent.offset}-{extent.length}.part"


def staged_extents(staging: Path) -> dict[PackId, tuple[Extent, ...]]:
    """Return the extents that have a file in the folder `staging`, by pack, in order."""
    found: dict[PackId, list[Extent]] = {}
    if not staging.is_dir():
        return {}
    with disk_errors(staging):
        names = [path.name for path in staging.iterdir()]
    for match in filter(None, map(_NAME.fullmatch, names)):
        extent = Extent(offset=int(match[2]), length=int(match[3]))
        found.setdefault(PackId(match[1]), []).append(extent)
    return {pack: tuple(sorted(extents)) for pack, extents in found.items()}


class StagingFile:
    """A staging file that is being written from `position` on; the bytes before it are from earlier runs.

    Raises:
        NoSpace: the disk is full; the message has the needed bytes.
        StoreError: it cannot be written.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        self.length = length
        self.position = 0
        self._descriptor = -1

    def __enter__(self) -> Self:
        ensure_dir(self.path.parent)
        with disk_errors(self.path, self.length):
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            size = os.fstat(self._descriptor).st_size
            self.rewind(min(max(0, size - 1) // STEP_BYTES * STEP_BYTES, self.length))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    @property
    def left(self) -> int:
        """Number of missing bytes."""
        return self.length - self.position

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
