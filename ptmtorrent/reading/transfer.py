"""Transfer a plan: packs from the sources, decoded into verified objects while more are arriving.

::

    plan -> requests -> sources -> extents -> decode -> objects, extents checked, objects that are missing in the end

Sources are asked in rounds. An object whose hash does not hold is requested again, from the sources that are not blamed
for it, or once more from the same ones if there are no others; a round ends when everything that arrived in it is
decoded. No source is blamed for bytes that an earlier run staged: those may have changed on our own disk.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import msgspec

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import IntegrityError, PtmError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.plan import PackRequest, Plan, objects_in, plan_moves
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.wanted import WantedObject
from ptmtorrent.reading.decode import AHEAD, Batch, DecodedObject, Decoder
from ptmtorrent.reading.deltas import Deltas
from ptmtorrent.reading.sources import Chain, Sources
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed


class Received(msgspec.Struct, frozen=True):
    """An extent arrived; none of it is checked yet."""

    delivered: Delivered


class Checked(msgspec.Struct, frozen=True):
    """Every wanted object of the extent had its hash. Its file is deleted next, when it is temporary."""

    delivered: Delivered


class Missing(msgspec.Struct, frozen=True):
    """An object that no source had right, and why. These come last."""

    id: ObjectId
    error: PtmError


Outcome = Received | DecodedObject | Checked | Missing


class Wanted(Protocol):
    """The objects that are wanted; one that was yielded is discarded."""

    def __contains__(self, identifier: object, /) -> bool: ...
    def discard(self, identifier: ObjectId, /) -> None:
        """Forget an object."""
        ...


_Wrong = tuple[Delivered, WantedObject]


def transfer(  # noqa: PLR0913  # what is moved, from where, and with what
    plan: Plan, sources: Sources, deltas: Deltas, wanted: Wanted, staging: Path, *, emit: Emit, stop: Stop
) -> Generator[Outcome]:
    """Yield every object of `plan` that is `wanted`, and what happens on the way, until `stop` is set.

    An object is yielded when its hash is proven; asking for the next one says that the consumer has written it.
    `wanted` is emptied meanwhile. Packs are staged in the folder `staging`.

    Raises:
        NoSpace, StoreError: our own disk; what arrived is kept.
    """
    return _Transfer(deltas, wanted, staging, emit, stop).run(plan, sources)


class _Transfer:
    """The state of one transfer: `errors` are the objects that are missing so far."""

    def __init__(self, deltas: Deltas, wanted: Wanted, staging: Path, emit: Emit, stop: Stop) -> None:
        self._deltas = deltas
        self._wanted = wanted
        self._staging = staging
        self._emit = emit
        self._stop = stop
        self._excused: set[PackId] = set()
        self._requested_again: set[ObjectId] = set()
        self._errors: dict[ObjectId, PtmError] = {}
        self._accused: set[str] = set()

    def run(self, plan: Plan, sources: Sources) -> Generator[Outcome]:
        requests: Sequence[PackRequest] = plan.requests
        blamed: frozenset[str] = frozenset()
        pardoned = False
        while requests and not self._stop.is_set() and (chain := sources.chain(blamed)):
            wrong: list[_Wrong] = []
            stale: list[WantedObject] = []
            yield from self._round(chain, requests, wrong, stale)
            excused = self._excuse(wrong)
            blamed |= self._blame([pair for pair in wrong if pair[0].request.pack not in excused])
            items = [*(item for _, item in wrong), *self._once_more(stale)]
            requests = plan_moves(items, lambda _: False, whole_packs=sources.whole_packs).requests
            if blamed and not pardoned and sources.chain(blamed) is None:
                blamed, pardoned = frozenset(), True
        self._deltas.explain(self._errors)
        for identifier, error in self._errors.items():
            if identifier in self._wanted:  # a second copy of a delivered object may have been wrong
                yield Missing(identifier, error)

    def _round(
        self, chain: Chain, requests: Sequence[PackRequest], wrong: list[_Wrong], stale: list[WantedObject]
    ) -> Iterator[Outcome]:
        """Request everything once; collect what arrived `wrong`, and what was local and is `stale`."""
        outcomes = chain.deliver(requests, self._staging, self._stop)
        sound: dict[int, bool] = {}
        with closing(Decoder(self._deltas)) as decoder, closing(outcomes):
            for outcome in outcomes:
                if isinstance(outcome, Failed):
                    for item in objects_in(outcome.request, outcome.extent):
                        self._errors.setdefault(item.id, outcome.error)
                    continue
                yield Received(outcome)
                decoder.add(outcome, self._is_wanted)
                for batch in decoder.finished(AHEAD):
                    yield from self._take(batch, sound, wrong, stale)
                if self._stop.is_set():
                    break
            for batch in decoder.finished(0):
                yield from self._take(batch, sound, wrong, stale)

    def _is_wanted(self, item: WantedObject) -> bool:
        return item.id in self._wanted or self._deltas.needs(item.id)

    def _take(
        self, batch: Batch, sound: dict[int, bool], wrong: list[_Wrong], stale: list[WantedObject]
    ) -> Iterator[Outcome]:
        for decoded in batch.objects:
            self._errors.pop(decoded.id, None)
            yield decoded
            self._wanted.discard(decoded.id)
            self._deltas.taken(decoded.id)
        self._errors.update(batch.unreadable)
        wrong += [(stored.source, stored.item) for stored in batch.wrong if stored.source is not None]
        stale += [stored.item for stored in batch.wrong if stored.source is None]
        stale += batch.lost
        delivered = batch.delivered
        if delivered is None:
            return
        right = all(stored.source is not delivered for stored in batch.wrong)
        sound[id(delivered)] = sound.get(id(delivered), True) and right
        if batch.last:
            if sound.pop(id(delivered)):
                yield Checked(delivered)
            if delivered.temporary:
                with disk_errors(delivered.path):
                    delivered.path.unlink(missing_ok=True)

    def _once_more(self, stale: Sequence[WantedObject]) -> list[WantedObject]:
        """Return what our own disk did not keep, each object once in a transfer."""
        again = [item for item in stale if item.id not in self._requested_again]
        for item in stale:
            self._errors[item.id] = IntegrityError(f"the object `{item.id}` was read back with different bytes")
        self._requested_again |= {item.id for item in again}
        return again

    def _excuse(self, wrong: Sequence[_Wrong]) -> set[PackId]:
        """Return the packs whose bytes may have been right when they were sent, each pack once in a transfer."""
        waited = {part.request.pack for part, _ in wrong if part.temporary and part.moved < part.extent.length}
        excused = waited - self._excused
        self._excused |= {part.request.pack for part, _ in wrong}
        if excused:
            message = f"`{self._staging}` held damaged bytes of an earlier run; they are fetched again"
            self._emit(Note(message=message, warning=True))
        return excused

    def _blame(self, wrong: Sequence[_Wrong]) -> frozenset[str]:
        """Report the sources that sent wrong bytes; they are not asked for these again."""
        for delivered, item in wrong:
            self._errors[item.id] = IntegrityError(
                f"`{delivered.source}` has wrong bytes:"
                f" {item.at.length} from byte {item.at.offset} of pack `{item.at.pack}`",
                hint="try another mirror; this one is damaged",
            )
        accused = frozenset(delivered.source for delivered, _ in wrong)
        for source in sorted(accused - self._accused):
            self._emit(Note(message=f"`{source}` sent bytes with a wrong hash", warning=True))
        self._accused |= accused
        return accused
