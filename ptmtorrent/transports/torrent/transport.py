"""Packs from a swarm: joins the v1 torrents of the volumes that hold wanted packs, and moves only those packs.

libtorrent writes below `staging`, where each pack lands at its channel path. What is there already (after a kill,
say) is hashed before anything is asked for. Because a pack is whole pieces, no byte of an unwanted pack is moved.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ptmtorrent.errors import NoSource
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.transports.torrent.download import Download, Volume
from ptmtorrent.transports.torrent.session import Address, Profile, TorrentSession, profile_for

PATIENCE_SECONDS = 30.0
"""How long a swarm may be silent before what is missing is given up."""

_Share = tuple[Volume, list[PackRequest]]

_LISTEN: dict[Profile, str] = {"loopback": "127.0.0.1:0", "wan": "0.0.0.0:0,[::]:0"}


class _Sources(NamedTuple):
    peers: tuple[Address, ...] = ()
    seeds: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()


class TorrentTransport:
    """Delivers whole packs, one outcome for each request, as soon as a pack's every piece was hashed and written.

    `torrents` are those of the volumes, their bytes already verified by the caller. `web_seeds` are channel URLs.
    The profile follows from the peers unless it is given. A transport serves one `deliver` at a time.

    Raises:
        IntegrityError: one of `torrents` is not that of a volume.
    """

    name = "torrent"
    whole_packs = True

    def __init__(  # noqa: PLR0913  # each is one fact about the swarm, given by name
        self,
        torrents: Sequence[bytes],
        peers: Sequence[Address] = (),
        *,
        web_seeds: Sequence[str] = (),
        trackers: Sequence[str] = (),
        profile: Profile | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._volumes = [
            Volume(torrent=torrent, packs=packs_in(torrent, name=f"torrent {number}"))
            for number, torrent in enumerate(torrents)
        ]
        self._peers = tuple(peers)
        self._web_seeds = tuple(f"{url.rstrip('/')}/" for url in web_seeds)
        self._trackers = tuple(trackers)
        self._profile: Profile = profile or profile_for(host for host, _ in peers)
        self._patience_seconds = patience_seconds
        self._monotonic = monotonic
        self._download: Download | None = None
        self._partial: list[Delivered] = []

    @property
    def partial(self) -> Sequence[Delivered]:
        """What came of packs that the last `deliver` could not bring whole; see `Swarm.partial`."""
        return self._partial

    @property
    def quiet_seconds(self) -> float:
        """Seconds since payload last came, or since it was first asked for; 0 while nothing is."""
        download = self._download
        try:
            return download.quiet_seconds if download else 0.0
        except RuntimeError:  # libtorrent's, when the session was closed meanwhile
            return 0.0

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        """Yield one outcome for each request: the whole pack, or why it did not come.

        The sum of `moved` over a run in which nothing failed is every payload byte received, wasted ones included.
        Packs that failed while someone sent wrong bytes are asked of each source alone.
        When `stop` is set the session is closed and no further outcome is yielded.

        Raises:
            StoreError: `staging` cannot be written; `NoSpace` when its disk is full.
        """
        wanted, unlisted = self._share_out(requests)
        self._partial = []
        yield from unlisted
        failures: list[Failed] = []
        polluted = False
        for outcome in self._join(wanted, staging, stop, _Sources(self._peers, self._web_seeds, self._trackers)):
            polluted = polluted or self._polluted()
            if isinstance(outcome, Failed):
                failures.append(outcome)
            else:
                yield outcome
        yield from self._isolate(failures, staging, stop) if polluted else failures

    def _isolate(self, failures: Sequence[Failed], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        """Ask each source alone for what failed while someone sent wrong bytes.

        A wrong piece of which several peers sent parts puts all of them under suspicion, and libtorrent was seen to
        ban the innocent with the guilty; from one source alone there is no doubt.
        """
        alone = [_Sources(peers=(peer,)) for peer in self._peers] + [_Sources(seeds=(url,)) for url in self._web_seeds]
        pending = {failed.request.pack: failed for failed in failures}
        for sources in alone if len(alone) > 1 else ():
            wanted, _ = self._share_out([failed.request for failed in pending.values()])
            for outcome in self._join(wanted, staging, stop, sources):
                if isinstance(outcome, Delivered):
                    del pending[outcome.request.pack]
                    yield outcome
        if not stop.is_set():
            yield from pending.values()

    def _join(
        self, wanted: Sequence[_Share], staging: Path, stop: Stop, sources: _Sources
    ) -> Iterator[Delivered | Failed]:
        if not wanted or stop.is_set():
            return
        with TorrentSession(self._profile, _LISTEN[self._profile], seeding=False) as session:
            self._download = Download(session, staging, self._monotonic)
            try:
                for volume, mine in wanted:
                    self._download.join(volume, mine, trackers=sources.trackers, web_seeds=sources.seeds)
                self._download.connect(sources.peers)
                yield from self._download.run(stop, self._patience_seconds)
                self._partial = self._download.partial()
            finally:
                self._download = None

    def _polluted(self) -> bool:
        return self._download is not None and self._download.polluted

    def _share_out(self, requests: Sequence[PackRequest]) -> tuple[list[_Share], list[Failed]]:
        home: dict[PackId, Volume] = {pack: volume for volume in self._volumes for pack, _ in volume.packs}
        shares: dict[int, _Share] = {}
        unlisted: list[Failed] = []
        for request in requests:
            volume = home.get(request.pack)
            if volume is None or dict(volume.packs)[request.pack] != request.size:
                unlisted.append(_unlisted(request))
            else:
                shares.setdefault(id(volume), (volume, []))[1].append(request)
        return list(shares.values()), unlisted


def _unlisted(request: PackRequest) -> Failed:
    error = NoSource(
        f"no torrent of this release lists the pack `{request.pack}` of {request.size} bytes",
        hint="fetch it with `--transport http` from a mirror of the channel",
    )
    return Failed(request=request, extent=Extent(offset=0, length=request.size), source="torrent", error=error)
