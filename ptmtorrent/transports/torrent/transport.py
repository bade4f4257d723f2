"""Downloads packs from a swarm: joins the v1 torrents of the volumes with requested packs, and requests only those.

libtorrent writes below `staging`, each pack at its channel path. Existing files (after a kill, for instance) are hashed
before anything is requested, with what other transports left of the packs.
A pack consists of whole pieces, so no byte of an unrequested pack is transferred.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ptmtorrent.errors import NoSource
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.stop import Stop
from ptmtorrent.transports.begun import gather
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.transports.torrent.download import Download, Volume
from ptmtorrent.transports.torrent.session import Address, Profile, TorrentSession, profile_for

PATIENCE_SECONDS = 30.0
"""Time in which less than the least rate came, after which missing packs are given up."""

_Share = tuple[Volume, list[PackRequest]]

_LISTEN: dict[Profile, str] = {"loopback": "127.0.0.1:0", "wan": "0.0.0.0:0,[::]:0"}


class _Sources(NamedTuple):
    peers: tuple[Address, ...] = ()
    seeds: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()


class TorrentTransport:
    """Delivers whole packs, one outcome per request, once every piece of a pack was hashed and written.

    `torrents` are the torrents of the volumes, already verified by the caller. `web_seeds` are channel URLs.
    By default the profile is derived from the peers. A transport serves one `deliver` at a time.

    Raises:
        IntegrityError: one of `torrents` does not describe a volume.
    """

    name = "torrent"
    whole_packs = True

    def __init__(  # noqa: PLR0913  # keyword-only facts about the swarm
        self,
        torrents: Sequence[bytes],
        peers: Sequence[Address] = (),
        *,
        web_seeds: Sequence[str] = (),
        trackers: Sequence[str] = (),
        profile: Profile | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        monotonic: Monotonic = time.monotonic,
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
        """Received parts of packs that the last `deliver` did not complete; see `Swarm.partial`."""
        return self._partial

    @property
    def quiet_seconds(self) -> float:
        """Seconds since payload was last received or first requested; 0 while nothing is requested."""
        download = self._download
        try:
            return download.quiet_seconds if download else 0.0
        except RuntimeError:  # from libtorrent, when the session was closed concurrently
            return 0.0

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        """Yield one outcome for each request: the whole pack, or the reason for its absence.

        When nothing fails, the sum of `moved` is all payload received, wasted bytes included.
        Packs that failed while a source sent wrong bytes are requested again from one source at a time.
        When `stop` is set the session is closed and no further outcome is yielded.

        Raises:
            StoreError: `staging` cannot be written; `NoSpace` when its disk is full.
        """
        wanted, unlisted = self._assign(requests)
        gather([request for _, mine in wanted for request in mine], staging)
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
        """Request failed packs from one source at a time, after a source sent wrong bytes.

        When several peers sent parts of a wrong piece, libtorrent may ban correct peers as well; with a single
        source the origin of a wrong piece is certain.
        """
        single = [_Sources(peers=(peer,)) for peer in self._peers] + [_Sources(seeds=(url,)) for url in self._web_seeds]
        pending = {failed.request.pack: failed for failed in failures}
        for sources in single if len(single) > 1 else ():
            wanted, _ = self._assign([failed.request for failed in pending.values()])
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
                self._download.connect(sources.peers, stop)
                yield from self._download.run(stop, self._patience_seconds)
                self._partial = self._download.partial()
            finally:
                self._download = None

    def _polluted(self) -> bool:
        return self._download is not None and self._download.polluted

    def _assign(self, requests: Sequence[PackRequest]) -> tuple[list[_Share], list[Failed]]:
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
        f"no torrent of this release lists the pack `{request.pack}` with {request.size} bytes",
        hint="fetch it with `--transport http` from a mirror of the channel",
    )
    return Failed(request=request, extent=Extent(offset=0, length=request.size), source="torrent", error=error)
