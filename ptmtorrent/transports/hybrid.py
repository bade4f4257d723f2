"""A swarm and a web server at once (`--transport auto`, DESIGN section 7).

Packs wanted whole are left to the swarm, parts of packs come from the server at once. When no payload came from peers
for five seconds, the server takes what is left; the swarm is stopped first, and the server fills the holes of the packs
that it began, so that nothing is fetched twice.
"""

import contextlib
import queue
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

from ptmtorrent.errors import Interrupted, TransportError
from ptmtorrent.model.plan import PackRequest
from ptmtorrent.stop import Stop
from ptmtorrent.transports.fill_holes import Filling
from ptmtorrent.transports.port import Delivered, Failed, PackTransport, Swarm

QUIET_SECONDS = 5.0
LOOK_SECONDS = 0.1
AHEAD_OUTCOMES = 1

Outcome = Delivered | Failed


class Together:
    """Delivers from `swarm` and `server` at once. After `quiet_seconds` of silence (five) the server takes over."""

    name = "auto"
    whole_packs = False

    def __init__(self, swarm: Swarm, server: PackTransport, *, quiet_seconds: float | None = None) -> None:
        self._swarm = swarm
        self._server = server
        self._quiet_seconds = QUIET_SECONDS if quiet_seconds is None else quiet_seconds

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        whole = {request.pack: request for request in requests if request.whole}
        filling = Filling({}, [])
        done: _Done = queue.Queue(AHEAD_OUTCOMES)
        with contextlib.ExitStack() as stack:

            def begin(transport: PackTransport, wanted: Sequence[PackRequest]) -> _Side:
                return stack.enter_context(contextlib.closing(_Side(transport, wanted, staging, done)))

            swarm = begin(self._swarm, list(whole.values()))
            running = {swarm, begin(self._server, [request for request in requests if not request.whole])}
            while running:
                side, outcome = self._next(done, running, swarm, stop)
                if outcome is None:
                    running.discard(side)
                    if side is swarm and whole and not stop.is_set():
                        yield from self._swarm.partial
                        filling = Filling(whole, self._swarm.partial)
                        running.add(begin(self._server, filling.requests))
                elif side is not swarm:
                    if (filled := filling.take(outcome)) is not None:
                        yield filled
                elif isinstance(outcome, Delivered):
                    whole.pop(outcome.request.pack, None)
                    yield outcome

    def _next(self, done: "_Done", running: "set[_Side]", swarm: "_Side", stop: Stop) -> "tuple[_Side, Outcome | None]":
        """Wait for what comes next; None when a side has ended. Stops the swarm when it is quiet, all on `stop`."""
        while True:
            if self._swarm.quiet_seconds >= self._quiet_seconds:
                swarm.halt()
            for side in running if stop.is_set() else ():
                side.halt()
            with contextlib.suppress(queue.Empty):
                side, outcome = done.get(timeout=LOOK_SECONDS)
                if isinstance(outcome, BaseException):
                    raise outcome
                return side, outcome


class _Side:
    """One transport at work in a thread of its own; its outcomes, then None, go to `done`."""

    def __init__(self, transport: PackTransport, requests: Sequence[PackRequest], staging: Path, done: "_Done") -> None:
        halted = Stop()
        self._outcomes: Iterator[Outcome] = transport.deliver(requests, staging, halted) if requests else iter(())
        self._done = done
        self._halted = halted
        self._left = Stop()
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def halt(self) -> None:
        """Ask it to end after what it is doing."""
        self._halted.set()

    def close(self) -> None:
        """End it, and take nothing more from it."""
        self._left.set()
        self.halt()
        self._thread.join()

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            for outcome in self._outcomes:
                if not self._put(outcome):
                    return
        except (Interrupted, TransportError):
            pass  # the first is what it was asked to do; after the second the other side goes on
        except BaseException as error:  # noqa: BLE001  # it is raised again where the outcomes are taken
            last = error
        self._put(last)

    def _put(self, outcome: Outcome | BaseException | None) -> bool:
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self._done.put((self, outcome), timeout=LOOK_SECONDS)
                return True
        return False


_Done = queue.Queue[tuple[_Side, Outcome | BaseException | None]]
