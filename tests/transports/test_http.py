import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from ptmtorrent.channel.readers import RetryingReader
from ptmtorrent.channel.web_reader import HttpReader
from ptmtorrent.disk.partial import STEP_BYTES, PartialFile
from ptmtorrent.errors import IntegrityError, NotFound, PtmError, TransportError
from ptmtorrent.http import new_client
from ptmtorrent.model.plan import Extent, staging_path
from ptmtorrent.stop import Stop
from ptmtorrent.transports import http
from ptmtorrent.transports.http import HttpTransport
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.transports.retrying import Retrying
from ptmtorrent.workflows.fetch.disk_space import staged_extents
from tests.simulators.static_server import Lie, StaticServer, serve
from tests.transports.requests import PIECE, parts, read_delivered, whole, write_pack


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StaticServer]:
    with serve(tmp_path / "channel") as server:
        yield server


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with new_client() as client:
        yield client


def test_a_whole_pack_is_one_plain_get(server: StaticServer, client: httpx2.Client, tmp_path: Path) -> None:
    pack, data = write_pack(server.folder, 2 * PIECE)
    [delivered] = HttpTransport(server.url, client).deliver([whole(pack, data)], tmp_path / "staging", Stop())
    assert isinstance(delivered, Delivered)
    assert read_delivered(delivered) == data
    assert (delivered.moved, delivered.temporary, delivered.source) == (2 * PIECE, True, server.url)
    assert [(asked.offset, asked.sent) for asked in server.asked] == [(0, 2 * PIECE)]


def test_only_the_extents_cross_the_wire(server: StaticServer, client: httpx2.Client, tmp_path: Path) -> None:
    pack, data = write_pack(server.folder, 2 * PIECE)
    spans = [(10, 100), (5000, 7), (PIECE, 1000)]
    outcomes = list(HttpTransport(server.url, client).deliver([parts(pack, data, *spans)], tmp_path, Stop()))
    found = {outcome.extent.offset: read_delivered(outcome) for outcome in outcomes if isinstance(outcome, Delivered)}
    assert found == {offset: data[offset : offset + length] for offset, length in spans}
    assert server.pack_bytes == 1107


@pytest.mark.parametrize("size", [1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 2 * STEP_BYTES, 3 * STEP_BYTES])
def test_a_staging_file_is_trusted_up_to_the_last_step_below_its_size(
    server: StaticServer, client: httpx2.Client, tmp_path: Path, size: int
) -> None:
    pack, data = write_pack(server.folder, 3 * PIECE)
    path = staging_path(tmp_path, pack, Extent(offset=0, length=len(data)))
    path.write_bytes(data[:size])
    [delivered] = HttpTransport(server.url, client).deliver([whole(pack, data)], tmp_path, Stop())
    assert isinstance(delivered, Delivered)
    assert read_delivered(delivered) == data
    kept = (size - 1) // STEP_BYTES * STEP_BYTES
    assert server.pack_bytes == len(data) - kept
    assert size - kept <= STEP_BYTES


def test_a_resumed_extent_asks_for_the_rest_only(server: StaticServer, client: httpx2.Client, tmp_path: Path) -> None:
    pack, data = write_pack(server.folder, 3 * PIECE)
    request = parts(pack, data, (100, 2 * PIECE))
    staging_path(tmp_path, pack, request.extents[0]).write_bytes(data[100 : 100 + PIECE + 5])
    [delivered] = HttpTransport(server.url, client).deliver([request], tmp_path, Stop())
    assert isinstance(delivered, Delivered)
    assert read_delivered(delivered) == data[100 : 100 + 2 * PIECE]
    assert [asked.offset for asked in server.asked] == [100 + PIECE]


def test_a_server_that_ignores_range_is_used_when_it_sends_the_pack(
    server: StaticServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.lie = "ignores range"
    pack, data = write_pack(server.folder, PIECE)
    [delivered] = HttpTransport(server.url, client).deliver([parts(pack, data, (777, 50))], tmp_path, Stop())
    assert isinstance(delivered, Delivered)
    assert read_delivered(delivered) == data[777:827]


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        ("wrong range", TransportError),
        ("cut", TransportError),
        ("short", TransportError),
        ("encoded", TransportError),
        ("error", TransportError),
        ("gone", NotFound),
    ],
)
def test_a_wrong_reply_fails_the_extent_and_names_the_url(
    server: StaticServer, client: httpx2.Client, tmp_path: Path, lie: Lie, error: type[PtmError]
) -> None:
    server.lie, server.cut_after = lie, 1000
    pack, data = write_pack(server.folder, PIECE)
    [failed] = HttpTransport(server.url, client).deliver([parts(pack, data, (16, 9000))], tmp_path, Stop())
    assert isinstance(failed, Failed)
    assert type(failed.error) is error
    assert server.url in failed.error.message


