"""What one transport left of a fetch is used by every other, and is in no plan."""

import random
from pathlib import Path

import pytest

from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import PtmError
from ptmtorrent.paths import Home
from ptmtorrent.transports.torrent.transport import TorrentTransport
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Heard, Made, check_laid_out, fetch_from, make_channel
from tests.simulators.static_server import StaticServer, serve
from tests.simulators.swarm import dying_seeder, seeding

SIZE = 12_000_000
THIRD = 4_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    weights = {f"{number}.bin": random.Random(number).randbytes(SIZE // 2) for number in range(2)}
    return make_channel(tmp_path_factory.mktemp("made"), {"hf:org/large": weights})


class Fetching:
    """One fetch, by one transport after the other; `moved` are the bytes that each sent."""

    def __init__(self, made: Made, root: Path) -> None:
        self.made, self.home, self.to = made, Home(root / "user"), root / "out"
        self.moved: list[int] = []
        made.trusted_by(self.home, str(made.folder))

    def plan(self) -> int:
        heard = Heard()
        fetch_from(self.made.folder, self.home, FetchRequest(subset="all", to=self.to, dry_run=True), emit=heard)
        return heard.plan.bytes_to_move

    def by_server(self, most: int) -> None:
        with serve(self.made.folder) as server:
            server.lie, server.cut_after = "cut", most
            server.change = lambda path, data: self._vanish(server, path, data)
            self.made.trusted_by(self.home, server.url)
            self._fetch(server.url, fails=most < SIZE, transport="http")
        self.moved.append(server.pack_bytes)

    def _vanish(self, server: StaticServer, path: str, data: bytes) -> bytes:
        if path.startswith("packs/") and server.cut_after < SIZE:
            server.lie = "gone"
        return data

    def by_swarm(self, most: int) -> None:
        sent: list[int] = []
        with dying_seeder(self.made.folder, after=most, bytes_per_second=2 << 20, sent=sent) as peer:
            self._fetch(str(self.made.folder), fails=most < SIZE, transport="torrent", peers=(peer,))
        self.moved += sent

    def by_folder(self) -> None:
        self.moved.append(self._fetch(str(self.made.folder), fails=False, transport="local"))

    def _fetch(self, location: str, *, fails: bool, **how: object) -> int:
        request = FetchRequest(subset="all", to=self.to, **how)  # type: ignore[arg-type]
        if fails:
            with pytest.raises(PtmError):
                fetch_from(location, self.home, request)
            return 0
        moved = fetch_from(location, self.home, request).bytes_moved
        check_laid_out(self.to, self.made.packages)
        assert {path.name for path in self.home.incoming.rglob("*") if path.is_file()} == {"lock"}
        return moved


def test_a_plan_lacks_what_an_interrupted_fetch_left(made: Made, tmp_path: Path) -> None:
    fetching = Fetching(made, tmp_path)
    before = fetching.plan()
    fetching.by_server(THIRD)
    assert fetching.plan() == before - THIRD
    fetching.by_server(SIZE * 2)
    assert fetching.moved == [THIRD, before - THIRD]


@pytest.mark.parametrize("order", [("server", "folder"), ("server", "swarm", "folder"), ("swarm", "server", "folder")])
def test_transports_in_turn_move_no_byte_twice(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    monkeypatch.setitem(TorrentTransport.__init__.__kwdefaults__, "patience_seconds", 2.5)
    fetching = Fetching(made, tmp_path)
    planned = fetching.plan()
    for name in order:
        if name == "server":
            fetching.by_server(THIRD)
        elif name == "swarm":
            fetching.by_swarm(THIRD // 2)
        else:
            fetching.by_folder()
    assert all(fetching.moved)
    assert sum(fetching.moved) <= 1.02 * planned


def test_a_swarm_completes_what_a_server_began(made: Made, tmp_path: Path) -> None:
    fetching = Fetching(made, tmp_path)
    planned = fetching.plan()
    fetching.by_server(THIRD)
    with seeding(made.folder) as port:
        moved = fetching._fetch(str(made.folder), fails=False, transport="torrent", peers=(("127.0.0.1", port),))
    assert moved <= 1.02 * planned - THIRD


def test_two_fetches_at_once_in_one_home_lay_out_two_places(made: Made, tmp_path: Path) -> None:
    home, places = Home(tmp_path / "user"), [tmp_path / "one", tmp_path / "two", tmp_path / "three"]
    waiting = places[1:]
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)

        def fetch_meanwhile(path: str, data: bytes) -> bytes:
            if path.startswith("packs/") and waiting:
                fetch_from(server.url, home, FetchRequest(subset="all", to=waiting.pop()))
            return data

        server.change = fetch_meanwhile
        fetch_from(server.url, home, FetchRequest(subset="all", to=places[0]))
    for place in places:
        check_laid_out(place, made.packages)
    assert {path.name for path in home.incoming.rglob("*") if path.is_file()} == {"lock"}


def test_what_a_fetch_beside_another_left_is_used_by_the_next(made: Made, tmp_path: Path) -> None:
    fetching = Fetching(made, tmp_path)
    planned = fetching.plan()
    with WriteLock(fetching.home.incoming):
        fetching.by_server(THIRD)
    fetching.by_folder()
    assert fetching.moved == [THIRD, planned - THIRD]
