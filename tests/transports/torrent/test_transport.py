import itertools
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import IntegrityError, NoSource, NoSpace
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.transports.torrent import download
from ptmtorrent.transports.torrent.download import Download, Volume
from ptmtorrent.transports.torrent.session import Address, TorrentSession
from ptmtorrent.transports.torrent.transport import TorrentTransport
from tests.simulators.packs import BLOCK_BYTES, request_of
from tests.simulators.swarm import LOOPBACK, Shared, flip, seeder, share
from tests.transports.requests import read_delivered

PIECE_BYTES = 256 << 10
"""The piece length of packs of 4 to 63 MiB."""

NOBODY = 5.0
NO_HOST = "h" * 64  # too long for a host name, so it is not resolved
"""The deadline for swarms that should reply."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return share(tmp_path_factory.mktemp("channel"), 1, 2, 3, 4, 1)


@pytest.fixture(scope="module")
def good(shared: Shared) -> Iterator[Address]:
    with seeder(shared) as (address, _):
        yield address


@pytest.fixture
def copy(shared: Shared, tmp_path: Path) -> Shared:
    """The same volume in a separate folder, where a test may damage it."""
    channel = tmp_path / "copy"
    shutil.copytree(shared.channel, channel)
    return Shared(channel=channel, packs=shared.packs, v1=shared.v1, v2=shared.v2)


def requests_of(packs: tuple[PackHashes, ...]) -> list[PackRequest]:
    return [request_of(pack) for pack in packs]


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def dead_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_only_the_wanted_packs_are_moved(shared: Shared, good: Address, tmp_path: Path, version: str) -> None:
    wanted = (shared.packs[0], shared.packs[3])
    transport = TorrentTransport([getattr(shared, version)], [good])

    outcomes = list(transport.deliver(requests_of(wanted), tmp_path, Stop()))

    assert {outcome.request.pack for outcome in outcomes if isinstance(outcome, Delivered)} == {
        pack.pack for pack in wanted
    }
    assert sum(outcome.moved for outcome in outcomes if isinstance(outcome, Delivered)) == 5 * BLOCK_BYTES
    assert files_below(tmp_path) == {pack_path(pack.pack) for pack in wanted}


def test_a_pack_is_all_on_disk_when_it_is_delivered(shared: Shared, good: Address, tmp_path: Path) -> None:
    transport = TorrentTransport([shared.v1], [good])

    for outcome in transport.deliver(requests_of(shared.packs), tmp_path, Stop()):
        assert isinstance(outcome, Delivered)
        assert blake3(outcome.path.read_bytes()).hexdigest() == outcome.request.pack
        assert (outcome.start, outcome.extent.offset, outcome.extent.length) == (0, 0, outcome.request.size)
        assert outcome.temporary


def test_no_more_than_the_window_is_staged_before_it_is_taken(
    shared: Shared, good: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "WINDOW_BYTES", 2 * BLOCK_BYTES)
    largest_first = sorted(shared.packs, key=lambda pack: -pack.size)
    outcomes = TorrentTransport([shared.v1], [good]).deliver(requests_of(tuple(largest_first)), tmp_path, Stop())

    first = next(outcomes)
    for _ in range(20):
        assert files_below(tmp_path) == {pack_path(first.request.pack)}
        time.sleep(0.05)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)


def test_a_stopped_download_reports_partial_packs(shared: Shared, tmp_path: Path) -> None:
    pack = max(shared.packs, key=lambda pack: pack.size)
    stop = Stop()
    with seeder(shared, bytes_per_second=8 << 20) as (address, offering):
        transport = TorrentTransport([shared.v1], [address], patience_seconds=NOBODY)

        def stop_late() -> None:
            while offering.payload().sent < 3 * BLOCK_BYTES:
                time.sleep(0.02)
            stop.set()

        watch = threading.Thread(target=stop_late)
        watch.start()
        assert list(transport.deliver([request_of(pack)], tmp_path, stop)) == []
        watch.join()

    data = shared.path(pack).read_bytes()
    assert transport.partial
    for part in transport.partial:
        assert part.extent.length % PIECE_BYTES == 0
        assert read_delivered(part) == data[part.extent.offset : part.extent.end]
    assert sum(part.moved for part in transport.partial) >= sum(part.extent.length for part in transport.partial)


def test_a_window_without_available_packs_grows(copy: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WINDOW_BYTES", BLOCK_BYTES)
    monkeypatch.setattr(download, "STALL_SECONDS", 0.2)
    copy.path(copy.packs[0]).unlink()
    with seeder(copy, verified=False) as (address, _):
        transport = TorrentTransport([copy.v1], [address], patience_seconds=3)
        outcomes = list(transport.deliver(requests_of(copy.packs), tmp_path / "staging", Stop()))

    failed = [outcome.request.pack for outcome in outcomes if isinstance(outcome, Failed)]
    assert failed == [copy.packs[0].pack]


def test_staged_packs_are_hashed_and_not_fetched_again(shared: Shared, good: Address, tmp_path: Path) -> None:
    shutil.copytree(shared.channel, tmp_path, dirs_exist_ok=True)
    damaged = shared.packs[3]
    flip(tmp_path / pack_path(damaged.pack), 2 * BLOCK_BYTES + 5)

    outcomes = list(TorrentTransport([shared.v1], [good]).deliver(requests_of(shared.packs), tmp_path, Stop()))

    moved = {outcome.request.pack: outcome.moved for outcome in outcomes if isinstance(outcome, Delivered)}
    assert moved == {pack.pack: PIECE_BYTES if pack is damaged else 0 for pack in shared.packs}
    assert blake3((tmp_path / pack_path(damaged.pack)).read_bytes()).hexdigest() == damaged.pack


def test_a_staging_file_cut_short_is_completed(shared: Shared, good: Address, tmp_path: Path) -> None:
    short = shared.packs[3]
    path = tmp_path / pack_path(short.pack)
    path.parent.mkdir(parents=True)
    path.write_bytes(shared.path(short).read_bytes()[: BLOCK_BYTES + 100])

    (outcome,) = TorrentTransport([shared.v1], [good]).deliver([request_of(short)], tmp_path, Stop())

    assert isinstance(outcome, Delivered)
    assert outcome.moved == 3 * BLOCK_BYTES
    assert blake3(path.read_bytes()).hexdigest() == short.pack


@pytest.mark.parametrize("where", [0, 2 * BLOCK_BYTES - 1])
def test_a_flipped_byte_at_the_seeder_is_never_delivered(copy: Shared, tmp_path: Path, where: int) -> None:
    bad = copy.packs[1]
    flip(copy.path(bad), where)
    with seeder(copy) as (address, _):
        transport = TorrentTransport([copy.v1], [address], patience_seconds=1.5)

        (outcome,) = transport.deliver([request_of(bad)], tmp_path / "staging", Stop())

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, IntegrityError)
    assert bad.pack in outcome.error.message
    assert f"127.0.0.1:{address[1]}" in outcome.error.message


def test_another_peer_replaces_a_damaged_one(copy: Shared, good: Address, tmp_path: Path) -> None:
    flip(copy.path(copy.packs[1]), 0)
    with seeder(copy) as (address, _):
        transport = TorrentTransport([copy.v1], [address, good], patience_seconds=NOBODY)

        outcomes = list(transport.deliver(requests_of(copy.packs), tmp_path / "staging", Stop()))

    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert all(
        blake3((tmp_path / "staging" / pack_path(pack.pack)).read_bytes()).hexdigest() == pack.pack
        for pack in copy.packs
    )


def test_after_wrong_bytes_each_source_is_tried_separately(
    copy: Shared, good: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Address, ...]] = []
    join = TorrentTransport._join

    def ban_all_that_are_asked_together(self: TorrentTransport, *arguments: Any) -> Iterator[Delivered | Failed]:
        asked.append(arguments[-1].peers)
        if len(arguments[-1].peers) == 1:
            yield from join(self, *arguments)
            return
        for request in requests_of(copy.packs):
            whole = Extent(offset=0, length=request.size)
            yield Failed(request=request, extent=whole, source="torrent", error=NoSource("all are banned"))

    monkeypatch.setattr(TorrentTransport, "_join", ban_all_that_are_asked_together)
    monkeypatch.setattr(TorrentTransport, "_polluted", lambda _: True)
    nobody = ("127.0.0.1", dead_port())
    transport = TorrentTransport([copy.v1], [nobody, good], patience_seconds=1)

    outcomes = list(transport.deliver(requests_of(copy.packs), tmp_path / "staging", Stop()))

    assert asked == [(nobody, good), (nobody,), (good,)]
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert {outcome.request.pack for outcome in outcomes} == {pack.pack for pack in copy.packs}


def test_a_seeder_that_checks_does_not_offer_what_is_damaged(copy: Shared, tmp_path: Path) -> None:
    flip(copy.path(copy.packs[1]), 0)
    with seeder(copy, verified=False) as (address, _):
        transport = TorrentTransport([copy.v1], [address], patience_seconds=1.5)

        outcomes = list(transport.deliver(requests_of(copy.packs[:3]), tmp_path / "staging", Stop()))

    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert [outcome.request.pack for outcome in failed] == [copy.packs[1].pack]
    assert isinstance(failed[0].error, NoSource)


def test_a_silent_swarm_is_given_up_and_its_peers_are_named(shared: Shared, tmp_path: Path) -> None:
    port = dead_port()
    peers = [("127.0.0.1", port), ("localhost", port), (NO_HOST, 7)]
    seconds = itertools.count()
    transport = TorrentTransport(
        [shared.v1], peers, profile="loopback", patience_seconds=30, monotonic=lambda: float(next(seconds))
    )

    outcomes = list(transport.deliver(requests_of(shared.packs[:2]), tmp_path, Stop()))

    assert all(isinstance(outcome, Failed) and isinstance(outcome.error, NoSource) for outcome in outcomes)
    assert len(outcomes) == 2
    for outcome in outcomes:
        assert isinstance(outcome, Failed)
        assert f"`127.0.0.1:{port}`" in outcome.error.message
        assert f"`{NO_HOST}:7` (" in outcome.error.message


def test_a_peer_that_refuses_is_named_with_the_reason(shared: Shared, tmp_path: Path) -> None:
    transport = TorrentTransport([shared.v1], [("127.0.0.1", dead_port())], patience_seconds=1.5)

    (outcome,) = transport.deliver([request_of(shared.packs[0])], tmp_path, Stop())

    assert isinstance(outcome, Failed)
    assert "refused" in outcome.error.message


def test_a_pack_no_torrent_lists_fails_alone(shared: Shared, good: Address, tmp_path: Path) -> None:
    known = request_of(shared.packs[0])
    unknown = PackRequest(pack=type(known.pack)("0" * 64), size=known.size, extents=known.extents, objects=())

    outcomes = list(TorrentTransport([shared.v1], [good]).deliver([unknown, known], tmp_path, Stop()))

    assert [type(outcome) for outcome in outcomes] == [Failed, Delivered]
    assert isinstance(outcomes[0], Failed)
    assert isinstance(outcomes[0].error, NoSource)


def test_a_torrent_that_is_not_a_volume_is_refused(shared: Shared) -> None:
    with pytest.raises(IntegrityError):
        TorrentTransport([shared.v1[:-1]], [])


def test_stopping_yields_no_outcomes_and_the_next_run_continues(shared: Shared, good: Address, tmp_path: Path) -> None:
    stop = Stop()
    transport = TorrentTransport([shared.v1], [good])
    outcomes = []
    for outcome in transport.deliver(requests_of(shared.packs[:1]), tmp_path, stop):
        outcomes.append(outcome)
        stop.set()

    assert list(transport.deliver(requests_of(shared.packs), tmp_path, stop)) == []
    again = list(transport.deliver(requests_of(shared.packs), tmp_path, Stop()))

    assert len(outcomes) == 1
    assert sum(outcome.moved for outcome in again if isinstance(outcome, Delivered)) == 10 * BLOCK_BYTES


def test_stopping_ends_a_download_that_waits(shared: Shared, tmp_path: Path) -> None:
    stop = Stop()
    transport = TorrentTransport([shared.v1], [("127.0.0.1", dead_port())], patience_seconds=600)
    threading.Timer(0.3, stop.set).start()

    assert list(transport.deliver([request_of(shared.packs[0])], tmp_path, stop)) == []


def test_quiet_seconds_grow_without_payload(shared: Shared, tmp_path: Path) -> None:
    transport = TorrentTransport([shared.v1], [("127.0.0.1", dead_port())], patience_seconds=1)
    heard: list[float] = [transport.quiet_seconds]
    stop = Stop()

    def look() -> None:
        while not stop.wait(0.05):
            heard.append(transport.quiet_seconds)

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    list(transport.deliver([request_of(shared.packs[0])], tmp_path, Stop()))
    stop.set()
    looker.join()

    assert heard[0] == 0
    assert max(heard) > 0.5
    assert transport.quiet_seconds == 0


def test_a_slow_caller_does_not_count_as_a_silent_swarm(shared: Shared, good: Address, tmp_path: Path) -> None:
    now = [0.0]
    transport = TorrentTransport([shared.v1], [good], patience_seconds=30, monotonic=lambda: now[0])

    outcomes = []
    for outcome in transport.deliver(requests_of(shared.packs), tmp_path, Stop()):
        outcomes.append(outcome)
        now[0] += 1000

    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert len(outcomes) == len(shared.packs)


def test_a_pack_dropped_by_its_user_does_not_end_the_sharing_of_others(shared: Shared, tmp_path: Path) -> None:
    """Peers may still request a deleted pack, which must not stop the torrent."""
    dropped, kept, never = shared.packs[3], shared.packs[2], shared.packs[1]
    without = Shared(channel=tmp_path / "without", packs=shared.packs, v1=shared.v1, v2=shared.v2)
    shutil.copytree(shared.channel, without.channel)
    without.path(never).unlink()
    first = tmp_path / "first"
    both_came, stop = Stop(), Stop()

    with TorrentSession("loopback", LOOPBACK, seeding=False) as session, ExitStack() as offered:
        address, _ = offered.enter_context(seeder(without))
        port = session.port()

        def fetch_and_drop() -> None:
            download = Download(session, first, lambda: 0.0)
            volume = Volume(torrent=shared.v1, packs=packs_in(shared.v1, name="v1"))
            download.join(volume, requests_of((dropped, kept, never)), trackers=(), web_seeds=())
            download.connect([address], Stop())
            for came, outcome in enumerate(download.run(stop, NOBODY), start=1):
                if outcome.request.pack == dropped.pack and isinstance(outcome, Delivered):
                    outcome.path.unlink()
                if came == 2:
                    both_came.set()

        thread = threading.Thread(target=fetch_and_drop)
        thread.start()
        try:
            assert both_came.wait(30)
            offered.close()  # or the second downloader connects to it
            # Each missing piece that is requested costs a new connection, and those are seconds apart.
            transport = TorrentTransport([shared.v1], [("127.0.0.1", port)], patience_seconds=15)
            outcomes = list(transport.deliver(requests_of((dropped, kept)), tmp_path / "second", Stop()))
        finally:
            stop.set()
            thread.join()

    assert {outcome.request.pack: type(outcome) for outcome in outcomes} == {
        dropped.pack: Failed,
        kept.pack: Delivered,
    }


@pytest.mark.needs_root
def test_a_full_disk_is_no_space_and_names_the_bytes_needed(shared: Shared, good: Address, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        transport = TorrentTransport([shared.v1], [good], patience_seconds=NOBODY)
        with pytest.raises(NoSpace, match=f"{4 * BLOCK_BYTES} more bytes"):
            list(transport.deliver([request_of(shared.packs[3])], small, Stop()))
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
