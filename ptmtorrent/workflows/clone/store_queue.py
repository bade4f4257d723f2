"""Received files on their way into the store, and the groups in which captures become durable.

Two files are stored at a time: while one is hashed another is encoded. The store is thread-safe; the capture loop alone
claims and captures.

Group commit: captures are made durable together, at most once a second, by a thread of their own. The store syncs as
often for one package as for a thousand. While a group is committed, packages of the next one are captured. A package is
`ok` once its group is durable: a crash loses at most the groups that are not, which the next run captures again.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.errors import IntegrityError, NoSpace, StoreError
from ptmtorrent.hubs.client.download import check_md5, gone
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.state.clone_journal import COMMIT_BYTES, Work
from ptmtorrent.store.cutters import Nearby
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Expected, Store, StoredFile
from ptmtorrent.workflows.clone.download_queue import Transfer

STORE_THREADS = 2

GROUP_SECONDS = 1.0
"""Shortest time between the beginnings of two commits, unless the bytes on hold become too many."""


class StoreQueue:
    """The received files on their way into `store`. Leaving the context waits for those being stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        self._running: dict[Future[StoredFile], Transfer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def futures(self) -> tuple[Future[StoredFile], ...]:
        """The files being stored."""
        return tuple(self._running)

    def add(
        self,
        transfer: Transfer,
        file: HubFile,
        pack_class: PackClass,
        *,
        bases: Sequence[StoredFile],
        nearby: Nearby,
    ) -> None:
        """Verify the part of `transfer` and store it as `file`, in packs of `pack_class`; the rest as `Store.add_file`.

        The future raises `IntegrityError` if the part does not match the hash that the hub lists.
        """
        future = self._pool.submit(self._add_file, transfer, file, pack_class, bases=bases, nearby=nearby)
        self._running[future] = transfer

    def take(self, future: Future[StoredFile]) -> Transfer:
        """Remove a finished future and return its transfer."""
        return self._running.pop(future)

    def _add_file(
        self, transfer: Transfer, file: HubFile, pack_class: PackClass, *, bases: Sequence[StoredFile], nearby: Nearby
    ) -> StoredFile:
        part = transfer.source or transfer.part
        try:
            # The store computes no MD5 while it reads: few files come with one, so a second read costs less.
            oid = None if check_md5(file, part) else file.oid
            expected = Expected(size=file.size, oid=oid)
            return self._store.add_file(part, file.path, expected, pack_class, bases=bases, nearby=nearby)
        except IntegrityError as error:
            raise IntegrityError(f"{transfer.what}: {error.message}") from error
        except StoreError as error:
            if (cause := _cause_in_place(transfer, error)) is not None:
                raise gone(transfer.what, cause) from error
            raise


def _cause_in_place(transfer: Transfer, error: StoreError) -> OSError | None:
    """Return the error of the system where a file of the user's could not be read, which is no trouble of the store."""
    cause = error.__cause__
    is_its = transfer.source is not None and error.message.startswith(f"`{transfer.source}` ")
    return cause if is_its and isinstance(cause, OSError) and not isinstance(error, NoSpace) else None


@dataclass
class Group:
    """Packages that were captured, the parts of the spool that were stored, and the bytes of these.

    A package comes with its snapshot, and with what it lacks, in words ("" for nothing).
    """

    captured: list[tuple[Work, SnapshotId, str]] = field(default_factory=list)
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

    def add_capture(self, work: Work, snapshot: SnapshotId, lacking: str = "") -> None:
        """Add a package whose capture is in the store, and what it lacks."""
        self._open.captured.append((work, snapshot, lacking))

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
