"""Putting received files into the store, two at a time: while one is hashed another is coded.

The store is thread-safe; what becomes of a file is for the thread that claims, captures and commits.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from ptmtorrent.errors import IntegrityError
from ptmtorrent.hubs.client.download import check_md5
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.store.cutters import Nearby
from ptmtorrent.store.pack.classes import PackClass
from ptmtorrent.store.store import Expected, Store, StoredFile
from ptmtorrent.workflows.clone.download_queue import Transfer

KEEPERS = 2


class Keeper:
    """The files on their way from the spool into `store`. Leaving the context waits for those being stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(KEEPERS, thread_name_prefix="keep")
        self._running: dict[Future[StoredFile], Transfer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def futures(self) -> tuple[Future[StoredFile], ...]:
        """The files under way."""
        return tuple(self._running)

    def keep(
        self,
        transfer: Transfer,
        file: HubFile,
        pack_class: PackClass,
        *,
        bases: Sequence[StoredFile],
        nearby: Nearby,
    ) -> None:
        """Check what was received and store it as `file`, in packs of `pack_class`; the rest as `Store.add_file`."""
        future = self._pool.submit(self._check_in, transfer, file, pack_class, bases=bases, nearby=nearby)
        self._running[future] = transfer

    def _check_in(
        self, transfer: Transfer, file: HubFile, pack_class: PackClass, *, bases: Sequence[StoredFile], nearby: Nearby
    ) -> StoredFile:
        part = transfer.part
        try:
            # The store takes no MD5 of what it reads: so few files come with one that a second reading costs less.
            oid = None if check_md5(file, part) else file.oid
            expected = Expected(size=file.size, oid=oid)
            return self._store.add_file(part, file.path, expected, pack_class, bases=bases, nearby=nearby)
        except IntegrityError as error:
            raise IntegrityError(f"{transfer.what}: {error.message}") from error

    def take(self, future: Future[StoredFile]) -> Transfer:
        """Return what a finished future was about."""
        return self._running.pop(future)
