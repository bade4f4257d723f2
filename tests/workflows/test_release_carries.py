"""What a release leaves out is in no byte of what is published: not in packs, tables and torrents, and not seeded."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import duckdb
import pytest

from ptmtorrent.channel.folder import read_volume_packs
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import ReleaseName, object_id
from ptmtorrent.model.records import Note, Result, ignore
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.store.store import Store
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.publish.retire import retire
from ptmtorrent.workflows.release.release import release
from tests.channels import check_laid_out, fetch_from
from tests.simulators.swarm import seeding
from tests.workflows.captured import Listener, TickingClock, capture, new_home, writing
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


@pytest.fixture(scope="module")
def made_world(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """Makes each of `WORLDS` once."""
    return cache(lambda name: make_world(tmp_path_factory.mktemp(name), **WORLDS[name]))


@pytest.fixture(params=["mixed-after-internal"])
def captured(request: pytest.FixtureRequest, made_world: Callable[[str], World]) -> World:
    return made_world(request.param)


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


def test_a_member_whose_objects_cannot_be_stored_apart_is_left_out(tmp_path: Path) -> None:
    home, keys = new_home(tmp_path / "home")
    secret, bad = b"secret" * 1000, random.Random("bad").randbytes(3_000)
    with writing(home) as store:
        capture(store, tmp_path, "hf:a/bad", {"bad.bin": bad})
        capture(store, tmp_path, "hf:a/good", {"good.bin": b"good"})
        capture(store, tmp_path, "hf:a/secret", {"secret.bin": secret})
        capture(store, tmp_path, "hf:a/secret", {"secret.bin": secret}, rights="restricted", licence="cc-by-nc-4.0")
        store.seal()
        place = store.location(object_id(bad))
        with store.pack_file(place.pack).open("r+b") as file:
            file.seek(place.offset)
            file.write(bytes([bad[0] ^ 1]))
    heard = Listener()

    made = release(PUBLIC, home, keys, clock=TickingClock(), emit=heard)

    why = {event.id: event.reason for event in heard.of(Result) if event.status == "error"}
    assert why.keys() == {"hf:a/bad"}
    assert place.pack in why["hf:a/bad"]
    assert made.totals.packages == 1
    assert place.pack not in _packs_of(home.channel, made)


def test_packs_are_written_again_once(world: World) -> None:
    made = _release(world, frozenset())
    packs = sorted(path.name for path in world.home.store.rglob("*.pack"))
    with Store.open(world.home.store, exclusive=True) as store:
        store.rebuild_index()

    again = _release(world, frozenset(), "again")

    assert again.volumes == made.volumes
    assert [ref.blake3 for ref in again.placement] == [ref.blake3 for ref in made.placement]
    assert sorted(path.name for path in world.home.store.rglob("*.pack")) == packs


def test_a_seeder_of_what_is_published_offers_what_the_release_names_alone(world: World, tmp_path: Path) -> None:
    made = _release(world, frozenset())
    channel = _publish(world, tmp_path / "channel")
    heard = Listener()

    with seeding(channel, emit=heard) as port:
        reader = _trusting(channel, tmp_path / "reader")
        peers = (("127.0.0.1", port),)
        fetch_from(channel, reader, FetchRequest(subset="all", to=tmp_path / "out", transport="torrent", peers=peers))

    check_laid_out(tmp_path / "out", world.members(frozenset()))
    offered = [event.message for event in heard.of(Note) if event.message.startswith("volume")]
    assert len(offered) == len(made.volumes)
    assert all(any(volume.v1 in message for message in offered) for volume in made.volumes)


def test_a_retired_release_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    made = _release(world, frozenset())
    channel = _publish(world, tmp_path / "channel", "internal")
    _publish(world, channel)
    assert _find_markers(world, channel, frozenset())

    retire(
        ReleaseName("internal"),
        world.home,
        channel,
        emit=ignore,
        load_keys=lambda: world.keys,
        clock=TickingClock(),
    )

    assert _find_markers(world, channel, frozenset()) == []
    assert _packs_of(channel, made) == {path.stem for path in channel.rglob("*.pack")}
    fetch_from(channel, _trusting(channel, tmp_path / "reader"), FetchRequest(subset="all", to=tmp_path / "out"))
    check_laid_out(tmp_path / "out", world.members(frozenset()))


def test_a_volume_keeps_packs_that_only_older_releases_need_while_they_may_be_passed_on(tmp_path: Path) -> None:
    home, keys = new_home(tmp_path / "home")
    made: list[Release] = []
    for number, facts in enumerate(({}, {}, {"rights": "restricted", "licence": "cc-by-nc-4.0"})):
        with writing(home) as store:
            capture(store, tmp_path, "hf:a/changes", {"a.bin": random.Random(number).randbytes(500)}, **facts)
            capture(store, tmp_path, "hf:a/other", {"b.bin": random.Random(number + 9).randbytes(500)})
        made.append(release(ReleaseName(f"r{number}"), home, keys, clock=TickingClock(), emit=ignore))

    first, second, third = made
    assert {volume.v1 for volume in first.volumes} < {volume.v1 for volume in second.volumes}
    assert second.totals.packs < sum(volume.packs for volume in second.volumes)
    assert not _packs_of(home.channel, third) & _packs_of(home.channel, second)
    assert third.totals.packs == sum(volume.packs for volume in third.volumes)
