"""The sources of packs: what `--transport` and the channel's location allow, and the order in which they are tried.

`Chain` requests from one source after the other.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import AuthError, IntegrityError, NoSource, PtmError, UsageError
from ptmtorrent.http import new_client
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import PackRequest, widen
from ptmtorrent.model.records import Emit, ignore
from ptmtorrent.reading.fallback import Fallback
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.stop import Stop
from ptmtorrent.transports.begun import Continuing
from ptmtorrent.transports.globus.causes import TaskEnded
from ptmtorrent.transports.http import CONNECTIONS, HttpTransport
from ptmtorrent.transports.hybrid import HybridTransport
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.transports.port import Delivered, Failed, PackTransport, Swarm, regroup
from ptmtorrent.transports.retrying import Retrying

TransportName = Literal["auto", "torrent", "http", "globus", "globus+http", "local"]
Address = tuple[str, int]


class Chain:
    """Requests from each of `stages` the extents that the stages before it could not deliver."""

    name = "chain"

    def __init__(self, stages: Sequence[PackTransport]) -> None:
        self._stages = tuple(stages)
        self.whole_packs = bool(stages) and all(stage.whole_packs for stage in stages)

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Generator[Delivered | Failed]:
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
            if not failures or stop.is_set():
                return
            pending = regroup(failures)
        for request in pending:
            error = no_source_error(request.pack, tried[request.pack])
            for extent in request.extents:
                yield Failed(request=request, extent=extent, source=self.name, error=error)


class Sources:
    """The sources of one run: a folder, a swarm, a server, transfers into a collection; any of them may be missing.

    With `keeps_packs`, packs are kept, so only whole packs are requested.
    """

    def __init__(  # noqa: PLR0913  # the sources there may be
        self,
        *,
        here: PackTransport | None = None,
        swarm: Swarm | None = None,
        server: PackTransport | None = None,
        transfers: PackTransport | None = None,
        keeps_packs: bool = False,
        emit: Emit = ignore,
    ) -> None:
        self.keeps_packs = keeps_packs
        self._emit = emit
        self._here = here
        self._swarm = swarm
        self._server = server
        self._transfers = transfers

    @property
    def whole_packs(self) -> bool:
        """Whether only whole packs are requested."""
        alone = self._swarm is not None and self._here is None and self._server is None
        return self.keeps_packs or self.lands_all or alone

    @property
    def lands_all(self) -> bool:
        """Whether all packs may be staged at once before the first is decoded, as after a Globus task."""
        return self._transfers is not None

    @property
    def staged(self) -> bool:
        """Whether packs may have to be staged before they are decoded."""
        return self._swarm is not None or self._server is not None or self.lands_all

    @property
    def widens(self) -> bool:
        """Whether whole packs may be requested where only parts are needed: of a swarm, when other sources failed."""
        return self._swarm is not None

    def counts(self, source: str) -> bool:
        """Return whether `source` counts its bytes itself, as they arrive."""
        return self._server is not None and self._server.name == source

    def chain(self, blamed: frozenset[str] = frozenset()) -> Chain | None:
        """Return all sources but the `blamed` ones as one transport; None if none is left."""
        here, swarm, server, transfers = self._here, self._swarm, self._server, self._transfers
        here = None if here and here.name in blamed else here
        swarm = None if swarm and swarm.name in blamed else swarm
        server = None if server and server.name in blamed else server
        transfers = None if transfers and transfers.name in blamed else transfers
        both = HybridTransport(swarm, server) if swarm and server else None
        folder = _Continued(here, resumes=False) if here else None
        rest = _Continued(server, resumes=True) if server else None
        moved = Fallback(transfers, rest, self._emit, keeps_packs=self.keeps_packs) if transfers and rest else None
        # After both of them, the swarm is used once more for what the server could not send.
        stages = (folder, both, swarm) if both else (folder, moved or transfers or rest, swarm)
        found = [stage for stage in stages if stage]
        return Chain(found) if found else None


def is_begun(staging: Path) -> bool:
    """Return whether an earlier run, or another transport, left anything in the folder `staging`."""
    return (staging / "packs").is_dir() or any(staging.glob("*.part"))


class _Continued:
    """Requests from `inner`, by way of `Continuing` if anything was begun."""

    def __init__(self, inner: PackTransport, *, resumes: bool) -> None:
        self.name = inner.name
        self.whole_packs = inner.whole_packs
        self._inner = inner
        self._resumes = resumes

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        if is_begun(staging):
            return Continuing(self._inner, resumes=self._resumes).deliver(requests, staging, stop)
        return self._inner.deliver(requests, staging, stop)


def find_sources(  # noqa: PLR0913  # what the request says, and what they are used with
    transport: TransportName,
    peers: Sequence[Address],
    channel: OpenChannel,
    stack: ExitStack,
    counted: Callable[[int], None],
    *,
    keeps_packs: bool = False,
    emit: Emit = ignore,
    stop: Stop | None = None,
) -> Sources:
    """Return the sources that `transport` names; `stack` closes them.

    `auto` uses the channel's folder or server, and a swarm if peers are known. `globus` uses Globus Transfer alone;
    with `globus+http`, what it could not transfer is requested from the collection's HTTPS server.

    Raises:
        UsageError: the channel's location cannot be used by that transport.
        AuthError, ConfigError: a login or a setting of Globus is missing.
        IntegrityError, NotFound, TransportError: the release's torrents could not be read.
    """
    is_server = channel.folder is None
    if transport == "local" and is_server:
        raise UsageError(
            f"`{channel.location}` is not a folder", hint="use `--transport http` or `--transport torrent`"
        )
    if transport == "http" and not is_server:
        raise UsageError(f"`{channel.location}` is a folder, not a server", hint="use `--transport local`")
    if transport in {"globus", "globus+http"}:
        served = transport == "globus+http"
        return _globus(channel, stack, counted, emit, keeps_packs=keeps_packs, served=served)
    swarm = transport == "torrent" or (transport == "auto" and bool(peers))
    return Sources(
        here=LocalTransport(channel.folder) if channel.folder and transport in {"auto", "local"} else None,
        swarm=_swarm(channel, peers) if swarm else None,
        server=_server(channel, stack, counted, emit, stop) if is_server and transport in {"auto", "http"} else None,
        keeps_packs=keeps_packs,
    )


def _globus(  # noqa: PLR0913  # what a source is made with
    channel: OpenChannel,
    stack: ExitStack,
    counted: Callable[[int], None],
    emit: Emit,
    *,
    keeps_packs: bool,
    served: bool,
) -> Sources:
    if channel.collection is None:
        raise UsageError(
            f"`{channel.location}` does not lie in a Globus collection",
            hint="name a channel such as `globus:COLLECTION/path`, or use another `--transport`",
        )
    return Sources(
        transfers=channel.collection.transfers(stack, emit),
        server=channel.collection.server(stack, counted, emit) if served else None,
        keeps_packs=keeps_packs,
        emit=emit,
    )


def _server(
    channel: OpenChannel, stack: ExitStack, counted: Callable[[int], None], emit: Emit, stop: Stop | None
) -> PackTransport:
    if channel.collection is not None:
        return channel.collection.server(stack, counted, emit)
    client = stack.enter_context(new_client(connections=CONNECTIONS, login=channel.login, stop=stop))
    server = HttpTransport(channel.location, client, on_bytes=counted)
    stack.callback(server.seal)
    return Retrying(server, emit=emit)


def _swarm(channel: OpenChannel, peers: Sequence[Address]) -> Swarm:
    from ptmtorrent.transports.torrent.transport import TorrentTransport

    torrents = [read_listed(channel.reader, channel.release, volume.torrent_v1) for volume in channel.release.volumes]
    return TorrentTransport(torrents, peers)


def no_source_error(pack: PackId, tried: Sequence[Failed]) -> PtmError:
    """Return the error for a pack that no source delivered, with the reason of each source.

    It is the error itself if all sources require a login, or were Globus tasks that ended, and an `IntegrityError` if
    any source had wrong bytes.
    """
    reasons = "; ".join(dict.fromkeys(f"{failed.source}: {failed.error}" for failed in tried))
    if tried and all(isinstance(failed.error, (AuthError, TaskEnded)) for failed in tried):
        return tried[-1].error
    if any(isinstance(failed.error, IntegrityError) for failed in tried):
        return IntegrityError(f"no source has the right bytes of pack `{pack}`: {reasons}")
    message = f"no source has pack `{pack}`: {reasons}" if reasons else f"no source for pack `{pack}`"
    return NoSource(message, hint="name another source with --channel or --peer, or run the same command again later")
