"""Fetch with peers: a swarm alone, and together with a server."""

import functools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptmtorrent.errors import NoSource
from ptmtorrent.model.records import Event as Record
from ptmtorrent.model.records import PlanMade
from ptmtorrent.paths import Home
from ptmtorrent.transports import hybrid
from ptmtorrent.transports.torrent import transport
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Heard, Made, check_laid_out, fetch_from, make_channel, whole_pack_sums
from tests.simulators.nginx import free_port
from tests.simulators.static_server import serve
from tests.simulators.swarm import dying_seeder, seeding


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One pack of weights that is wanted nearly whole, and small files."""
    files = {"weights.bin": random.Random(1).randbytes(8_300_000), "config.json": b"{}" * 50}
    return make_channel(tmp_path_factory.mktemp("made"), {"hf:org/large": files})


@pytest.fixture(scope="module")
def peer(made: Made) -> Iterator[tuple[str, int]]:
    with seeding(made.folder) as port:
        yield "127.0.0.1", port


@pytest.fixture
def home(tmp_path: Path, made: Made) -> Home:
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    return home


def test_by_torrent_every_pack_comes_from_the_swarm(
    made: Made, peer: tuple[str, int], home: Home, tmp_path: Path
) -> None:
    request = FetchRequest(subset="all", to=tmp_path / "out", transport="torrent", peers=(peer,))
    heard = Heard()
    summary = fetch_from(made.folder, home, request, emit=heard)
    check_laid_out(tmp_path / "out", made.packages)
    assert summary.sources == {"torrent": summary.bytes_moved}
    assert heard.plan.bytes_to_move in whole_pack_sums(made.folder)
    assert {path.name for path in home.incoming.rglob("*") if path.is_file()} == {"lock"}
    assert fetch_from(made.folder, home, request).bytes_moved == 0


def test_auto_takes_packs_from_the_swarm_and_fragments_from_the_server(
    made: Made, peer: tuple[str, int], home: Home, tmp_path: Path
) -> None:
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        summary = fetch_from(server.url, home, FetchRequest(subset="all", to=tmp_path / "out", peers=(peer,)))
    check_laid_out(tmp_path / "out", made.packages)
    assert set(summary.sources) == {"torrent", server.url}
    assert summary.sources[server.url] < 4 << 20


def test_auto_uses_what_came_from_a_swarm_that_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hybrid, "QUIET_SECONDS", 3.0)
    weights = random.Random(2).randbytes(60_000_000)
    made = make_channel(tmp_path, {"hf:org/large": {"weights.bin": weights}})
    home = Home(tmp_path / "user")
    with serve(made.folder) as server, dying_seeder(made.folder, after=30_000_000) as peer:
        made.trusted_by(home, server.url)
        heard = Heard()
        summary = fetch_from(
            server.url, home, FetchRequest(subset="all", to=tmp_path / "out", peers=(peer,)), emit=heard
        )
    check_laid_out(tmp_path / "out", made.packages)
    assert set(summary.sources) == {"torrent", server.url}
    assert summary.sources[server.url] < 45_000_000
    assert summary.bytes_moved < heard.plan.bytes_to_move + (24 << 20)
    assert {path.name for path in home.incoming.rglob("*") if path.is_file()} == {"lock"}


def test_auto_asks_the_swarm_for_fragments_that_the_server_cannot_send(
    made: Made, peer: tuple[str, int], home: Home, tmp_path: Path
) -> None:
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)

        def die_once_planned(record: Record) -> None:
            if isinstance(record, PlanMade):
                server.lie = "gone"

        request = FetchRequest(subset="all", only=("config",), to=tmp_path / "out", peers=(peer,))
        summary = fetch_from(server.url, home, request, emit=die_once_planned)
    assert (tmp_path / "out" / "hf" / "org" / "large" / "config.json").read_bytes() == b"{}" * 50
    assert set(summary.sources) == {"torrent"}


def test_auto_leaves_a_swarm_that_stays_silent(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hybrid, "QUIET_SECONDS", 0.3)
    nobody = (("127.0.0.1", free_port()),)
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        summary = fetch_from(server.url, home, FetchRequest(subset="all", to=tmp_path / "out", peers=nobody))
    check_laid_out(tmp_path / "out", made.packages)
    assert set(summary.sources) == {server.url}


def test_by_torrent_without_a_peer_ends_with_no_source(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = functools.partial(transport.TorrentTransport, patience_seconds=0.5)
    monkeypatch.setattr(transport, "TorrentTransport", impatient)
    request = FetchRequest(subset="all", to=tmp_path / "out", transport="torrent", peers=(("127.0.0.1", free_port()),))
    with pytest.raises(NoSource, match="torrent"):
        fetch_from(made.folder, home, request)
