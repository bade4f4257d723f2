"""Globus Transfer, then the collection's HTTPS server for what it did not deliver; the change is announced.

Globus moves whole packs. The server is asked only for the parts of them that are needed, so a fallback for one small
package moves that package. What an earlier run began is completed by the server, because Globus would start again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ptmtorrent.model.plan import PackRequest, needed_extents, widen
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.text import count, spell_size
from ptmtorrent.stop import Stop
from ptmtorrent.transports.begun import Begun
from ptmtorrent.transports.globus.causes import NotPermitted
from ptmtorrent.transports.port import Delivered, Failed, PackTransport, regroup

Outcome = Delivered | Failed


class Fallback:
    """Requests from `transfers` whole packs, and from `server` what those did not deliver.

    With `keeps_packs`, whole packs are requested from the server too.
    """

    whole_packs = True

    def __init__(self, transfers: PackTransport, server: PackTransport, emit: Emit, *, keeps_packs: bool) -> None:
        self.name = transfers.name
        self._transfers = transfers
        self._server = server
        self._emit = emit
        self._keeps_packs = keeps_packs

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`.

        Raises:
            As `transfers`, but for a missing permission: the server may not need it.
        """
        begun = Begun(staging)
        started = {request.pack: request for request in requests if begun.is_part(request)}
        failed: list[Failed] = []
        for outcome in self._transfer([each for each in requests if each.pack not in started], staging, stop):
            if isinstance(outcome, Failed):
                failed.append(outcome)
            else:
                yield outcome
        if stop.is_set():
            return
        instead = [self._needed(request) for request in regroup(failed)]
        if instead:
            self._announce(failed, instead)
        lacking: list[Failed] = []
        served = [*instead, *started.values()]
        for outcome in self._server.deliver(served, staging, stop) if served else ():
            if isinstance(outcome, Failed) and outcome.request.pack in started:
                lacking.append(outcome)
            else:
                yield outcome
        if lacking and not stop.is_set():
            yield from self._transfers.deliver([widen(request) for request in regroup(lacking)], staging, stop)

    def _transfer(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield the outcomes of `transfers`; without a permission for it, every pack it has not delivered fails."""
        waiting = {request.pack: request for request in requests}
        try:
            for outcome in self._transfers.deliver(requests, staging, stop) if requests else ():
                waiting.pop(outcome.request.pack, None)
                yield outcome
        except NotPermitted as error:
            for request in waiting.values():
                for extent in request.extents:
                    yield Failed(request=request, extent=extent, source=self.name, error=error)

    def _needed(self, request: PackRequest) -> PackRequest:
        return request if self._keeps_packs else msgspec.structs.replace(request, extents=needed_extents(request))

    def _announce(self, failed: Sequence[Failed], instead: Sequence[PackRequest]) -> None:
        reasons = "; ".join(dict.fromkeys(each.error.message for each in failed))
        size = spell_size(sum(request.bytes for request in instead))
        message = (
            f"{count(len(instead), 'pack')} did not come by Globus Transfer: {reasons}."
            f" {size} are fetched over HTTPS from `{self._server.name}` instead"
        )
        self._emit(Note(message=message, warning=True))
