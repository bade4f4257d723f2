"""Kills a clone at random moments and runs it again until it is done; measures what was fetched twice.

The hub runs here and keeps the log; the clone is a process of its own and is killed with SIGKILL. A moment is a number
of requests or of bytes the hub has sent, drawn from a seed, so that a sweep can be repeated.
"""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.demo.bulk import bulk_packages
from ptmtorrent.demo.hub.faults import Quota
from ptmtorrent.demo.hub.log import Exchange
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.store.store import Store
from tests.program import environment, ptmtorrent
from tests.simulators.stormy_hub import StormyHub
from tests.warm import start_program

DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.002


@dataclass
class Kill:
    """One kill: the moment, the bytes every open file held, and those that were then fetched twice of it."""

    moment: str
    held: dict[str, int] = field(default_factory=dict)
    twice: dict[str, int] = field(default_factory=dict)

    @property
    def worst(self) -> int:
        """Bytes fetched twice of the file that suffered most."""
        return max(self.twice.values(), default=0)


@dataclass
class Sweep:
    """A clone of `packages` generated packages of `file_bytes` each, killed `kills` times on the way.

    With a `quota` the hub is a stormy one: it refuses, stays silent and cuts bodies as well. `wanted` bytes of LFS
    files are to be had, `sent` were handed to a connection until the killed clone was done.
    """

    folder: Path
    packages: int
    file_bytes: int
    kills: int
    seed: int
    quota: Quota | None = None
    done: list[Kill] = field(default_factory=list)
    sent: int = 0
    wanted: int = 0

    def run(self) -> None:
        """Clone with kills, then to the end; then clone the same into another home without any."""
        draw = random.Random(self.seed)
        with self._made_hub() as self.hub:
            for _ in range(self.kills):
                if not self._kill_once(draw):
                    break
            self._seen = len(self.hub.log.exchanges())
            self._finish(self.home)
            self._measure(len(self.done) - 1)
            self.sent = sum(each.sent for each in self.hub.log.exchanges("lfs"))
            self._finish(self.reference)

    def _made_hub(self) -> SampleHub:
        packages = bulk_packages(self.packages, self.file_bytes)
        self.wanted = sum(file.content.size for each in packages for file in each.files if file.is_lfs)
        if self.quota is None:
            return SampleHub(packages)
        return StormyHub(packages, self.quota, seed=self.seed, monotonic=time.monotonic)

    @property
    def home(self) -> Path:
        """The home of the clone that is killed."""
        return self.folder / "killed"

    @property
    def reference(self) -> Path:
        """The home of the clone that is left alone."""
        return self.folder / "reference"

    def _finish(self, home: Path) -> None:
        ptmtorrent(home, "clone", "huggingface", "--endpoint", self.hub.endpoint, "--limit", 1000)

    def _kill_once(self, draw: random.Random) -> bool:
        """Start the clone, kill it at a random moment; False when it was done before."""
        enough = int(draw.random() * 1.5 * self.packages * self.file_bytes / self.kills)
        requests = draw.randint(1, 6) if draw.random() < 0.2 else None
        words = ["--home", str(self.home), "--format", "json", "clone", "huggingface"]
        words += ["--endpoint", self.hub.endpoint, "--limit", "1000"]
        before = len(self.done) - 1
        process = start_program(words, env=environment())
        deadline = time.monotonic() + DEADLINE_SECONDS
        self._seen = len(self.hub.log.exchanges())
        while process.poll() is None and not self._is_due(enough, requests):
            assert time.monotonic() < deadline, "the clone neither ended nor reached the moment it was to be killed at"
            time.sleep(POLL_SECONDS)
        process.kill()
        process.wait()
        self._measure(before)
        moment = f"{requests} requests" if requests else f"{enough} bytes"
        spool = self.home / "spool"
        parts = spool.glob("*.part") if spool.is_dir() else ()
        self.done.append(Kill(moment, {part.stem: part.stat().st_size for part in parts}))
        return process.returncode != 0

    def _new(self) -> list[Exchange]:
        return self.hub.log.exchanges()[self._seen :]

    def _is_due(self, enough: int, requests: int | None) -> bool:
        new = self._new()
        return len(new) >= requests if requests else sum(each.sent for each in new) >= enough

    def _measure(self, index: int) -> None:
        """See where the last process went on with each file the kill before it left open."""
        if index < 0:
            return
        kill = self.done[index]
        for name, held in kill.held.items():
            starts = [_start(each) for each in self._new() if each.path.endswith(name) and each.sent]
            kill.twice[name] = max(0, held - starts[0]) if starts else 0


def _start(exchange: Exchange) -> int:
    return int(exchange.range.removeprefix("bytes=").rstrip("-")) if exchange.range else 0


def snapshots(home: Path) -> dict[str, str]:
    """Return the snapshot of every package, after reading every object of it."""
    with Store.open(home / "store") as store:
        found = {str(capture.package): capture.snapshot for capture in store.captures()}
        for snapshot in found.values():
            for identifier, size in decode_manifest(store.read(ObjectId(snapshot)), snapshot).objects:
                assert len(store.read(identifier)) == size
    return {name: str(snapshot) for name, snapshot in found.items()}
