# ruff: noqa: ARG002  # scripted transports have the port's signature and need little of it
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import IntegrityError, NoSource, NotFound, PtmError, StoreError, TransportError
from ptmtorrent.model.plan import Extent, PackRequest, staging_path, widen
from ptmtorrent.model.records import Note
from ptmtorrent.reading.sources import Chain, Sources
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.causes import TaskEnded
from ptmtorrent.transports.hybrid import HybridTransport
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.transports.retrying import Retrying
from tests.transports.requests import parts, whole, write_pack

DEADLINE = 20


class Scripted:
    """A transport that delivers the packs it has, and fails the others with `error`."""

    def __init__(
        self,
        name: str,
        has: Sequence[str] = (),
        *,
        error: PtmError | None = None,
        whole_packs: bool = False,
        fails_first: int = 0,
    ) -> None:
        self.name = name
        self.whole_packs = whole_packs
        self.asked: list[list[PackRequest]] = []
        self._has = set(has)
        self._error = error or NotFound(f"{name} has no such pack")
        self._fails_first = fails_first

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        self.asked.append(list(requests))
        for request in requests:
            for extent in request.extents:
                if request.pack in self._has and len(self.asked) > self._fails_first:
                    yield Delivered(
                        request=request,
                        extent=extent,
                        path=staging,
                        start=0,
                        moved=extent.length,
                        source=self.name,
                        temporary=False,
                    )
                else:
                    yield Failed(request=request, extent=extent, source=self.name, error=self._error)


class SilentSwarm:
    """A swarm whose peers never send: it waits until it is stopped."""

    name = "torrent"
    whole_packs = True

    def __init__(self, quiet_seconds: float, partial: Sequence[Delivered] = ()) -> None:
        self.quiet_seconds = quiet_seconds
        self.partial = partial
        self.stopped = Stop()

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        assert stop.wait(DEADLINE)
        self.stopped.set()
        yield from ()


class BusySwarm(Scripted):
    """A swarm that always sends payload."""

    quiet_seconds = 0.0
    partial = ()


@pytest.fixture
def requests(tmp_path: Path) -> list[PackRequest]:
    return [whole(*write_pack(tmp_path, 5000, seed)) for seed in range(3)]


def begun(folder: Path) -> tuple[PackRequest, Delivered, bytes]:
    """Return a pack of which a swarm delivered all but the ends: its request, the delivered part, and its bytes."""
    pack, data = write_pack(folder, 5000)
    request = whole(pack, data)
    path = folder / "begun"
    path.write_bytes(bytes(500) + data[500:3500] + bytes(1500))
    extent = Extent(offset=500, length=3000)
    came = Delivered(
        request=request, extent=extent, path=path, start=500, moved=3000, source="torrent", temporary=False
    )
    return request, came, data


def sources_of(outcomes: Sequence[Delivered | Failed]) -> dict[str, str]:
    return {outcome.request.pack: outcome.source for outcome in outcomes if isinstance(outcome, Delivered)}


def test_moved_counts_all_attempts(requests: list[PackRequest], tmp_path: Path) -> None:
    packs = [request.pack for request in requests]

    class CutOff(Scripted):
        def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
            for outcome in super().deliver(requests, staging, stop):
                yield msgspec.structs.replace(outcome, moved=100) if isinstance(outcome, Failed) else outcome

    server = CutOff("server", packs, error=TransportError("it hung up"), fails_first=2)
    outcomes = list(Retrying(server, wait=lambda *_: False).deliver(requests, tmp_path, Stop()))
    assert [outcome.moved for outcome in outcomes] == [5200] * 3


def test_missing_extents_come_from_the_next_source(requests: list[PackRequest], tmp_path: Path) -> None:
    packs = [request.pack for request in requests]
    first, second = Scripted("a", packs[:1]), Scripted("b", packs[1:])
    outcomes = list(Chain([first, second]).deliver(requests, tmp_path, Stop()))
    assert sources_of(outcomes) == {packs[0]: "a", packs[1]: "b", packs[2]: "b"}
    assert [request.pack for request in second.asked[0]] == packs[1:]


def test_only_failed_extents_are_requested_from_the_next_source(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, 5000)
    request = parts(pack, data, (0, 10), (1000, 20))

    class Half(Scripted):
        def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
            good, bad = Scripted("a", [pack]).deliver(requests, staging, stop)
            yield good
            yield Failed(request=bad.request, extent=bad.extent, source="a", error=TransportError("cut"))

    second = Scripted("b", [pack])
    assert len(list(Chain([Half("a"), second]).deliver([request], tmp_path, Stop()))) == 2
    [[asked]] = second.asked
    assert asked.extents == request.extents[1:]
    assert asked.objects == request.objects[1:]


