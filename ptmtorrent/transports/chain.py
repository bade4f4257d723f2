"""Transports composed of transports, for failover and retries.

`Chain` requests from one source after the other, `Retrying` repeats requests to the same source. `hybrid` divides the
requests between a swarm and a web server, as `--transport auto` does.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from ptmtorrent.errors import AuthError, IntegrityError, NoSource, NotFound, PtmError, TransportError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, PackRequest, objects_in, widen
from ptmtorrent.retry import rounds
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed, PackTransport

ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.2

Outcome = Delivered | Failed


class Chain:
    """Requests from each of `stages` the extents that the stages before it could not deliver."""

    name = "chain"

    def __init__(self, stages: Sequence[PackTransport]) -> None:
        self._stages = tuple(stages)
        self.whole_packs = bool(stages) and all(stage.whole_packs for stage in stages)

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Generator[Outcome, None, None]:
        """Yield one outcome for every extent; a failure names every source that was tried."""
        pending = list(requests)
        tried: dict[PackId, list[Failed]] = defaultdict(list)
        for stage in self._stages:
            batch = [widen(request) for request in pending] if stage.whole_packs else pending
            failures: list[Failed] = []
            for outcome in stage.deliver(batch, staging, stop) if batch else ():
                if isinstance(outcome, Delivered):
                    yield outcome
                    continue
                failures.append(outcome)
                tried[outcome.request.pack].append(outcome)
            if stop.is_set():
                return
            pending = regroup(failures)
        for request in pending:
            error = no_source_error(request.pack, tried[request.pack])
            for extent in request.extents:
                yield Failed(request=request, extent=extent, source=self.name, error=error)


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


def regroup(failures: Iterable[Failed]) -> list[PackRequest]:
    """Return requests for the failed extents only, with the objects in them."""
    extents: dict[PackRequest, set[Extent]] = defaultdict(set)
    for failed in failures:
        extents[failed.request].add(failed.extent)
    return [narrow(request, sorted(wanted)) for request, wanted in extents.items()]


def narrow(request: PackRequest, extents: Sequence[Extent]) -> PackRequest:
    """Return `request` reduced to `extents`."""
    objects = tuple(item for extent in extents for item in objects_in(request, extent))
    return msgspec.structs.replace(request, extents=tuple(extents), objects=objects)


def no_source_error(pack: PackId, tried: Sequence[Failed]) -> PtmError:
    """Return the error for a pack that no source delivered, with the reason of each source.

    It is an `AuthError` if all sources require a login, an `IntegrityError` if any source had wrong bytes.
    """
    reasons = "; ".join(dict.fromkeys(f"{failed.source}: {failed.error}" for failed in tried))
    if tried and all(isinstance(failed.error, AuthError) for failed in tried):
        return tried[-1].error
    if any(isinstance(failed.error, IntegrityError) for failed in tried):
        return IntegrityError(f"no source has the right bytes of pack `{pack}`: {reasons}")
    message = f"no source has pack `{pack}`: {reasons}" if reasons else f"no source for pack `{pack}`"
    return NoSource(message, hint="name another source with --channel or --peer, or run the same command again later")


def _is_transient(error: PtmError) -> bool:
    return isinstance(error, TransportError) and not isinstance(error, NotFound)
