"""Kill a fetch at random moments, run it again, and find out what was fetched twice."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model.ids import PackId
from ptmtorrent.transports.torrent.seeder import Seeder
from tests.program import environment
from tests.simulators.static_server import Asked, StaticServer
from tests.warm import Running, start_program

DEADLINE_SECONDS = 300
STEP_BYTES = 4 << 20


@dataclass
class Kills:
    """What came of the kills so far: how many hit a running fetch, and the most bytes an open file lost at one."""

    hit: int = 0
    lost: list[int] = field(default_factory=list)


def start(home: Path, *arguments: object) -> Running:
    """Start a fetch as a process of its own."""
    return start_program(["--home", str(home), "--format", "json", "fetch", *map(str, arguments)], env=environment())


def kill_when(process: Running, reached: Callable[[], bool]) -> bool:
    """Kill -9 as soon as `reached` says so; tell whether it was still running."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while process.poll() is None and not reached():
        assert time.monotonic() < deadline, "the fetch hangs"
        time.sleep(0.002)
    running = process.poll() is None
    process.kill()
    process.wait()
    return running


def staged(home: Path) -> dict[str, int]:
    """The staging files of a home and their sizes."""
    return {path.name: path.stat().st_size for path in (home / "incoming").glob("*.part")}


def refetched(before: Mapping[str, int], asked: Sequence[Asked]) -> list[int]:
    """Return how many staged bytes of each file were asked for again; files that were not asked for are left out."""
    lost = []
    for name, size in before.items():
        pack, span = name.split(".")[:2]
        offset, length = map(int, span.split("-"))
        path = pack_path(PackId(pack))
        again = [one.offset for one in asked if one.path == path and offset <= one.offset < offset + length]
        lost += [offset + size - again[0]] if again else []
    return lost


def kill_over_http(
    server: StaticServer, home: Path, arguments: tuple[object, ...], times: int, source: random.Random
) -> Kills:
    """Kill a fetch over HTTP `times` times, each after a random number of further bytes, then let it finish."""
    kills = Kills()
    for number in range(times + 1):
        before, mark = staged(home), len(server.asked)
        target = server.pack_bytes + source.randrange(1, 3 * STEP_BYTES) if number < times else 1 << 62
        hit = kill_when(start(home, *arguments), lambda: server.pack_bytes >= target)  # noqa: B023
        kills.hit += hit
        kills.lost += refetched(before, server.asked[mark:])
        if not hit:
            break
    return kills


def kill_over_torrent(
    offering: Seeder,
    home: Path,
    arguments: tuple[object, ...],
    times: int,
    source: random.Random,
    *,
    left_bytes: Callable[[], int],
) -> Kills:
    """Kill a fetch by BitTorrent `times` times, each after a random number of further bytes, then let it finish.

    `left_bytes` says what a fetch would still have to move, counting on disk only what hashes rightly. What the seeder
    sent during a run and that did not make this less is what the kill `lost`.
    """
    kills = Kills()
    left = left_bytes()
    for number in range(times + 1):
        sent = offering.payload().sent
        target = sent + source.randrange(1, 16 * STEP_BYTES) if number < times else 1 << 62

        def reached(target: int = target) -> bool:
            offering.poll(0.01)
            return offering.payload().sent >= target

        hit = kill_when(start(home, *arguments), reached)
        kills.hit += hit
        settle(offering)
        before, left = left, left_bytes()
        if not hit:
            break
        kills.lost.append(offering.payload().sent - sent - (before - left))
    return kills


def settle(offering: Seeder) -> None:
    """Wait until the seeder counts no more bytes as sent: it may still be filling the buffers of a dead connection."""
    sent = -1
    while sent != (sent := offering.payload().sent):
        for _ in range(10):
            offering.poll(0.05)


def kill_anywhere(home: Path, arguments: tuple[object, ...], times: int, source: random.Random) -> Kills:
    """Kill a fetch `times` times, each after a random while, then let it finish."""
    kills = Kills()
    for number in range(times + 1):
        target = time.monotonic() + source.uniform(0.3, 2.0) if number < times else 1 << 62
        hit = kill_when(start(home, *arguments), lambda: time.monotonic() >= target)  # noqa: B023
        kills.hit += hit
        if not hit:
            break
    return kills
