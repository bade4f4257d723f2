import os
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import NoSpace, NotFound, TransportError
from ptmtorrent.model import records
from ptmtorrent.state.verified_files import VerifiedFiles
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered
from ptmtorrent.transports.torrent.session import TorrentSession
from ptmtorrent.transports.torrent.transport import TorrentTransport
from ptmtorrent.workflows.seed import seed
from tests.simulators.packs import request_of
from tests.simulators.swarm import LOOPBACK, Shared, flip, seeding, share, write_release
from tests.simulators.tracker import tracker


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    shared = share(tmp_path / "channel", 1, 2, 1)
    write_release(shared)
    return shared


def warnings_in(events: list[records.Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, records.Note) and event.warning]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_torrents_of_a_volume_are_seeded_and_counted(shared: Shared, tmp_path: Path, version: str) -> None:
    events: list[records.Event] = []
    with seeding(shared.channel, emit=events.append) as port:
        transport = TorrentTransport([getattr(shared, version)], [("127.0.0.1", port)])
        outcomes = list(transport.deliver([request_of(pack) for pack in shared.packs], tmp_path / "out", Stop()))

    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    for pack in shared.packs:
        assert blake3((tmp_path / "out" / pack_path(pack.pack)).read_bytes()).hexdigest() == pack.pack
    assert [event.bytes for event in events if isinstance(event, records.Progress)][-1] == 4 * (4 << 20)
    assert warnings_in(events) == []
    assert f"seeding on port {port}" in [event.message for event in events if isinstance(event, records.Note)]


def test_a_missing_and_a_damaged_pack_are_told_and_the_others_seeded(shared: Shared, tmp_path: Path) -> None:
    gone, damaged, whole = shared.packs
    shared.path(gone).unlink()
    flip(shared.path(damaged), 3)
    events: list[records.Event] = []

    with seeding(shared.channel, emit=events.append) as port:
        transport = TorrentTransport([shared.v1], [("127.0.0.1", port)])
        (outcome,) = transport.deliver([request_of(whole)], tmp_path / "out", Stop())

    assert isinstance(outcome, Delivered)
    assert any(gone.pack in warning for warning in warnings_in(events))
    assert any(damaged.pack in warning and "damaged" in warning for warning in warnings_in(events))
    assert not shared.path(gone).exists()


def test_a_volume_that_many_releases_list_is_seeded_once(shared: Shared) -> None:
    write_release(shared, "2026.12")
    events: list[records.Event] = []

    with seeding(shared.channel, emit=events.append):
        pass

    told = [event.message for event in events if isinstance(event, records.Note) and "volume" in event.message]
    assert len(told) == 1


def test_what_a_release_lists_wrongly_is_passed_over(shared: Shared, tmp_path: Path) -> None:
    other = share(tmp_path / "channel", 3)
    write_release(other, "2026.12")
    for path in (shared.channel / "torrents").iterdir():
        if path.read_bytes() == shared.v2:
            path.write_bytes(b"x" * len(shared.v2))
    broken = shared.channel / "releases" / "2027.01" / "release.json"
    broken.parent.mkdir()
    broken.write_bytes(b"{}")
    events: list[records.Event] = []

    with seeding(shared.channel, emit=events.append) as port:
        transport = TorrentTransport([other.v1], [("127.0.0.1", port)])
        (outcome,) = transport.deliver([request_of(other.packs[0])], tmp_path / "out", Stop())

    assert isinstance(outcome, Delivered)
    assert any(broken.parent.name in warning for warning in warnings_in(events))
    assert any("is not seeded" in warning for warning in warnings_in(events))


