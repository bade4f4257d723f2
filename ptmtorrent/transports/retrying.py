"""A transport that repeats requests to the transport that it wraps, because adapters do not retry."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ptmtorrent.errors import IntegrityError, NotFound, PtmError, TransportError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.model.records import Emit, ignore
from ptmtorrent.retry import FailuresInRow, least_step, wait_before
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed, PackTransport, regroup

ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.2

Outcome = Delivered | Failed


class Retrying:
    """Requests extents again from `inner` when their transfer failed, up to `attempts` times, waiting in between.

    An attempt that added to the `kept` bytes of its extent does not count, and is followed at once by the next. An
    extent that the source lacks is not requested again, one that it has in another size once. `moved` of an outcome
    counts all its attempts. Retries that take long are reported to `emit`.
    """

    def __init__(
        self,
        inner: PackTransport,
        *,
        attempts: int = ATTEMPTS,
        wait: Callable[[Stop, float], bool] = Stop.wait,
        emit: Emit = ignore,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self.name = inner.name
        self.whole_packs = inner.whole_packs
        self._inner = inner
        self._attempts = attempts
        self._wait = wait
        self._emit = emit
        self._monotonic = monotonic

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        pending = list(requests)
        before: dict[tuple[PackId, Extent], int] = {}
        began = self._monotonic()
        failures: dict[tuple[PackId, Extent], FailuresInRow] = defaultdict(lambda: FailuresInRow(since=began))
        while pending:
            again: list[Failed] = []
            for part in self._inner.deliver(pending, staging, stop):
                key = (part.request.pack, part.extent)
                outcome = msgspec.structs.replace(part, moved=part.moved + before.get(key, 0))
                if isinstance(outcome, Failed) and (attempts := self._attempts_for(outcome.error)) > 1:
                    failures[key].add(outcome.kept, least_step(outcome.error), now=self._monotonic())
                    if failures[key].count < attempts:
                        before[key] = outcome.moved
                        again.append(outcome)
                        continue
                yield outcome
            if not again or self._pause(again, failures, stop):
                return
            pending = regroup(again)

    def _pause(self, again: Sequence[Failed], failures: dict[tuple[PackId, Extent], FailuresInRow], stop: Stop) -> bool:
        """Wait as long as the extent that failed most often has to; return whether `stop` was set."""
        worst = max(again, key=lambda failed: failures[failed.request.pack, failed.extent].count)
        count = failures[worst.request.pack, worst.extent]
        seconds = wait_before(count.count, FIRST_WAIT_SECONDS)
        count.report(f"pack `{worst.request.pack}`", self._attempts, seconds, worst.error, self._emit)
        return self._wait(stop, seconds)

    def _attempts_for(self, error: PtmError) -> int:
        """Return how often a request that ends with `error` is made: a wrong answer may be the only one of its kind."""
        if isinstance(error, NotFound):
            return 1
        if isinstance(error, TransportError):
            return self._attempts
        return min(2, self._attempts) if isinstance(error, IntegrityError) else 1
