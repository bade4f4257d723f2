"""Group commit: captures are made durable together, at most once a second, by a thread of their own.

The store syncs as often for one package as for a thousand. While a group is committed, packages of the next one are
captured. A package is `ok` once its group is durable: a crash loses at most the groups that are not, which the next run
captures again.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.state.clone_journal import COMMIT_BYTES, Work
from ptmtorrent.store.store import Store

GROUP_SECONDS = 1.0
"""Shortest time between the beginnings of two commits, unless the bytes on hold become too many."""


@dataclass
class Group:
    """Packages that were captured, the parts of the spool that were stored, and the bytes of these."""

    captured: list[tuple[Work, SnapshotId]] = field(default_factory=list)
    parts: list[Path] = field(default_factory=list)
    bytes: int = 0


class GroupCommit:
    """Commits what was captured in `store`, group by group. Used by one thread; leaving the context waits."""

    def __init__(self, store: Store, monotonic: Monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._open = Group()
        self._committing: tuple[Future[None], Group] | None = None
        self._began = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    @property
    def futures(self) -> tuple[Future[None], ...]:
        """The commit in progress."""
        return (self._committing[0],) if self._committing is not None else ()

    @property
    def is_full(self) -> bool:
        """Whether the parts on hold take as much of the disk as they may."""
        return self._open.bytes >= COMMIT_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be committed; parts without a package that was captured can wait."""
        return not self._open.captured and not self.is_full

    @property
    def is_due(self) -> bool:
        """Whether the next group can be committed now."""
        waited = self._monotonic() - self._began >= GROUP_SECONDS
        return self._committing is None and not self.is_empty and waited

    def add_part(self, part: Path, size: int = 0) -> None:
        """Add a part whose file is stored, `size` bytes of it by this run."""
        self._open.parts.append(part)
        self._open.bytes += size

    def add_capture(self, work: Work, snapshot: SnapshotId) -> None:
        """Add a package whose capture is in the store."""
        self._open.captured.append((work, snapshot))

    def start(self) -> None:
        """Begin to commit what was added so far; no other commit may be in progress."""
        group, self._open = self._open, Group()
        self._began = self._monotonic()
        self._committing = (self._pool.submit(self._store.commit), group)

    def finish(self) -> Group:
        """Wait for the commit in progress, and return the group that is durable now; an empty one if there is none.

        Raises:
            NoSpace, StoreError: the commit failed; nothing is known about the group.
        """
        if self._committing is None:
            return Group()
        (future, group), self._committing = self._committing, None
        future.result()
        return group