def bytes_read() -> int:
    """Return the bytes that this process passed to read calls so far, of all its threads and of libtorrent."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


def start_seeding(shared: Shared, known: Path) -> tuple[list[records.Event], int]:
    """Start a seeder and end it; return what it said, and the bytes it read."""
    events: list[records.Event] = []
    before = bytes_read()
    with seeding(shared.channel, emit=events.append, known=known):
        pass
    return events, bytes_read() - before


def test_a_second_start_reads_no_pack_again_and_seeds_all(tmp_path: Path) -> None:
    shared = share(tmp_path / "channel", 8, 10, 7)
    write_release(shared)
    size = sum(pack.size for pack in shared.packs)
    known = tmp_path / "known.sqlite"

    first, read_first = start_seeding(shared, known)
    second, read_second = start_seeding(shared, known)

    assert size <= read_first < 1.1 * size
    assert read_second <= 0.01 * size
    assert warnings_in(first) == warnings_in(second) == []
    with seeding(shared.channel, known=known) as port:
        for version in ("v1", "v2"):
            transport = TorrentTransport([getattr(shared, version)], [("127.0.0.1", port)])
            outcomes = list(transport.deliver([request_of(pack) for pack in shared.packs], tmp_path / version, Stop()))
            assert all(isinstance(outcome, Delivered) for outcome in outcomes)
            for pack in shared.packs:
                assert blake3((tmp_path / version / pack_path(pack.pack)).read_bytes()).hexdigest() == pack.pack


def test_a_pack_is_on_the_disk_before_it_is_recorded(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a record of bytes that were only in memory would vouch for others."""
    inodes = {shared.path(pack).stat().st_ino: pack.pack for pack in shared.packs}
    synced, recorded = [], []
    record, fsync = VerifiedFiles.record, os.fsync

    def fsync_and_note(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(inodes.get(os.fstat(descriptor).st_ino))

    def record_and_note(self: VerifiedFiles, found: os.stat_result, digest: str) -> None:
        recorded.append(inodes[found.st_ino] in synced)
        record(self, found, digest)

    monkeypatch.setattr(os, "fsync", fsync_and_note)
    monkeypatch.setattr(VerifiedFiles, "record", record_and_note)

    start_seeding(shared, tmp_path / "known.sqlite")

    assert recorded == [True, True, True]


def test_a_changed_pack_is_read_again_and_not_seeded_when_it_is_wrong(shared: Shared, tmp_path: Path) -> None:
    known = tmp_path / "known.sqlite"
    start_seeding(shared, known)
    changed, touched, _ = shared.packs
    flip(shared.path(changed), 5)
    shared.path(touched).touch()

    events, read = start_seeding(shared, known)

    assert changed.size + touched.size <= read < sum(pack.size for pack in shared.packs)
    (warning,) = warnings_in(events)
    assert changed.pack in warning
    assert "not seeded" in warning
    told = [event.message for event in events if isinstance(event, records.Note) and event.message.startswith("volume")]
    assert "2 packs" in told[0]
    assert [changed.pack in warning for warning in warnings_in(start_seeding(shared, known)[0])] == [True]


def test_a_pack_that_its_torrents_do_not_describe_is_not_seeded(tmp_path: Path) -> None:
    shared = share(tmp_path / "channel", 2, 1)
    wrong = shared.packs[0]
    pieces = bytes([wrong.pieces_v1[0] ^ 1]) + wrong.pieces_v1[1:]
    lying = msgspec.structs.replace(shared, packs=(msgspec.structs.replace(wrong, pieces_v1=pieces), shared.packs[1]))
    write_release(lying)

    events, _ = start_seeding(shared, tmp_path / "known.sqlite")

    (warning,) = warnings_in(events)
    assert wrong.pack in warning
    assert "pieces" in warning


def test_a_record_of_verified_files_that_cannot_be_opened_does_not_stop_a_seeder(
    shared: Shared, tmp_path: Path
) -> None:
    (tmp_path / "known.sqlite").write_bytes(b"not a database at all" * 100)

    events, _ = start_seeding(shared, tmp_path / "known.sqlite")

    (warning,) = warnings_in(events)
    assert "record of verified files" in warning


def test_a_disk_that_cannot_take_the_record_does_not_stop_a_seeder(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NoSpace("the disk is full")

    monkeypatch.setattr(VerifiedFiles, "record", refuse)

    events, _ = start_seeding(shared, tmp_path / "known.sqlite")

    (warning,) = warnings_in(events)
    assert "the disk is full" in warning
    told = [event.message for event in events if isinstance(event, records.Note) and event.message.startswith("volume")]
    assert "3 packs" in told[0]


def test_a_stop_while_packs_are_read_ends_the_seeder(shared: Shared) -> None:
    stop = Stop()

    def emit(event: records.Event) -> None:
        if isinstance(event, records.Note) and event.message.startswith("verifying"):
            stop.set()

    ready: list[int] = []
    seed(shared.channel, listen=("127.0.0.1", 0), emit=emit, stop=stop, ready=ready.append)

    assert ready == []


def test_trackers_are_told_of_both_torrents(shared: Shared) -> None:
    with tracker() as (announce, known):
        with seeding(shared.channel, [announce]) as port:
            for _ in range(100):
                if len(known) == 2:
                    break
                Stop().wait(0.1)
        assert list(known.values()) == [{port}, {port}]


def test_an_empty_channel_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no release"):
        seed(tmp_path, listen=("127.0.0.1", 0), emit=records.ignore, stop=Stop(), ready=lambda _: None)


def test_a_taken_port_is_refused(shared: Shared) -> None:
    with TorrentSession("loopback", LOOPBACK, seeding=True) as session:
        taken = ("127.0.0.1", session.port())
        with pytest.raises(TransportError, match="cannot listen"):
            seed(shared.channel, listen=taken, emit=records.ignore, stop=Stop(), ready=lambda _: None)
