"""A package is withdrawn that shares objects with others and is the base of their deltas."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.errors import NotFound, PartialFailure, PtmError, TrustError, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Event, Result, ignore
from ptmtorrent.paths import Home
from ptmtorrent.reading.channel_packs import Unusable, channel_volumes
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.keys import Keys, load_keys
from ptmtorrent.trust.pins import Pins
from ptmtorrent.trust.publisher import publish_withdrawn
from ptmtorrent.trust.withdrawals import own_withdrawn
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from ptmtorrent.workflows.maintain.gc import gc
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.release.release import release
from ptmtorrent.workflows.withdraw import withdraw
from tests.channels import Made, check_laid_out, clock, safetensors
from tests.workflows.left_out import all_bytes
from tests.workflows.tuned import BASE, FIRST, TUNED, make_tuned_channel, tune, weights

SECOND = ReleaseName("2026.12")
SHARES = "hf:org/shares"
CONFIG = b'{"model_type":"bert"}' * 9
WHY = "asked for by its author"


class World:
    """A maintainer's channel of three packages, a directory it is published to, and a reader who trusts that."""

    def __init__(self, root: Path) -> None:
        base = weights(1, count=2, numbers=40_000)
        self.private = base["layer.0"][1][5_000:7_000]
        self.made: Made = make_tuned_channel(
            root,
            {
                BASE: {"model.safetensors": safetensors(base), "config.json": CONFIG},
                TUNED: {"model.safetensors": safetensors(tune(base, 2)), "README.md": b"# tuned\n" * 9},
                SHARES: {"config.json": CONFIG, "own.bin": b"own" * 999},
            },
        )
        self.root, self.home, self.to = root, self.made.home, root / "to"
        self.reader = Home(root / "reader")
        self.publish(FIRST)
        first = read_first_root(self.to)
        Pins(self.reader.trust).add(str(self.to), fingerprint(first), first)

    @property
    def keys(self) -> Keys:
        return load_keys(self.home.keys, lambda: None)

    def withdraw(self, name: str = BASE, why: str = WHY) -> bool:
        return withdraw(name, self.home, self.keys, why=why, clock=clock, emit=ignore)

    def release(self, name: ReleaseName = SECOND) -> None:
        release(name, self.home, self.keys, clock=clock, emit=ignore)

    def publish(self, name: ReleaseName) -> None:
        publish(name, self.home, self.to, emit=ignore, load_keys=lambda: self.keys, clock=clock)

    def fetch(self, *packages: str, release: str | None = None, home: Home | None = None) -> dict[str, tuple[str, str]]:
        """Fetch into a new folder; return status and reason of each package."""
        heard: list[Event] = []
        reader = home or self.reader
        opened = open_channel(self.to, release, reader, clock=clock, emit=ignore)
        request = FetchRequest(packages=packages, to=self.root / "out", transport="local")
        with suppress(PartialFailure):
            fetch(request, opened, reader, clock=clock, emit=heard.append, stop=Stop())
        return {each.id: (each.status, each.reason or "") for each in heard if isinstance(each, Result)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_withdrawn_package_is_in_no_file_and_all_others_are_fetched_as_they_were(world: World) -> None:
    assert any(world.private in data for _, data in all_bytes(world.to))
    world.withdraw()
    world.release()
    world.publish(SECOND)
    for channel in (world.to, world.home.channel):
        assert [where for where, data in all_bytes(channel) if world.private in data] == []
    assert [each for each in channel_volumes(world.to) if isinstance(each, Unusable)] == []
    got = world.fetch(TUNED, SHARES)
    assert {status for status, _ in got.values()} == {"ok"}
    check_laid_out(world.root / "out", {name: world.made.packages[name] for name in (TUNED, SHARES)})
    with pytest.raises(NotFound):
        world.fetch(BASE)


def test_an_archived_pin_of_an_old_release_verifies_and_says_what_was_withdrawn(world: World, tmp_path: Path) -> None:
    pin = f"b3:{world.made.release.content_root}"
    world.withdraw()
    world.release()
    world.publish(SECOND)
    stranger = Home(tmp_path / "stranger")
    for home in (world.reader, stranger):
        opened = open_channel(world.to, pin, home, clock=clock, emit=ignore)
        assert opened.release.name == FIRST
        [(status, reason)] = world.fetch(BASE, release=pin, home=home).values()
        assert status == "impossible"
        assert reason.startswith("withdrawn on 20")
        assert reason.endswith(WHY)
    with pytest.raises(NotFound, match="no release"):
        world.fetch(SHARES, release=FIRST)


def test_the_store_deletes_it_and_goes_on(world: World) -> None:
    world.withdraw()
    world.release()
    gc(world.home, grace=timedelta(0), clock=clock, emit=ignore)
    gc(world.home, grace=timedelta(0), clock=clock, emit=ignore)
    assert [where for where, data in all_bytes(world.home.store) if world.private in data] == []
    world.release(ReleaseName("2027.01"))
    world.publish(ReleaseName("2027.01"))
    assert {status for status, _ in world.fetch(TUNED, SHARES).values()} == {"ok"}
    assert BASE in own_withdrawn(OwnReader(world.home.channel)).packages


def test_readers_refuse_it_as_soon_as_the_list_is_published(world: World) -> None:
    world.withdraw()
    world.publish(FIRST)
    got = world.fetch(BASE, SHARES)
    assert got[BASE] == ("impossible", f"withdrawn on {clock().isoformat()[:10]}: {WHY}")
    assert got[SHARES][0] == "ok"


def test_a_withdrawal_is_signed_once_and_lists_are_cumulative(world: World) -> None:
    assert world.withdraw()
    assert not world.withdraw(why="again")
    assert world.withdraw(SHARES, "  two \n lines ")
    listed = own_withdrawn(OwnReader(world.home.channel))
    assert listed.number == 2
    assert {name: each.why for name, each in listed.packages.items()} == {BASE: WHY, SHARES: "two lines"}
    with pytest.raises(NotFound):
        world.withdraw("hf:org/bass")
    with pytest.raises(UsageError, match="reason"):
        world.withdraw(TUNED, " ")


@pytest.mark.parametrize(("number", "kept"), [(2, False), (1, True)])
def test_a_list_that_hides_a_withdrawal_is_refused(world: World, number: int, *, kept: bool) -> None:
    """Only a holder of the keys can sign one."""
    world.withdraw()
    world.publish(FIRST)
    assert world.fetch(SHARES)[SHARES][0] == "ok"
    listed = own_withdrawn(OwnReader(world.home.channel))
    if kept:
        world.withdraw(SHARES)
        world.publish(FIRST)
        assert world.fetch(SHARES)[SHARES][0] == "impossible"
    hiding = structs.replace(listed, number=number, packages=listed.packages if kept else {})
    publish_withdrawn(world.home.channel, world.keys, hiding, clock())
    world.publish(FIRST)
    with pytest.raises(TrustError, match="hides that"):
        world.fetch(SHARES)


def test_a_mirror_that_drops_or_changes_the_list_is_refused(world: World) -> None:
    world.withdraw()
    world.publish(FIRST)
    path = world.to / "withdrawn" / "1.json"
    honest = path.read_bytes()
    for lie in (None, honest.replace(b"author", b"AUTHOR"), honest + b" ", b""):
        path.unlink(missing_ok=True)
        if lie is not None:
            path.write_bytes(lie)
        with pytest.raises(PtmError) as caught:
            world.fetch(SHARES)
        assert caught.value.code in {12, 60}