def test_a_failure_names_every_source_and_its_reason(requests: list[PackRequest], tmp_path: Path) -> None:
    chain = Chain([Scripted("first"), Scripted("second", error=TransportError("it hung up"))])
    [failed, *_] = chain.deliver(requests, tmp_path, Stop())
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, NoSource)
    assert "first: first has no such pack; second: it hung up" in failed.error.message


def test_a_source_with_a_wrong_pack_makes_it_an_integrity_error(requests: list[PackRequest], tmp_path: Path) -> None:
    chain = Chain([Scripted("first", error=IntegrityError("the pack is short")), Scripted("second")])
    [failed, *_] = chain.deliver(requests, tmp_path, Stop())
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, IntegrityError)


def test_an_empty_chain_fails_everything(requests: list[PackRequest], tmp_path: Path) -> None:
    outcomes = list(Chain([]).deliver(requests, tmp_path, Stop()))
    assert [type(outcome.error) for outcome in outcomes if isinstance(outcome, Failed)] == [NoSource] * 3


def test_whole_packs_are_requested_from_a_swarm_after_a_server(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, 5000)
    swarm = Scripted("torrent", [pack], whole_packs=True)
    list(Chain([Scripted("http"), swarm]).deliver([parts(pack, data, (0, 10))], tmp_path, Stop()))
    assert [request.whole for request in swarm.asked[0]] == [True]


def test_a_failed_transfer_is_retried(requests: list[PackRequest], tmp_path: Path) -> None:
    packs = [request.pack for request in requests]
    inner = Scripted("a", packs, error=TransportError("reset"), fails_first=2)
    waits: list[float] = []

    def wait(_: Stop, seconds: float) -> bool:
        waits.append(seconds)
        return False

    outcomes = list(Retrying(inner, wait=wait).deliver(requests, tmp_path, Stop()))
    assert sorted(sources_of(outcomes)) == sorted(packs)
    assert waits == [0.2, 0.4]


@pytest.mark.parametrize(("error", "attempts"), [(NotFound("no"), 1), (IntegrityError("short"), 2)])
def test_a_missing_pack_is_not_retried_and_a_wrong_one_once(
    requests: list[PackRequest], tmp_path: Path, error: PtmError, attempts: int
) -> None:
    inner = Scripted("a", error=error)
    assert len(list(Retrying(inner, wait=lambda *_: False).deliver(requests, tmp_path, Stop()))) == 3
    assert len(inner.asked) == attempts


def test_the_swarm_gets_whole_packs_and_the_server_the_rest(requests: list[PackRequest], tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, 5000, seed=9)
    swarm = BusySwarm("torrent", [request.pack for request in requests], whole_packs=True)
    server = Scripted("http", [pack])
    outcomes = list(HybridTransport(swarm, server).deliver([*requests, parts(pack, data, (5, 9))], tmp_path, Stop()))
    assert sources_of(outcomes) == {**{request.pack: "torrent" for request in requests}, pack: "http"}


def test_the_server_takes_over_from_a_silent_swarm_once_that_has_stopped(
    requests: list[PackRequest], tmp_path: Path
) -> None:
    swarm = SilentSwarm(quiet_seconds=5.0)

    class Server(Scripted):
        def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
            assert swarm.stopped.is_set()
            return super().deliver(requests, staging, stop)

    server = Server("http", [request.pack for request in requests])
    outcomes = list(HybridTransport(swarm, server).deliver(requests, tmp_path, Stop()))
    assert set(sources_of(outcomes).values()) == {"http"}
    assert len(outcomes) == 3


def test_the_server_fills_the_holes_of_packs_of_a_silent_swarm(tmp_path: Path) -> None:
    request, came, data = begun(tmp_path)
    swarm = SilentSwarm(quiet_seconds=5.0, partial=[came])
    outcomes = list(HybridTransport(swarm, LocalTransport(tmp_path)).deliver([request], tmp_path, Stop()))
    assert outcomes[0] == came
    [filled] = [outcome for outcome in outcomes[1:] if isinstance(outcome, Delivered)]
    assert (filled.request, filled.extent, filled.moved) == (request, request.extents[0], 2000)
    assert filled.path.read_bytes() == data


def test_a_hole_that_cannot_be_filled_fails_its_pack_once(tmp_path: Path) -> None:
    request, came, _ = begun(tmp_path)
    swarm = SilentSwarm(quiet_seconds=5.0, partial=[came])
    outcomes = list(HybridTransport(swarm, Scripted("http")).deliver([request], tmp_path, Stop()))
    assert outcomes[0] == came
    [failed] = outcomes[1:]
    assert isinstance(failed, Failed)
    assert (failed.request, failed.extent) == (request, request.extents[0])


