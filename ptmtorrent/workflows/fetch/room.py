"""The disk a fetch takes, and what it leaves behind in `incoming`: asked before it starts, cleared when it is done."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from ptmtorrent.errors import NoSpace
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Plan
from ptmtorrent.model.volume import pack_path
from ptmtorrent.store.durable import disk_errors
from ptmtorrent.store.locks import LOCK_NAME
from ptmtorrent.transports.port import WINDOW_BYTES
from ptmtorrent.transports.staging import staged_extents, staging_path
from ptmtorrent.workflows.fetch.wanted import Wanted

STAGED_BYTES = 2 * WINDOW_BYTES
STAGED_PACKS = 4
"""Packs that come, or wait to be decoded, take no more than these bytes and these many packs: each transport has a
window that it may exceed by one pack, one may wait between two threads, and one is being decoded."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes needed beyond what is there: for the files, and at most for packs at the same time.

    `waiting` are bases and deltas beside the files, until each has the other.
    """

    files: int
    staged: int
    waiting: int

    @property
    def bytes(self) -> int:
        """All together."""
        return self.files + self.staged + self.waiting


def room_needed(wanted: Wanted, plan: Plan, waiting: int, *, staged: bool, keep: bool) -> Room:
    """Return the most that laying out takes at once. `staged` is false when packs are read in place."""
    files = sum(file.size - file.allocated for file in wanted.unfinished)
    most = (
        plan.bytes_to_move if keep else STAGED_BYTES + STAGED_PACKS * max((r.bytes for r in plan.requests), default=0)
    )
    return Room(files=files, staged=min(plan.bytes_to_move, most) if staged or keep else 0, waiting=waiting)


def check_room(room: Room, root: Path, staging: Path) -> None:
    """Refuse to begin what cannot end.

    Raises:
        NoSpace: naming the disk, the bytes needed and the bytes free.
    """
    folders = {folder.stat().st_dev: folder for folder in (root, staging)}
    for device, folder in folders.items():
        beside = (room.files + room.waiting) * (root.stat().st_dev == device)
        needed = beside + room.staged * (staging.stat().st_dev == device)
        with disk_errors(folder):
            free = shutil.disk_usage(folder).free
        if needed > free:
            raise NoSpace(
                f"{needed} bytes are needed on the disk of `{folder}`, and {free} are free",
                hint="free some space, lay out elsewhere with `--to`, or take less with `--only` or `--max-bytes`",
            )


def clear_staging(staging: Path, packs: Iterable[PackId]) -> None:
    """Remove what earlier runs left of packs that are not needed any more."""
    staged = staged_extents(staging)
    for pack in packs:
        left = [staging_path(staging, pack, extent) for extent in staged.get(pack, ())]
        for path in (*left, staging / pack_path(pack)):
            with disk_errors(path):
                path.unlink(missing_ok=True)


def clear_incoming(incoming: Path) -> None:
    """Remove the folder of unfinished files when none is left in it."""
    with suppress(OSError):
        if [path.name for path in incoming.iterdir()] == [LOCK_NAME]:
            (incoming / LOCK_NAME).unlink()
            incoming.rmdir()