@pytest.mark.parametrize("change", [b"", b"x" * 100])
@pytest.mark.parametrize("ranged", [True, False])
def test_a_pack_of_another_size_fails_with_integrity(
    server: StaticServer, client: httpx2.Client, tmp_path: Path, change: bytes, ranged: bool
) -> None:
    pack, data = write_pack(server.folder, PIECE)
    server.change = lambda _, data: data + change if change else data[:-1]
    request = parts(pack, data, (16, 9000)) if ranged else whole(pack, data)
    [failed] = HttpTransport(server.url, client).deliver([request], tmp_path, Stop())
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, IntegrityError)


@pytest.mark.parametrize(
    ("cut_after", "offsets"),
    [(PIECE + (2 << 20), [number * (PIECE + (2 << 20)) for number in range(4)]), (0, [0, 0, 0])],
)
def test_only_transfers_that_keep_nothing_count_as_attempts(
    server: StaticServer, client: httpx2.Client, tmp_path: Path, cut_after: int, offsets: list[int]
) -> None:
    server.lie, server.cut_after = "cut", cut_after
    pack, data = write_pack(server.folder, 5 * PIECE)
    transport = Retrying(HttpTransport(server.url, client), wait=lambda *_: False)
    [outcome] = transport.deliver([whole(pack, data)], tmp_path / "staging", Stop())
    assert [asked.offset for asked in server.asked] == offsets
    assert isinstance(outcome, Delivered) == (cut_after > 0)
    assert not isinstance(outcome, Delivered) or read_delivered(outcome) == data