def test_the_server_does_not_take_over_while_payload_comes(requests: list[PackRequest], tmp_path: Path) -> None:
    swarm = BusySwarm("torrent", [request.pack for request in requests], whole_packs=True)
    server = Scripted("http")
    list(HybridTransport(swarm, server).deliver(requests, tmp_path, Stop()))
    assert server.asked == []


def test_packs_that_the_swarm_failed_come_from_the_server(requests: list[PackRequest], tmp_path: Path) -> None:
    packs = [request.pack for request in requests]
    swarm = BusySwarm("torrent", packs[:1], whole_packs=True)
    outcomes = list(HybridTransport(swarm, Scripted("http", packs)).deliver(requests, tmp_path, Stop()))
    assert sources_of(outcomes) == {packs[0]: "torrent", packs[1]: "http", packs[2]: "http"}


def test_stop_ends_both_transports(requests: list[PackRequest], tmp_path: Path) -> None:
    stop = Stop()
    stop.set()
    swarm = SilentSwarm(quiet_seconds=0.0)
    assert list(HybridTransport(swarm, Scripted("http")).deliver(requests, tmp_path, stop)) == []
    assert swarm.stopped.is_set()


def test_an_error_of_our_own_disk_ends_the_delivery(requests: list[PackRequest], tmp_path: Path) -> None:
    class Broken(Scripted):
        def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
            raise StoreError("the disk is gone")

    pack, data = write_pack(tmp_path, 5000, seed=9)
    swarm = SilentSwarm(quiet_seconds=0.0)
    with pytest.raises(StoreError, match="the disk is gone"):
        list(HybridTransport(swarm, Broken("http")).deliver([*requests, parts(pack, data, (0, 1))], tmp_path, Stop()))


def test_globus_moves_whole_packs_and_the_server_completes_those_that_are_begun(
    requests: list[PackRequest], tmp_path: Path
) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    begun_pack, complete, fresh = requests
    staging_path(staging, begun_pack.pack, begun_pack.extents[0]).write_bytes(bytes(4096))
    staging_path(staging, complete.pack, complete.extents[0]).write_bytes(bytes(complete.size))
    packs = [request.pack for request in requests]
    transfers, server = Scripted("globus", packs, whole_packs=True), Scripted("server", packs)
    chain = Sources(transfers=transfers, server=server).chain()
    assert chain is not None
    outcomes = list(chain.deliver(requests, staging, Stop()))
    assert sources_of(outcomes) == {begun_pack.pack: "server", complete.pack: "globus", fresh.pack: "globus"}
    assert [request.pack for request in transfers.asked[0]] == [complete.pack, fresh.pack]


def test_globus_moves_a_begun_pack_that_the_server_lacks(requests: list[PackRequest], tmp_path: Path) -> None:
    request = requests[0]
    staging_path(tmp_path, request.pack, request.extents[0]).write_bytes(bytes(4096))
    transfers = Scripted("globus", [request.pack], whole_packs=True)
    chain = Sources(transfers=transfers, server=Scripted("server")).chain()
    assert chain is not None
    [outcome] = chain.deliver([request], tmp_path, Stop())
    assert isinstance(outcome, Delivered)
    assert outcome.source == "globus"


def test_what_globus_did_not_deliver_comes_from_the_server_in_parts_and_that_is_said(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, 5_000_000, seed=3)
    asked = widen(parts(pack, data, (0, 1000), (4_000_000, 1000)))
    notes: list[Note] = []
    transfers = Scripted("globus", error=TransportError("task `t` failed: the disk quota is used up"), whole_packs=True)
    server = Scripted("server", [pack])
    chain = Sources(transfers=transfers, server=server, emit=notes.append).chain()  # type: ignore[arg-type]  # Notes only
    assert chain is not None

    outcomes = list(chain.deliver([asked], tmp_path / "staging", Stop()))

    assert [(one.extent.offset, one.extent.length) for one in outcomes] == [(0, 1000), (4_000_000, 1000)]
    [note] = notes
    assert "the disk quota is used up" in note.message
    assert "2.0 kB are fetched over HTTPS from `server` instead" in note.message


def test_globus_alone_asks_no_server_and_a_failure_is_its_task_s(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, 5000, seed=3)
    ended = TaskEnded("task `t` failed: the disk quota is used up", hint="fix it")
    chain = Sources(transfers=Scripted("globus", error=ended, whole_packs=True)).chain()
    assert chain is not None

    [outcome] = chain.deliver([widen(parts(pack, data, (0, 1)))], tmp_path / "staging", Stop())

    assert isinstance(outcome, Failed)
    assert outcome.error is ended
