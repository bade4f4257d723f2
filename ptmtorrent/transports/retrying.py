"""A transport that repeats requests to the transport that it wraps, because adapters do not retry."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ptmtorrent.errors import NotFound, PtmError, TransportError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.retry import rounds
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed, PackTransport, regroup

ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.2

Outcome = Delivered | Failed


class Retrying:
    """Requests extents again from `inner` when their transfer failed, up to `attempts` times, waiting in between.

    An extent that the source lacks, or has in another size, is not requested again. `moved` of an outcome counts all
    its attempts.
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
        for may_retry in rounds(self._attempts, first_wait=FIRST_WAIT_SECONDS, wait=lambda s: self._wait(stop, s)):
            again: list[Failed] = []
            for part in self._inner.deliver(pending, staging, stop):
                key = (part.request.pack, part.extent)
                outcome = msgspec.structs.replace(part, moved=part.moved + before.get(key, 0))
                if may_retry and isinstance(outcome, Failed) and _is_transient(outcome.error):
                    before[key] = outcome.moved
                    again.append(outcome)
                else:
                    yield outcome
            if not again:
                return
            pending = regroup(again)


def _is_transient(error: PtmError) -> bool:
    return isinstance(error, TransportError) and not isinstance(error, NotFound)
