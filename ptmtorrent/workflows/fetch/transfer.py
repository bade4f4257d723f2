"""Move packs, and decode them while more are coming.

Sources are asked in rounds. An object whose hash does not hold is asked for again, from the sources that have not been
blamed for it; a round ends when everything that arrived in it was decoded. Nobody is blamed for bytes that had waited
here since an earlier run: those may have changed on our own disk.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import IntegrityError, PtmError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.plan import PackRequest, Plan, WantedObject, objects_in, plan_moves
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.stop import Stop
from ptmtorrent.transports.chain import Chain
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.workflows.fetch.assemble import Assembler, Assembly
from ptmtorrent.workflows.fetch.decode import DECODERS, Decoded, Decoding
from ptmtorrent.workflows.fetch.deltas import Bases
from ptmtorrent.workflows.fetch.sources import Sources

BATCHES_AHEAD = 2 * DECODERS
"""More batches than this waiting to be decoded, and no further pack is taken from the transport."""


Wrong = tuple[Delivered, WantedObject]
"""An object with wrong bytes, and what brought it."""


class Listener(Protocol):
    """Who is told, in the thread that moves, of what arrived and of the files that it completed."""

    def arrived(self, delivered: Delivered) -> None:
        """An extent is here; nothing of it was checked yet."""
        ...

    def right(self, delivered: Delivered) -> None:
        """Every wanted object of the extent was right; its file is removed next, when it is temporary."""
        ...

    def finished(self, file: Assembly) -> None:
        """A file is laid out, or its `error` says why not."""
        ...


class Mover:
    """Moves plans into files. `moved` counts bytes by source; `errors` says which objects could not be had, and why."""

    def __init__(  # noqa: PLR0913  # what is decoded with what into what, and who is told
        self, assembler: Assembler, bases: Bases, staging: Path, listener: Listener, *, emit: Emit, stop: Stop
    ) -> None:
        self._assembler = assembler
        self._bases = bases
        self._staging = staging
        self._listener = listener
        self._emit = emit
        self._stop = stop
        self._excused: set[PackId] = set()
        self._asked_again: set[ObjectId] = set()
        self.moved: Counter[str] = Counter()
        self.errors: dict[ObjectId, PtmError] = {}

    def move(self, plan: Plan, sources: Sources) -> None:
        """Bring every object of `plan` into the files that want it, from whichever source has it right.

        Raises:
            NoSpace, StoreError: our own disk; what arrived is kept.
        """
        requests: Sequence[PackRequest] = plan.requests
        blamed: frozenset[str] = frozenset()
        while requests and not self._stop.is_set() and (chain := sources.chain(blamed)):
            wrong, rotten = self._round(chain, requests)
            excused = self._excuse(wrong)
            blamed |= self._blame([pair for pair in wrong if pair[0].request.pack not in excused])
            items = [*(item for _, item in wrong), *self._once_more(rotten)]
            requests = plan_moves(items, lambda _: False, whole_packs=sources.whole_packs).requests

    def _round(self, chain: Chain, requests: Sequence[PackRequest]) -> tuple[list[Wrong], list[WantedObject]]:
        """Ask `chain` for everything once; return what came with wrong bytes, and what had been here and is wrong."""
        wrong: list[Wrong] = []
        rotten: list[WantedObject] = []
        outcomes = chain.deliver(requests, self._staging, self._stop)
        with closing(Decoding(self._assembler, self._bases)) as decoding, closing(outcomes):
            for decoded in self._decode(outcomes, decoding):
                wrong += [(stored.source, stored.item) for stored in decoded.wrong if stored.source is not None]
                rotten += [stored.item for stored in decoded.wrong if stored.source is None]
                rotten += decoded.lost
                self._take(decoded)
        return wrong, rotten

    def _decode(self, outcomes: Iterator[Delivered | Failed], decoding: Decoding) -> Iterator[Decoded]:
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                for item in objects_in(outcome.request, outcome.extent):
                    self.errors.setdefault(item.id, outcome.error)
                continue
            self.moved[outcome.source] += outcome.moved
            self._listener.arrived(outcome)
            decoding.add(outcome)
            yield from decoding.ended(BATCHES_AHEAD)
            if self._stop.is_set():
                break
        yield from decoding.ended(0)

    def _take(self, decoded: Decoded) -> None:
        for identifier in decoded.right:
            self.errors.pop(identifier, None)
        self.errors.update(decoded.unreadable)
        for file in decoded.files:
            self._listener.finished(file)
        if all(stored.source is not decoded.delivered for stored in decoded.wrong):
            self._listener.right(decoded.delivered)
        if decoded.delivered.temporary:
            with disk_errors(decoded.delivered.path):
                decoded.delivered.path.unlink(missing_ok=True)

    def _once_more(self, rotten: Sequence[WantedObject]) -> list[WantedObject]:
        """Return what our own disk did not keep, each object once in a run."""
        again = [item for item in rotten if item.id not in self._asked_again]
        for item in rotten:
            self.errors[item.id] = IntegrityError(f"the disk does not keep the object `{item.id}` as it was written")
        self._asked_again |= {item.id for item in again}
        return again

    def _excuse(self, wrong: Sequence[Wrong]) -> set[PackId]:
        """Return the packs whose bytes may have been right when they were sent, each pack once in a run."""
        waited = {part.request.pack for part, _ in wrong if part.temporary and part.moved < part.extent.length}
        excused = waited - self._excused
        self._excused |= {part.request.pack for part, _ in wrong}
        if excused:
            message = f"`{self._staging}` held damaged bytes of an earlier run: they are fetched again"
            self._emit(Note(message=message, warning=True))
        return excused

    def _blame(self, wrong: Sequence[Wrong]) -> frozenset[str]:
        """Say who sent wrong bytes, and which; they are not asked for these again."""
        for delivered, item in wrong:
            self.errors[item.id] = IntegrityError(
                f"`{delivered.source}` has other bytes than it should:"
                f" {item.at.length} from byte {item.at.offset} of pack `{item.at.pack}`",
                hint="try another mirror; this one is damaged",
            )
        accused = frozenset(delivered.source for delivered, _ in wrong)
        for source in sorted(accused):
            self._emit(Note(message=f"`{source}` sent bytes that do not hash to what they should", warning=True))
        return accused
