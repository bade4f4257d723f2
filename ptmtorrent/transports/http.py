"""Downloads packs over HTTP from any static server: several extents in parallel, each resumed where it ended.

A whole pack is a plain GET, a part of a pack a Range request. A server that ignores Range is usable if it sends the
whole pack. A wrong reply makes its extent `Failed`; retries are left to `Retrying`.
"""

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Condition, Thread

import httpx2

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.channel.readers import url_of
from ptmtorrent.disk.partial import PartialFile, PartialFiles
from ptmtorrent.errors import IntegrityError, Interrupted, PtmError, StoreError, TransportError
from ptmtorrent.http import is_whole, judge_range, spell_range, stated_length, stated_total, translate_errors
from ptmtorrent.model.plan import Extent, PackRequest, staging_path
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import WINDOW_BYTES, Delivered, Failed

CONNECTIONS = 4
JOIN_SECONDS = 1.0
POLL_SECONDS = 0.2
"""Interval at which a wait for the next extent polls the stop flag."""

Job = tuple[PackRequest, Extent]
Outcome = Delivered | Failed


class HttpTransport:
    """Delivers extents of packs from the channel at `url`; `on_bytes` receives the payload bytes of every chunk."""

    whole_packs = False

    def __init__(
        self,
        url: str,
        client: httpx2.Client,
        *,
        connections: int = CONNECTIONS,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = url.rstrip("/")
        self._client = client
        self._connections = connections
        self._on_bytes = on_bytes
        self._files = PartialFiles()

    def seal(self) -> None:
        """Make durable what extents were left unfinished, at the end of a run."""
        self._files.seal()

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        jobs = [(request, extent) for request in requests for extent in request.extents]
        with contextlib.closing(_WorkerPool(self._fetch, jobs, staging, stop, self._connections)) as pool:
            yield from pool.outcomes()

    def _fetch(self, job: Job, staging: Path, halted: Callable[[], bool]) -> Outcome | None:
        """Download one extent into `staging`; return None when halted.

        Raises:
            StoreError: `staging` cannot be written.
        """
        request, extent = job
        received = 0

        def count(size: int) -> None:
            nonlocal received
            received += size
            self._on_bytes(size)

        path = staging_path(staging, request.pack, extent)
        try:
            with PartialFile(path, extent.length, files=self._files) as file:
                self._receive(file, request, extent, count, halted)
                if file.position < extent.length:
                    return None
        except StoreError:
            raise
        except Interrupted:
            return None
        except PtmError as error:
            return Failed(
                request=request, extent=extent, source=self.name, error=error, moved=received, kept=file.position
            )
        return Delivered(
            request=request, extent=extent, path=path, start=0, moved=received, source=self.name, temporary=True
        )

    def _receive(
        self,
        file: PartialFile,
        request: PackRequest,
        extent: Extent,
        count: Callable[[int], None],
        halted: Callable[[], bool],
    ) -> None:
        left = extent.length - file.position
        if not left:
            return
        url = url_of(self.name, pack_path(request.pack))
        offset = extent.offset + file.position
        plain = offset == 0 and extent.length == request.size
        headers = {} if plain else {"Range": spell_range(offset, left)}
        with translate_errors(f"`{url}`"), self._client.stream("GET", url, headers=headers) as response:
            skip = _check(response, url, request, offset, left)
            for part in response.iter_raw():  # in chunks, what came before a break would be lost
                if halted():
                    return
                count(len(part))
                wanted = part[skip : skip + left]
                skip = max(0, skip - len(part))
                file.write(wanted)
                left -= len(wanted)
                if not left:
                    break
        if left:
            raise TransportError(f"`{url}` ended {left} bytes early")


def _check(response: httpx2.Response, url: str, request: PackRequest, offset: int, length: int) -> int:
    """Refuse a reply that cannot hold the requested bytes; return how many bytes of the body precede them."""
    total = stated_total(response)
    if response.status_code < 500 and total not in {-1, request.size}:
        raise IntegrityError(f"the pack `{url}` is {total} bytes, not {request.size}")
    skip = judge_range(response, f"`{url}`", first=offset, last=offset + length - 1)
    if skip is None:
        raise IntegrityError(f"the pack `{url}` is shorter than {request.size} bytes")
    stated = stated_length(response)
    if is_whole(response):
        if stated not in {-1, request.size}:
            raise IntegrityError(f"the pack `{url}` is {stated} bytes, not {request.size}")
    elif stated not in {-1, length}:
        raise TransportError(f"`{url}` sends {stated} bytes instead of the requested {length}")
    return skip


class _WorkerPool:
    """A pool of threads that run jobs, with a bound on staged bytes that are not consumed yet."""

    def __init__(
        self,
        fetch: Callable[[Job, Path, Callable[[], bool]], Outcome | None],
        jobs: Sequence[Job],
        staging: Path,
        stop: Stop,
        width: int,
    ) -> None:
        self._fetch = fetch
        self._staging = staging
        self._stop = stop
        self._closed = Stop()
        self._jobs = iter(jobs)
        self._count = len(jobs)
        self._unconsumed = 0
        self._changed = Condition()
        self._done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(min(width, len(jobs)))]

    def outcomes(self) -> Iterator[Outcome]:
        """Yield outcomes as jobs finish, until all have finished or `stop` is set."""
        for thread in self._threads:
            thread.start()
        for _ in range(self._count):
            outcome = self._next()
            if outcome is None:
                return
            yield outcome
            self._release(outcome.extent.length)

    def close(self) -> None:
        """Stop the threads. A thread that waits for a silent server ends later by itself, and writes nothing more."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(JOIN_SECONDS)

    def _next(self) -> Outcome | None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                outcome = self._done.get(timeout=POLL_SECONDS)
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome
        return None

    def _halted(self) -> bool:
        return self._stop.is_set() or self._closed.is_set()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            try:
                outcome: Outcome | BaseException | None = self._fetch(job, self._staging, self._halted)
            except BaseException as error:  # noqa: BLE001  # raised again by the consumer of the queue
                outcome = error
            if outcome is not None:
                self._done.put(outcome)
            if not isinstance(outcome, (Delivered, Failed)):
                return

    def _take(self) -> Job | None:
        """Return the next job once its bytes fit into the window; a job larger than the window runs alone."""
        with self._changed:
            job = next(self._jobs, None)
            if job is None:
                return None
            length = job[1].length
            self._changed.wait_for(lambda: self._halted() or self._fits(length))
            self._unconsumed += length
            return None if self._halted() else job

    def _fits(self, length: int) -> bool:
        return not self._unconsumed or self._unconsumed + length <= WINDOW_BYTES

    def _release(self, length: int) -> None:
        with self._changed:
            self._unconsumed -= length
            self._changed.notify_all()
