"""Received files on their way into the store, two at a time: while one is hashed another is encoded.

The store is thread-safe; the capture loop alone claims, captures and commits.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from ptmtorrent.errors import IntegrityError
from ptmtorrent.hubs.client.download import check_md5
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.store.cutters import Nearby
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Expected, Store, StoredFile
from ptmtorrent.workflows.clone.download_queue import Transfer

STORE_THREADS = 2


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
        part = transfer.part
        try:
            # The store computes no MD5 while it reads: few files come with one, so a second read costs less.
            oid = None if check_md5(file, part) else file.oid
            expected = Expected(size=file.size, oid=oid)
            return self._store.add_file(part, file.path, expected, pack_class, bases=bases, nearby=nearby)
        except IntegrityError as error:
            raise IntegrityError(f"{transfer.what}: {error.message}") from error
