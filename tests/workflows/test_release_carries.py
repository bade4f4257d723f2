"""What a release leaves out is in no byte of what is published: not in packs, tables and torrents, and not seeded."""

import os
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import duckdb
import pytest

from ptmtorrent.channel.folder import read_release, read_volume_packs
from ptmtorrent.errors import NotFound
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Note, ignore
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.release.release import release
from tests.channels import check_laid_out, fetch_from
from tests.simulators.swarm import seeding
from tests.workflows.captured import Listener, TickingClock
from tests.workflows.left_out import EVERYTHING, World, all_bytes, make_world

PUBLIC = ReleaseName("public")
INCLUDES = [frozenset(chosen) for size in range(4) for chosen in combinations(sorted(EVERYTHING), size)]


@pytest.fixture(scope="module", params=[False, True], ids=["first", "after-internal"])
def captured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("captured"), earlier=request.param)


@pytest.fixture
def world(captured: World, tmp_path: Path) -> Iterator[World]:
    """A copy of the home, whose packs are links: no pack is ever changed."""
    root = tmp_path / "home"
    shutil.copytree(captured.home.root, root, copy_function=_copy)
    yield World(Home(root), captured.keys, captured.packages, captured.older)
    shutil.rmtree(root)


def _copy(source: str, target: str) -> None:
    (os.link if source.endswith(".pack") else shutil.copy2)(source, target)


def _release(world: World, include: frozenset[RightsClass], name: ReleaseName = PUBLIC) -> tuple[Release, Listener]:
    heard = Listener()
    made = release(name, world.home, world.keys, clock=TickingClock(), emit=heard, include=include)
    return made, heard


def _publish(world: World, to: Path, name: ReleaseName = PUBLIC) -> Path:
    publish(name, world.home, to, emit=ignore, clock=TickingClock())
    return to


def _found(world: World, channel: Path, include: frozenset[RightsClass]) -> list[str]:
    """Return where in a channel a marker is that `include` leaves out."""
    markers = world.forbidden(include)
    with Store.open(world.home.store) as store:
        found = [where for where, data in all_bytes(channel, store) for marker in markers if marker in data]
    for table in channel.rglob("*.parquet"):
        rows = repr(duckdb.read_parquet(str(table)).fetchall())
        found += [str(table) for marker in markers if marker.isascii() and marker.decode() in rows]
    return found


def _fetch(world: World, channel: Path, root: Path, request: FetchRequest) -> None:
    home = Home(root)
    first = read_first_root(channel)
    Pins(home.trust).add(str(channel), fingerprint(first), first)
    fetch_from(channel, home, request)


@pytest.mark.parametrize("include", INCLUDES, ids=lambda include: "+".join(sorted(include)) or "open")
def test_nothing_of_what_is_left_out_is_published(
    world: World, include: frozenset[RightsClass], tmp_path: Path
) -> None:
    made, _ = _release(world, include)
    channel = _publish(world, tmp_path / "channel")

    assert made.totals.packages == len(world.members(include))
    assert _found(world, channel, include) == []
    offered = {pack for volume in made.volumes for pack, _ in read_volume_packs(channel, made, volume)}
    assert offered == {path.stem for path in channel.rglob("*.pack")}
    assert len(list(channel.glob("torrents/*.torrent"))) == 2 * len(made.volumes)
    _fetch(world, channel, tmp_path / "reader", FetchRequest(subset="all", to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", world.members(include))
