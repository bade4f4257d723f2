"""Packs over HTTP from any static server: several extents at a time, each resumed where it was cut off.

A whole pack is a plain GET; part of one is a Range request. A server that ignores Range is used as long as it sends the
whole pack. What is wrong with an answer makes that extent `Failed`; trying again is for who wraps this.
"""

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Condition, Thread

import httpx2

from ptmtorrent.channel.readers import CHUNK_BYTES, url_of
from ptmtorrent.disk.partial import StagingFile, staging_path
from ptmtorrent.errors import IntegrityError, PtmError, StoreError, TransportError
from ptmtorrent.http import OK, judge_range, spell_range, stated_length, stated_total, translate_errors
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.model.volume import pack_path
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import WINDOW_BYTES, Delivered, Failed

CONNECTIONS = 4
LEAVE_SECONDS = 1.0
LOOK_SECONDS = 0.2
"""How often a wait for the next extent looks whether the user asked to stop."""

Job = tuple[PackRequest, Extent]
Outcome = Delivered | Failed


class HttpTransport:
    """Delivers extents of packs from the channel at `url`; `counted` hears of payload bytes as they come."""

    whole_packs = False

    def __init__(
        self,
        url: str,
        client: httpx2.Client,
        *,
        connections: int = CONNECTIONS,
        counted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = url.rstrip("/")
        self._client = client
        self._connections = connections
        self._counted = counted

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        jobs = [(request, extent) for request in requests for extent in request.extents]
        with contextlib.closing(_Lanes(self._fetch, jobs, staging, stop, self._connections)) as lanes:
            yield from lanes.outcomes()

    def _fetch(self, job: Job, staging: Path, halted: Callable[[], bool]) -> Outcome | None:
        """Bring one extent into `staging`; None when it was halted on the way. Raises `StoreError` for our own disk."""
        request, extent = job
        received = 0

        def count(size: int) -> None:
            nonlocal received
            received += size
            self._counted(size)

        path = staging_path(staging, request.pack, extent)
        try:
            with StagingFile(path, extent.length) as file:
                self._receive(file, request, extent, count, halted)
                if file.left:
                    return None
        except StoreError:
            raise
        except PtmError as error:
            return Failed(request=request, extent=extent, source=self.name, error=error, moved=received)
        return Delivered(
            request=request, extent=extent, path=path, start=0, moved=received, source=self.name, temporary=True
        )

    def _receive(
        self,
        file: StagingFile,
        request: PackRequest,
        extent: Extent,
        count: Callable[[int], None],
        halted: Callable[[], bool],
    ) -> None:
        if not file.left:
            return
        url = url_of(self.name, pack_path(request.pack))
        offset = extent.offset + file.position
        plain = offset == 0 and extent.length == request.size
        headers = {} if plain else {"Range": spell_range(offset, file.left)}
        with translate_errors(f"`{url}`"), self._client.stream("GET", url, headers=headers) as response:
            skip = _check(response, url, request, offset, file.left)
            for part in response.iter_raw(CHUNK_BYTES):
                if halted():
                    return
                count(len(part))
                wanted = part[skip : skip + file.left]
                skip = max(0, skip - len(part))
                file.write(wanted)
                if not file.left:
                    break
        if file.left:
            raise TransportError(f"`{url}` ended {file.left} bytes too early")


def _check(response: httpx2.Response, url: str, request: PackRequest, offset: int, length: int) -> int:
    """Refuse a reply that cannot hold the requested bytes; return how many bytes of the body precede them."""
    total = stated_total(response)
    if response.status_code < 500 and total not in {-1, request.size}:
        raise IntegrityError(f"the pack `{url}` is {total} bytes, not {request.size}")
    skip = judge_range(response, f"`{url}`", first=offset, last=offset + length - 1)
    if skip is None:
        raise IntegrityError(f"the pack `{url}` is shorter than {request.size} bytes")
    stated = stated_length(response)
    if response.status_code == OK:
        if stated not in {-1, request.size}:
            raise IntegrityError(f"the pack `{url}` is {stated} bytes, not {request.size}")
    elif stated not in {-1, length}:
        raise TransportError(f"`{url}` was asked for {length} bytes and sends {stated}")
    return skip


class _Lanes:
    """A few threads that work through jobs, with a bound on staged bytes that are not consumed yet."""

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
        self._left = Stop()
        self._jobs = iter(jobs)
        self._count = len(jobs)
        self._ahead = 0
        self._room = Condition()
        self._done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(min(width, len(jobs)))]

    def outcomes(self) -> Iterator[Outcome]:
        """Yield outcomes as they come, until all are there or `stop` is set."""
        for thread in self._threads:
            thread.start()
        for _ in range(self._count):
            outcome = self._next()
            if outcome is None:
                return
            yield outcome
            self._release(outcome.extent.length)

    def close(self) -> None:
        """Let the threads go. One that waits for a silent server ends by itself, and writes nothing more."""
        self._left.set()
        with self._room:
            self._room.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(LEAVE_SECONDS)

    def _next(self) -> Outcome | None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                outcome = self._done.get(timeout=LOOK_SECONDS)
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome
        return None

    def _halted(self) -> bool:
        return self._stop.is_set() or self._left.is_set()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            try:
                outcome: Outcome | BaseException | None = self._fetch(job, self._staging, self._halted)
            except BaseException as error:  # noqa: BLE001  # it is raised again where the outcomes are taken
                outcome = error
            if outcome is not None:
                self._done.put(outcome)
            if not isinstance(outcome, (Delivered, Failed)):
                return

    def _take(self) -> Job | None:
        """Take the next job once there is room for it; a job larger than all the room goes alone."""
        with self._room:
            job = next(self._jobs, None)
            if job is None:
                return None
            length = job[1].length
            self._room.wait_for(lambda: self._halted() or not self._ahead or self._ahead + length <= WINDOW_BYTES)
            self._ahead += length
            return None if self._halted() else job

    def _release(self, length: int) -> None:
        with self._room:
            self._ahead -= length
            self._room.notify_all()
