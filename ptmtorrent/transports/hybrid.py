"""Downloads from a swarm and a web server at the same time (`--transport auto`, DESIGN section 7).

Whole packs are requested from the swarm, parts of packs from the server. When the peers have sent less than the least
rate for five seconds, the swarm is stopped and the remaining packs are requested from the server. For packs that the
swarm began, the server delivers only the missing extents, so that no byte is fetched twice.
"""

import contextlib
import queue
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

from ptmtorrent.errors import Interrupted, TransportError
from ptmtorrent.model.plan import PackRequest
from ptmtorrent.stop import Stop
from ptmtorrent.transports.begun import Continuing
from ptmtorrent.transports.fill_holes import HoleFiller
from ptmtorrent.transports.port import Delivered, Failed, PackTransport, Swarm

QUIET_SECONDS = 5.0
POLL_SECONDS = 0.1
MAX_QUEUED_OUTCOMES = 1

Outcome = Delivered | Failed


class HybridTransport:
    """Delivers from `swarm` and `server`. After `quiet_seconds` without payload (5) the server replaces the swarm."""

    name = "auto"
    whole_packs = False

    def __init__(self, swarm: Swarm, server: PackTransport, *, quiet_seconds: float | None = None) -> None:
        self._swarm = swarm
        self._server = server
        self._continuing = Continuing(server, resumes=True)
        self._quiet_seconds = QUIET_SECONDS if quiet_seconds is None else quiet_seconds

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        whole = {request.pack: request for request in requests if request.whole}
        filler = HoleFiller({}, [])
        done: _Queue = queue.Queue(MAX_QUEUED_OUTCOMES)
        with contextlib.ExitStack() as stack:

            def start(transport: PackTransport, requested: Sequence[PackRequest]) -> _RunningTransport:
                return stack.enter_context(contextlib.closing(_RunningTransport(transport, requested, staging, done)))

            swarm = start(self._swarm, list(whole.values()))
            running = {swarm, start(self._continuing, [request for request in requests if not request.whole])}
            while running:
                source, outcome = self._next(done, running, swarm, stop)
                if outcome is None:
                    running.discard(source)
                    if source is swarm and whole and not stop.is_set():
                        yield from self._swarm.partial
                        filler = HoleFiller(whole, self._swarm.partial)
                        running.add(start(self._server, filler.requests))
                elif source is not swarm:
                    if (filled := filler.take(outcome)) is not None:
                        yield filled
                elif isinstance(outcome, Delivered):
                    whole.pop(outcome.request.pack, None)
                    yield outcome

    def _next(
        self, done: "_Queue", running: "set[_RunningTransport]", swarm: "_RunningTransport", stop: Stop
    ) -> "tuple[_RunningTransport, Outcome | None]":
        """Return the next outcome and its transport; None in its place once that transport has ended.

        Halts the swarm when it has sent no payload for too long, and every transport when `stop` is set.
        """
        while True:
            if self._swarm.quiet_seconds >= self._quiet_seconds:
                swarm.halt()
            for transport in running if stop.is_set() else ():
                transport.halt()
            with contextlib.suppress(queue.Empty):
                source, outcome = done.get(timeout=POLL_SECONDS)
                if isinstance(outcome, BaseException):
                    raise outcome
                return source, outcome


class _RunningTransport:
    """One transport, run in its own thread. Puts its outcomes, then None, into `done`."""

    def __init__(
        self, transport: PackTransport, requests: Sequence[PackRequest], staging: Path, done: "_Queue"
    ) -> None:
        halted = Stop()
        self._outcomes: Iterator[Outcome] = transport.deliver(requests, staging, halted) if requests else iter(())
        self._done = done
        self._halted = halted
        self._closed = Stop()
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def halt(self) -> None:
        """Request an early end."""
        self._halted.set()

    def close(self) -> None:
        """Stop the transport, discard further outcomes and join the thread."""
        self._closed.set()
        self.halt()
        self._thread.join()

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            for outcome in self._outcomes:
                if not self._put(outcome):
                    return
        except (Interrupted, TransportError):
            pass  # Interrupted follows from `halt`; after a TransportError the other transport continues
        except BaseException as error:  # noqa: BLE001  # raised again by the consumer of the queue
            last = error
        self._put(last)

    def _put(self, outcome: Outcome | BaseException | None) -> bool:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._done.put((self, outcome), timeout=POLL_SECONDS)
                return True
        return False


_Queue = queue.Queue[tuple[_RunningTransport, Outcome | BaseException | None]]
