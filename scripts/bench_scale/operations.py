"""The operations that are measured on one home, in the order in which they need each other."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench_store.running import disk_bytes

from bench_scale.making import MIXED_CYCLE, name_of
from bench_scale.running import Cost, measure
from bench_scale.serving import Served

Wanted = Callable[[str], bool]
"""Whether an operation of this name is to be measured."""

INGEST, START = "ingest", "start of the program"
FULL, NOTHING_NEW, LITTLE_NEW = "release, full", "release, 0 % new", "release, 1 % new"
OPEN_PARTS = "store open, open parts"
READINGS = (
    *("store open, sealed", "status", "store info", "store gc --dry-run", "export", "subsets"),
    *("plan of one package", "plan of `popular`", "plan of `metadata`"),
)
RELEASED = (FULL, *READINGS, NOTHING_NEW, LITTLE_NEW)
NAMES = (START, INGEST, OPEN_PARTS, *RELEASED)
MIXED_NAMES = (INGEST, FULL, "plan of `popular`")
"""What is measured on mixed homes: their popular packages are few among many, which no other home has."""

QUICK_NAMES = (INGEST, FULL, "plan of `popular`")
"""What a quick run measures on heavy homes."""

LITTLE = 100
"""One package in this many is new in a release of 1 %."""


@dataclass
class World:
    """A home with `packages` packages of `shape`, a reader's home, and the channel between them, served."""

    folder: Path
    shape: str
    packages: int
    served: Served

    @property
    def home(self) -> Path:
        """The maintainer's home."""
        return self.folder / "home"

    def make(self, first: int, count: int) -> Cost:
        """Add packages."""
        order = {"store": str(self.home / "store"), "shape": self.shape, "first": first, "count": count}
        (self.folder / "order.json").write_text(json.dumps(order))
        return measure(self.folder, "make", str(self.folder / "order.json"))

    def run(self, *arguments: str) -> Cost:
        """Run the program on the maintainer's home."""
        return measure(self.folder, "program", "--home", str(self.home), "--format", "json", *arguments)

    def read(self, *arguments: str) -> Cost:
        """Run the program as a reader of the served channel."""
        self.served.take()
        home = str(self.folder / "reader")
        cost = measure(self.folder, "program", "--home", home, "--format", "json", *arguments)
        requests, received = self.served.take()
        return replace(cost, requests=requests, received=received)

    def plan(self, *what: str) -> Cost:
        """Plan a fetch from the served channel."""
        place = ("--channel", self.served.url, "--to", str(self.folder / "out"))
        return self.read("fetch", "--dry-run", *place, *what)

    def trust(self) -> None:
        """Let the reader trust the channel."""
        self.run("keys", "show", "--fingerprint")
        shown = json.loads((self.folder / "log.txt").read_text().splitlines()[0])
        self.read("trust", "add", self.served.url, "--fingerprint", shown["fingerprint"])


def operations(world: World, wanted: Wanted, releases: int) -> Iterator[tuple[str, Cost]]:
    """Do what is wanted, and what that needs; yield the name of each wanted operation and its cost.

    Raises:
        Broken: an operation failed.
    """
    if wanted(START):
        yield START, world.run("--version")
    yield INGEST, replace(world.make(0, world.packages), kept=disk_bytes(world.home / "store"))
    if wanted(OPEN_PARTS):
        yield OPEN_PARTS, measure(world.folder, "open", str(world.home / "store"))
    if not any(map(wanted, RELEASED)):
        return
    world.run("keys", "init", "--no-passphrase")
    yield FULL, world.run("release", "2026.01")
    world.trust()
    for name in filter(wanted, READINGS):
        yield name, _read(world, name)
    if wanted(NOTHING_NEW):
        yield NOTHING_NEW, world.run("release", "2026.02")
    if wanted(LITTLE_NEW):
        new = max(1, world.packages // LITTLE)
        for number in range(releases):
            world.make(world.packages + number * new, new)
            yield LITTLE_NEW, world.run("release", f"2027.{number + 1:02}")


def _read(world: World, name: str) -> Cost:
    """Do an operation that changes nothing."""
    if name == "store open, sealed":
        return measure(world.folder, "open", str(world.home / "store"))
    if name in _PLANS:
        return world.plan(*_PLANS[name])
    if name == "plan of one package":
        return world.plan(f"hf:{name_of(world.shape, world.packages // 2 // MIXED_CYCLE * MIXED_CYCLE)}")
    if name == "subsets":
        return world.read("subsets", "--channel", world.served.url)
    there = ("ptmtorrent-json", "--to", str(world.folder / "exported")) if name == "export" else ()
    return world.run(*name.split(), *there)


_PLANS = {"plan of `popular`": ("--subset", "popular"), "plan of `metadata`": ("--subset", "metadata")}
