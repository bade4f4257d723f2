"""The maintainer's clock steps both ways between captures, releases and collections: the newest is the last made."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from ptmtorrent.hubs.folder import FolderHub
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Note, ignore
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.keys import Keys, init_keys, load_keys
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from ptmtorrent.workflows.maintain.check import check
from ptmtorrent.workflows.maintain.gc import gc
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.publish.retire import retire
from ptmtorrent.workflows.release.release import release
from ptmtorrent.workflows.renew import renew
from tests.channels import Heard
from tests.simulators.swarm import seeding

TRUE = datetime(2026, 11, 20, 12, tzinfo=UTC)
YEARS = timedelta(days=730)
RIGHT = timedelta(0)
STEPS = {
    "two years ahead, then right": [YEARS, RIGHT],
    "two years back, then right": [RIGHT, -YEARS, RIGHT],
    "begun two years back": [-YEARS, RIGHT],
    "alternating": [YEARS, -YEARS, YEARS, -YEARS, RIGHT],
}


class Maintainer:
    """A maintainer whose clock is off by `wall`; a minute really passes with each thing done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = Home(root / "home")
        self.source, self.served = root / "in" / "model", root / "served"
        self.source.mkdir(parents=True)
        self.wall = RIGHT
        self.passed = timedelta(0)
        self.heard = Heard()
        init_keys(self.home.keys, None)
        self.keys: Keys = load_keys(self.home.keys, lambda: None)

    def clock(self) -> datetime:
        return TRUE + self.passed + self.wall

    def uptime(self) -> tuple[str, int]:
        return "boot", 3600 + int(self.passed.total_seconds())

    def capture(self, content: bytes) -> None:
        self.passed += timedelta(minutes=1)
        (self.source / "weights.bin").write_bytes(content)
        clone(
            lambda new_session: FolderHub(str(self.source.parent), new_session()),
            CloneRequest(),
            self.home,
            clock=self.clock,
            emit=self.heard,
            stop=Stop(),
        )

    def release(self, name: str) -> None:
        self.passed += timedelta(minutes=1)
        release(
            ReleaseName(name),
            self.home,
            self.keys,
            clock=self.clock,
            emit=self.heard,
            include=frozenset({"unknown"}),
        )

    def publish(self, name: str) -> None:
        publish(
            ReleaseName(name),
            self.home,
            self.served,
            emit=self.heard,
            clock=self.clock,
            load_keys=lambda: self.keys,
        )

    def collect(self, passed: timedelta = timedelta(minutes=1)) -> int:
        self.passed += passed
        return gc(self.home, clock=self.clock, emit=self.heard, uptime=self.uptime).packs_freed

    def warnings(self) -> list[str]:
        return [record.message for record in self.heard.records if isinstance(record, Note) and record.warning]


def content(number: int) -> bytes:
    return bytes([number]) * 300_000 + b"the last of all" * number


def read_back(maintainer: Maintainer, home: Home, to: Path) -> bytes:
    """Fetch the newest release of what is served, with a clock that is right."""
    root = read_first_root(maintainer.served)
    Pins(home.trust).add(str(maintainer.served), fingerprint(root), root)

    def right() -> datetime:
        return TRUE + maintainer.passed

    channel = open_channel(str(maintainer.served), None, home, clock=right, emit=ignore)
    fetch(FetchRequest(subset="all", to=to), channel, home, clock=right, emit=ignore, stop=Stop())
    return (to / "dir" / "model" / "weights.bin").read_bytes()


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_the_newest_release_holds_the_last_capture(tmp_path: Path, steps: list[timedelta]) -> None:
    maintainer = Maintainer(tmp_path)
    for number, maintainer.wall in enumerate(steps, 1):
        maintainer.capture(content(number))
        assert maintainer.collect() == 0
        maintainer.release(f"r{number}")
        maintainer.publish(f"r{number}")
    renew(maintainer.home, maintainer.keys, clock=maintainer.clock, emit=ignore)
    maintainer.publish(f"r{len(steps)}")

    last = content(len(steps))
    assert read_back(maintainer, Home(tmp_path / "reader"), tmp_path / "got") == last
    assert maintainer.collect() == 0
    maintainer.collect(timedelta(hours=25))
    assert read_back(maintainer, Home(tmp_path / "other"), tmp_path / "again") == last
    assert check(maintainer.home, "data", emit=ignore, stop=Stop()).summary.failed == 0
    is_behind = any(after < before for before, after in pairwise(steps))
    assert any("clock of this machine" in message for message in maintainer.warnings()) == is_behind


@pytest.mark.parametrize("verb", ["publish", "renew", "retire"])
@pytest.mark.parametrize("back", [timedelta(0), timedelta(days=-1)])
def test_what_signs_or_publishes_warns_of_a_clock_behind_the_newest_release(
    tmp_path: Path, verb: str, back: timedelta
) -> None:
    maintainer = Maintainer(tmp_path)
    for name in ("r1", "r2"):
        maintainer.capture(content(int(name[1])))
        maintainer.release(name)
        maintainer.publish(name)
    assert maintainer.warnings() == []
    maintainer.wall += back
    verbs: dict[str, Callable[[], object]] = {
        "publish": lambda: maintainer.publish("r1"),
        "renew": lambda: renew(maintainer.home, maintainer.keys, clock=maintainer.clock, emit=maintainer.heard),
        "retire": lambda: retire(
            ReleaseName("r1"),
            maintainer.home,
            maintainer.served,
            emit=maintainer.heard,
            load_keys=lambda: maintainer.keys,
            clock=maintainer.clock,
        ),
    }
    verbs[verb]()
    warned = any("release `r2` has the time" in message for message in maintainer.warnings())
    assert warned == bool(back)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_captures_without_releases_are_collected_after_the_grace_and_the_last_stays(
    tmp_path: Path, steps: list[timedelta]
) -> None:
    maintainer = Maintainer(tmp_path)
    for number, maintainer.wall in enumerate(steps, 1):
        maintainer.capture(content(number))
        with Store.open(maintainer.home.store, write=True) as store:
            store.seal()
        assert maintainer.collect() == 0
    freed = maintainer.collect(timedelta(hours=25)) + maintainer.collect(timedelta(hours=25))
    assert freed >= 1
    maintainer.release("r")
    maintainer.publish("r")
    assert read_back(maintainer, Home(tmp_path / "reader"), tmp_path / "got") == content(len(steps))


def test_everything_released_is_seeded_whatever_the_clock_said(tmp_path: Path) -> None:
    maintainer = Maintainer(tmp_path)
    for number, maintainer.wall in enumerate(STEPS["alternating"], 1):
        maintainer.capture(content(number))
        maintainer.release(f"r{number}")
    wanted = {
        pack
        for path in (maintainer.home.channel / "torrents").glob("*.torrent")
        for pack in packs_in(path.read_bytes(), name=path.name)
    }
    heard = Heard()
    with seeding(maintainer.home.channel, emit=heard):
        pass
    assert wanted
    assert not [record.message for record in heard.records if isinstance(record, Note) and record.warning]
