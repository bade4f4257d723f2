"""A transport that repeats requests to the transport that it wraps, because adapters do not retry."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ptmtorrent.errors import NotFound, PtmError, TransportError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.retry import FailuresInRow, wait_before
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed, PackTransport, regroup

ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.2

Outcome = Delivered | Failed


class Retrying:
    """Requests extents again from `inner` when their transfer failed, up to `attempts` times, waiting in between.

    An attempt that added to the `kept` bytes of its extent does not count. An extent that the source lacks, or has in
    another size, is not requested again. `moved` of an outcome counts all its attempts.
    """

    def __init__(
        self,
        inner: PackTransport,
        *,
        attempts: int = ATTEMPTS,
        wait: Callable[[Stop, float], bool] = Stop.wait,
    ) -> None:
        self.name = inner.name
        self.whole_packs = inner.whole_packs
        self._inner = inner
        self._attempts = attempts
        self._wait = wait

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        pending = list(requests)
        before: dict[tuple[PackId, Extent], int] = {}
        failures: dict[tuple[PackId, Extent], FailuresInRow] = defaultdict(FailuresInRow)
        while pending:
            again: list[Failed] = []
            for part in self._inner.deliver(pending, staging, stop):
                key = (part.request.pack, part.extent)
                outcome = msgspec.structs.replace(part, moved=part.moved + before.get(key, 0))
                if isinstance(outcome, Failed) and _is_transient(outcome.error):
                    failures[key].add(outcome.kept)
                    if failures[key].count < self._attempts:
                        before[key] = outcome.moved
                        again.append(outcome)
                        continue
                yield outcome
            most = max((failures[failed.request.pack, failed.extent].count for failed in again), default=0)
            if not again or self._wait(stop, wait_before(most, FIRST_WAIT_SECONDS)):
                return
            pending = regroup(again)


def _is_transient(error: PtmError) -> bool:
    return isinstance(error, TransportError) and not isinstance(error, NotFound)
