"""The contract of readers and pack transports. Add a new one to `READERS` or `TRANSPORTS`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import LocalReader, RetryingReader
from ptmtorrent.channel.web_reader import HttpReader
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.http import new_client
from ptmtorrent.model.plan import PackRequest, widen
from ptmtorrent.model.torrents import torrent_v1, torrent_v2
from ptmtorrent.model.volume import VolumePlan
from ptmtorrent.reading.sources import Chain
from ptmtorrent.stop import Stop
from ptmtorrent.transports.http import HttpTransport
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.transports.port import Delivered, Failed, PackTransport
from ptmtorrent.transports.retrying import Retrying
from ptmtorrent.transports.torrent.transport import TorrentTransport
from tests.simulators.packs import hash_pack
from tests.simulators.static_server import serve
from tests.simulators.swarm import Shared, seeder
from tests.transports.globus.copies import copying_transport
from tests.transports.requests import PIECE, parts, read_delivered, whole, write_pack

PATIENCE_SECONDS = 20


@contextmanager
def over_http(folder: Path) -> Iterator[HttpReader]:
    with serve(folder) as server, new_client() as client:
        yield HttpReader(server.url, client)


@contextmanager
def patiently(folder: Path) -> Iterator[RetryingReader]:
    yield RetryingReader(LocalReader(folder))


@contextmanager
def in_place(folder: Path) -> Iterator[LocalReader]:
    yield LocalReader(folder)


@contextmanager
def local(folder: Path) -> Iterator[PackTransport]:
    yield LocalTransport(folder)


@contextmanager
def http(folder: Path) -> Iterator[PackTransport]:
    with serve(folder) as server, new_client() as client:
        yield HttpTransport(server.url, client)


@contextmanager
def chained(folder: Path) -> Iterator[PackTransport]:
    with http(folder) as server:
        yield Chain([LocalTransport(folder / "nothing"), Retrying(server)])


@contextmanager
def torrent(folder: Path) -> Iterator[PackTransport]:
    data = [path.read_bytes() for path in sorted((folder / "packs").rglob("*.pack"))]
    packs = tuple(hash_pack(pack) for pack in data if len(pack) == PIECE)
    if not packs:
        yield TorrentTransport([])
        return
    volume = VolumePlan(rights="open", level=0, packs=packs)
    v1, v2 = torrent_v1(volume)[0], torrent_v2(volume)[0]
    with seeder(Shared(channel=folder, packs=packs, v1=v1, v2=v2)) as (address, _):
        yield TorrentTransport([v1], [address], patience_seconds=PATIENCE_SECONDS)


@contextmanager
def globus(folder: Path) -> Iterator[PackTransport]:
    yield copying_transport(folder, folder.parent / "here")


def asked(transport: PackTransport, *requests: PackRequest) -> list[PackRequest]:
    """Return the requests of the planner for this transport."""
    return [widen(request) if transport.whole_packs else request for request in requests]


Opened = Callable[[Path], AbstractContextManager[PackTransport]]
Readers = Callable[[Path], AbstractContextManager[ChannelReader]]
READERS = [in_place, over_http, patiently]
TRANSPORTS = [local, http, chained, torrent, globus]


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    folder = tmp_path / "channel"
    (folder / "releases" / "a b").mkdir(parents=True)
    (folder / "releases" / "a b" / "#1?.json").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.parametrize("open_reader", READERS)
class TestReaders:
    def test_a_file_is_read_whole(self, open_reader: Readers, channel: Path) -> None:
        with open_reader(channel) as reader:
            assert reader.read("releases/a b/#1?.json", limit=256) == bytes(range(256))

    def test_a_longer_file_is_refused(self, open_reader: Readers, channel: Path) -> None:
        with open_reader(channel) as reader, pytest.raises(IntegrityError, match="longer than the expected 255 bytes"):
            reader.read("releases/a b/#1?.json", limit=255)

    def test_a_missing_file_is_not_found(self, open_reader: Readers, channel: Path) -> None:
        with open_reader(channel) as reader, pytest.raises(NotFound, match=r"nothing\.json"):
            reader.read("releases/nothing.json", limit=10)

    def test_a_range_is_exactly_that(self, open_reader: Readers, channel: Path) -> None:
        with open_reader(channel) as reader:
            assert reader.read_range("releases/a b/#1?.json", 10, 5) == bytes(range(10, 15))

    def test_a_range_beyond_the_end_is_refused(self, open_reader: Readers, channel: Path) -> None:
        with open_reader(channel) as reader, pytest.raises(IntegrityError):
            reader.read_range("releases/a b/#1?.json", 250, 7)

    def test_a_path_outside_is_refused(self, open_reader: Readers, channel: Path) -> None:
        with open_reader(channel) as reader, pytest.raises(IntegrityError, match="refused"):
            reader.read("../x", limit=10)


@pytest.mark.parametrize("open_transport", TRANSPORTS)
class TestTransports:
    def test_every_extent_has_one_outcome(self, open_transport: Opened, channel: Path, tmp_path: Path) -> None:
        first, second = write_pack(channel, PIECE, 1), write_pack(channel, PIECE, 2)
        with open_transport(channel) as transport:
            requests = asked(transport, whole(*first), parts(*second, (10, 99), (PIECE // 2, 100_000)))
            outcomes = list(transport.deliver(requests, tmp_path / "staging", Stop()))
            found = {(outcome.request.pack, outcome.extent): outcome for outcome in outcomes}
        assert len(outcomes) == len(found)
        assert set(found) == {(request.pack, extent) for request in requests for extent in request.extents}

    def test_the_delivered_bytes_are_the_extent(self, open_transport: Opened, channel: Path, tmp_path: Path) -> None:
        pack, data = write_pack(channel, PIECE)
        with open_transport(channel) as transport:
            for outcome in transport.deliver(
                asked(transport, parts(pack, data, (10, 99), (90_000, 7))), tmp_path, Stop()
            ):
                assert isinstance(outcome, Delivered)
                assert read_delivered(outcome) == data[outcome.extent.offset : outcome.extent.end]
                assert outcome.moved == outcome.extent.length

    def test_a_missing_pack_fails_and_the_others_come(
        self, open_transport: Opened, channel: Path, tmp_path: Path
    ) -> None:
        here, gone = write_pack(channel, PIECE, 1), write_pack(tmp_path / "elsewhere", PIECE, 2)
        with open_transport(channel) as transport:
            outcomes = list(transport.deliver([whole(*gone), whole(*here)], tmp_path, Stop()))
        kinds = {outcome.request.pack: type(outcome) for outcome in outcomes}
        assert kinds == {here[0]: Delivered, gone[0]: Failed}

    def test_a_short_pack_fails(self, open_transport: Opened, channel: Path, tmp_path: Path) -> None:
        pack, data = write_pack(channel, PIECE)
        (channel / "packs" / pack[:2] / f"{pack}.pack").write_bytes(data[:-1])
        with open_transport(channel) as transport:
            [outcome] = transport.deliver([whole(pack, data)], tmp_path, Stop())
        assert isinstance(outcome, Failed)

    def test_no_requests_give_no_outcomes(self, open_transport: Opened, channel: Path, tmp_path: Path) -> None:
        with open_transport(channel) as transport:
            assert list(transport.deliver([], tmp_path, Stop())) == []

    def test_stop_is_obeyed(self, open_transport: Opened, channel: Path, tmp_path: Path) -> None:
        stop = Stop()
        stop.set()
        pack = write_pack(channel, PIECE)
        with open_transport(channel) as transport:
            assert list(transport.deliver([whole(*pack)], tmp_path, stop)) == []
