"""What a release leaves out is in no byte of what is published: not in packs, tables and torrents, and not seeded."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import duckdb
import pytest

from ptmtorrent.channel.folder import read_volume_packs
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import ignore
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.release.release import release
from tests.channels import check_laid_out, fetch_from
from tests.workflows.captured import TickingClock
from tests.workflows.left_out import World, all_bytes, make_world

PUBLIC = ReleaseName("public")
CLASSES: list[RightsClass] = ["restricted", "unknown", "gated"]
INCLUDES: list[frozenset[RightsClass]] = [
    frozenset(chosen) for size in range(4) for chosen in combinations(CLASSES, size)
]
WORLDS = {
    "mixed": {"earlier": False, "apart": False},
    "mixed-after-internal": {"earlier": True, "apart": False},
    "apart-after-internal": {"earlier": True, "apart": True},
}
"""Every pair of a world and a class that is left out or included is there, with as few releases as that takes."""

CASES = [
    pytest.param(world, include, id="+".join((world, *sorted(include))))
    for world, includes in (
        ("mixed", INCLUDES[:3]),
        ("mixed-after-internal", INCLUDES),
        ("apart-after-internal", INCLUDES[:4]),
    )
    for include in includes
]


@pytest.fixture(scope="module", params=["mixed-after-internal"])
def captured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("captured"), **WORLDS[request.param])


@pytest.fixture
def world(captured: World, tmp_path: Path) -> Iterator[World]:
    """A copy of the home, whose packs are links: no pack is ever changed."""
    root = tmp_path / "home"
    shutil.copytree(captured.home.root, root, copy_function=_copy)
    yield replace(captured, home=Home(root))
    shutil.rmtree(root)


def _copy(source: str, target: str) -> None:
    (os.link if source.endswith(".pack") else shutil.copy2)(source, target)


def _release(world: World, include: frozenset[RightsClass], name: str = PUBLIC) -> Release:
    return release(ReleaseName(name), world.home, world.keys, clock=TickingClock(), emit=ignore, include=include)


def _publish(world: World, to: Path, name: str = PUBLIC) -> Path:
    publish(ReleaseName(name), world.home, to, emit=ignore, load_keys=lambda: world.keys, clock=TickingClock())
    return to


def _find_markers(world: World, channel: Path, include: frozenset[RightsClass]) -> list[str]:
    """Return where in a channel a marker is that `include` leaves out."""
    markers = world.forbidden(include)
    found = [where for where, data in all_bytes(channel) for marker in markers if marker in data]
    for table in channel.rglob("*.parquet"):
        rows = repr(duckdb.read_parquet(str(table)).fetchall()).encode()
        found += [str(table) for marker in markers if marker in rows]
    return found


def _packs_of(channel: Path, made: Release) -> set[str]:
    return {pack for volume in made.volumes for pack, _ in read_volume_packs(channel, made, volume)}


def _trusting(channel: Path, root: Path) -> Home:
    home = Home(root)
    first = read_first_root(channel)
    Pins(home.trust).add(str(channel), fingerprint(first), first)
    return home


@pytest.mark.parametrize(("captured", "include"), CASES, indirect=["captured"])
def test_nothing_of_what_is_left_out_is_published(
    world: World, include: frozenset[RightsClass], tmp_path: Path
) -> None:
    made = _release(world, include)
    channel = _publish(world, tmp_path / "channel")

    assert made.totals.packages == len(world.members(include))
    assert _find_markers(world, channel, include) == []
    assert _packs_of(channel, made) == {path.stem for path in channel.rglob("*.pack")}
    assert len(list(channel.glob("torrents/*.torrent"))) == 2 * len(made.volumes)
    fetch_from(channel, _trusting(channel, tmp_path / "reader"), FetchRequest(subset="all", to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", world.members(include))


def test_the_markers_are_in_the_store_and_in_a_release_that_has_them(world: World, tmp_path: Path) -> None:
    _release(world, frozenset(CLASSES), "whole")
    channel = _publish(world, tmp_path / "channel", "whole")

    missing = world.forbidden(frozenset())
    for _, data in all_bytes(channel):
        missing -= {marker for marker in missing if marker in data}
    assert missing <= set(world.older)