@pytest.mark.parametrize("cut_after", [1, 7, 999, 2999, 3000])
def test_a_server_that_closes_after_any_number_of_bytes_is_read_to_the_end(
    server: StaticServer, client: httpx2.Client, tmp_path: Path, cut_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lie, server.cut_after = "cut", cut_after
    pack, data = write_pack(server.folder, size := min(3000, 300 * cut_after))
    monkeypatch.setattr(os, "fdatasync", lambda _: pytest.fail("it synced what it received"))
    transport = Retrying(HttpTransport(server.url, client), wait=lambda stop, seconds: seconds > 0 or stop.is_set())
    [outcome] = transport.deliver([whole(pack, data)], tmp_path / "staging", Stop())
    assert isinstance(outcome, Delivered)
    assert read_delivered(outcome) == data
    assert outcome.moved == server.pack_bytes == size


def test_a_run_that_ends_in_order_seals_what_it_leaves(
    server: StaticServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.lie, server.cut_after = "cut", 1000
    pack, data = write_pack(server.folder, 3000)
    transport = HttpTransport(server.url, client)
    [failed] = transport.deliver([whole(pack, data)], tmp_path / "staging", Stop())
    assert isinstance(failed, Failed)
    transport.seal()
    server.lie = "none"
    [delivered] = HttpTransport(server.url, client).deliver([whole(pack, data)], tmp_path / "staging", Stop())
    assert isinstance(delivered, Delivered)
    assert read_delivered(delivered) == data
    assert server.pack_bytes == 3000


def test_a_wrong_answer_is_asked_for_once_more(server: StaticServer, client: httpx2.Client, tmp_path: Path) -> None:
    answers = iter([b"<html>", b""])
    server.change = lambda path, data: next(answers, b"") or data if path.startswith("packs/") else data
    pack, data = write_pack(server.folder, 3000)
    transport = Retrying(HttpTransport(server.url, client), wait=lambda *_: False)
    [outcome] = transport.deliver([whole(pack, data)], tmp_path / "staging", Stop())
    assert isinstance(outcome, Delivered)
    assert read_delivered(outcome) == data


def test_no_more_than_the_extent_is_written_of_a_longer_body(
    server: StaticServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.lie = "longer"
    pack, data = write_pack(server.folder, PIECE)
    [delivered] = HttpTransport(server.url, client).deliver([parts(pack, data, (16, 9000))], tmp_path, Stop())
    assert isinstance(delivered, Delivered)
    assert delivered.path.read_bytes() == data[16:9016]


def test_an_unreachable_server_fails_every_extent(client: httpx2.Client, tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, PIECE)
    request = parts(pack, data, (0, 10), (1000, 10))
    outcomes = list(HttpTransport("http://127.0.0.1:9", client).deliver([request], tmp_path, Stop()))
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed]


def test_staged_bytes_are_bounded_by_the_window(
    server: StaticServer, client: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "WINDOW_BYTES", 2 * PIECE)
    packs = [write_pack(server.folder, PIECE, seed) for seed in range(8)]
    most = 0
    staging = tmp_path / "staging"
    for outcome in HttpTransport(server.url, client).deliver([whole(*pack) for pack in packs], staging, Stop()):
        assert isinstance(outcome, Delivered)
        most = max(most, sum(path.stat().st_size for path in staging.iterdir()))
        outcome.path.unlink()
    assert most <= 2 * PIECE


def test_stop_ends_the_delivery(server: StaticServer, client: httpx2.Client, tmp_path: Path) -> None:
    packs = [write_pack(server.folder, PIECE, seed) for seed in range(6)]
    stop = Stop()
    transport = HttpTransport(server.url, client, on_bytes=lambda _: stop.set())
    assert list(transport.deliver([whole(*pack) for pack in packs], tmp_path, stop)) == []


def test_bytes_are_synced_before_any_beyond_the_step_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    path = tmp_path / "x.part"
    monkeypatch.setattr("os.fdatasync", lambda _: sizes.append(path.stat().st_size))
    with PartialFile(path, 3 * STEP_BYTES) as file:
        file.write(b"x" * (2 * STEP_BYTES + 5))
        assert sizes == [STEP_BYTES, 2 * STEP_BYTES]
    assert sizes == [STEP_BYTES, 2 * STEP_BYTES, 2 * STEP_BYTES + 5]


def test_staged_extents_are_listed(tmp_path: Path) -> None:
    pack, _ = write_pack(tmp_path, 100)
    extent = Extent(offset=5, length=9)
    staging_path(tmp_path, pack, extent).touch()
    (tmp_path / "lock").touch()
    assert staged_extents(tmp_path) == {pack: (extent,)}


def test_a_reader_reads_ranges_even_where_range_is_ignored(server: StaticServer, client: httpx2.Client) -> None:
    server.lie = "ignores range"
    pack, data = write_pack(server.folder, PIECE)
    reader = HttpReader(server.url, client)
    assert reader.read_range(f"packs/{pack[:2]}/{pack}.pack", 500, 300) == data[500:800]


def test_a_reader_reads_no_more_than_its_limit(server: StaticServer, client: httpx2.Client) -> None:
    server.folder.mkdir()
    (server.folder / "big").write_bytes(bytes(10_000))
    with pytest.raises(IntegrityError, match="longer than the expected 9999 bytes"):
        HttpReader(server.url, client).read("big", limit=9999)


def test_a_retrying_reader_makes_three_attempts(server: StaticServer, client: httpx2.Client) -> None:
    pack, _ = write_pack(server.folder, PIECE)
    server.lie, server.cut_after = "cut", 0
    reader = RetryingReader(HttpReader(server.url, client))
    with pytest.raises(TransportError):
        reader.read_range(f"packs/{pack[:2]}/{pack}.pack", 0, 1000)
    assert len(server.asked) == 3


@pytest.mark.parametrize("cut_after", [1, 99, 299])
def test_a_document_of_a_server_that_closes_early_is_read_to_the_end(
    server: StaticServer, client: httpx2.Client, cut_after: int
) -> None:
    server.lie, server.cut_after = "cut", cut_after
    pack, data = write_pack(server.folder, 300)
    reader = RetryingReader(HttpReader(server.url, client))
    path = f"packs/{pack[:2]}/{pack}.pack"
    assert reader.read(path, limit=300) == data
    assert reader.read_range(path, 1, 299) == data[1:]
    assert server.pack_bytes == 300 + 299


@pytest.mark.parametrize("lie", ["part as whole", "cut part as whole"])
def test_a_part_that_is_sent_as_a_whole_is_read_as_a_part(
    server: StaticServer, client: httpx2.Client, tmp_path: Path, lie: Lie
) -> None:
    server.lie, server.cut_after = lie, 1000
    pack, data = write_pack(server.folder, 9000)
    path = f"packs/{pack[:2]}/{pack}.pack"
    assert RetryingReader(HttpReader(server.url, client)).read_range(path, 5, 3000) == data[5:3005]
    transport = Retrying(HttpTransport(server.url, client), wait=lambda *_: False)
    [outcome] = transport.deliver([parts(pack, data, (16, 5000))], tmp_path, Stop())
    assert isinstance(outcome, Delivered)
    assert read_delivered(outcome) == data[16:5016]
    assert server.pack_bytes == 8000
