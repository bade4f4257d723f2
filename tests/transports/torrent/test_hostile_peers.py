"""Peers that stay silent, drip, send other bytes or flood: given up with a reason, and another source is asked."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError, NoSource
from ptmtorrent.model.pieces import pieces_in
from ptmtorrent.stop import Stop
from ptmtorrent.transports.hybrid import HybridTransport
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.transports.torrent import download
from ptmtorrent.transports.torrent.transport import TorrentTransport
from tests.simulators.hostile_peer import HABITS, Habit, dripping, flooding, garbage, hostile_peer, stalling
from tests.simulators.packs import request_of
from tests.simulators.swarm import Shared, share

PATIENCE = 2.5
"""More than libtorrent waits before it connects again without encryption."""

ENOUGH_SECONDS = 15.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return share(tmp_path_factory.mktemp("channel"), 2)


@contextmanager
def patience() -> Iterator[Stop]:
    """Yield a stop that is set, so that a test fails, when a transport waits far too long."""
    stop = Stop()
    timer = threading.Timer(ENOUGH_SECONDS, stop.set)
    timer.start()
    yield stop
    timer.cancel()


def pieces_of(shared: Shared) -> int:
    return sum(pieces_in(pack.size) for pack in shared.packs)


@pytest.mark.parametrize("habit", HABITS)
def test_hostile_peer_is_given_up_within_the_patience(shared: Shared, tmp_path: Path, habit: Habit) -> None:
    with hostile_peer(habit, pieces_of(shared)) as peer, patience() as stop:
        began = time.monotonic()
        transport = TorrentTransport([shared.v1], [peer], patience_seconds=PATIENCE)
        (outcome,) = transport.deliver([request_of(shared.packs[0])], tmp_path, stop)

    assert time.monotonic() - began < ENOUGH_SECONDS
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, IntegrityError if habit is garbage else NoSource)
    assert f"{peer[0]}:{peer[1]}" in outcome.error.message


@pytest.mark.parametrize("habit", [dripping, flooding])
def test_server_replaces_a_hostile_peer(shared: Shared, tmp_path: Path, habit: Habit) -> None:
    with hostile_peer(habit, pieces_of(shared)) as peer, patience() as stop:
        swarm = TorrentTransport([shared.v1], [peer], patience_seconds=60)
        both = HybridTransport(swarm, LocalTransport(shared.channel), quiet_seconds=PATIENCE)
        began = time.monotonic()
        outcomes = list(both.deliver([request_of(shared.packs[0])], tmp_path, stop))

    assert time.monotonic() - began < ENOUGH_SECONDS
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert sum(outcome.extent.length for outcome in outcomes) == shared.packs[0].size


@pytest.mark.parametrize("habit", [stalling, dripping])
def test_stop_is_heard_while_a_peer_is_waited_for(shared: Shared, tmp_path: Path, habit: Habit) -> None:
    stop = Stop()
    with hostile_peer(habit, pieces_of(shared)) as peer:
        threading.Timer(1.8, stop.set).start()
        transport = TorrentTransport([shared.v1], [peer], patience_seconds=600)
        began = time.monotonic()
        outcomes = list(transport.deliver([request_of(shared.packs[0])], tmp_path, stop))
    assert time.monotonic() - began < 1.8 + 1
    assert outcomes == []


def test_stop_is_heard_while_the_name_of_a_peer_is_looked_up(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(*_: object, **__: object) -> None:
        time.sleep(3)
        raise OSError

    monkeypatch.setattr(download.socket, "getaddrinfo", look_up)
    stop = Stop()
    threading.Timer(0.3, stop.set).start()
    transport = TorrentTransport([shared.v1], [("slow.invalid", 7)], profile="loopback")
    began = time.monotonic()
    assert list(transport.deliver([request_of(shared.packs[0])], tmp_path, stop)) == []
    assert time.monotonic() - began < 0.3 + 1
