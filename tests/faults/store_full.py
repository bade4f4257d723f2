"""Disks that are really full: operations on filesystems of 32 MB with ever less room left, and a flood of files."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from ptmtorrent.errors import NoSpace
from ptmtorrent.paths import Home
from ptmtorrent.store.store import Store
from tests.faults.store_children import Child, Report, child
from tests.faults.store_disks import Disk, fill, small_tmpfs
from tests.faults.store_operations import Stage
from tests.faults.store_sweeps import Trial
from tests.store.samples import WEIGHTS, name_of, random_bytes

SMALL_BYTES = 32 << 20
MIN_BYTES = 4 << 10
FINE, COARSE = 1.4, 4.0
"""So many times more room is left from run to run."""

MAX_STEPS = 27
FLOOD_BYTES = 1 << 20

Place = Callable[[], AbstractContextManager[Path]]


def full_disks(stage: Stage, disk: Disk, folder: Path, points: int | None) -> Iterator[Trial]:
    """Do an operation with less room than it needs, in steps; then make room, and do it again."""
    for name, place in _places(disk, folder).items():
        for number in range(MAX_STEPS):
            room = int(MIN_BYTES * (FINE if points is None else COARSE) ** number) if number else 0
            with place() as root:
                home = stage.fresh("home", root)
                filler = fill(root, room)
                one = _run(partial(stage.act, home))
                filler.unlink()
                problems = [*_judge(one), *stage.problems(home, one.reported)]
            yield Trial(stage.operation.name, f"full {name}", f"{room} bytes left", tuple(problems))
            if one.code == 0:
                break


def floods(disk: Disk, folder: Path) -> Iterator[Trial]:
    """Store until nothing more fits: what was committed stays, and more fits once there is room."""
    for name, place in _places(disk, folder).items():
        with place() as root:
            home = Home(root / "home")
            one = _run(partial(_flood, home))
            problems = _judge(one) if one.code else ["bad: nothing was ever full"]
            if not re.search(r"[0-9]+ more bytes are needed", one.text):
                problems.append(f"bad: it does not name the bytes: {one.text}")
            with Store.open(home.store) as store:
                problems += [f"lost: {number}" for number in one.reported if not _reads(store, number)]
        yield Trial("flood", f"full {name}", "1 MiB at a time", tuple(problems))


def _places(disk: Disk, folder: Path) -> dict[str, Place]:
    return {"tmpfs": partial(small_tmpfs, folder / "small", SMALL_BYTES), "ext4": partial(_empty_disk, disk)}


def _empty_disk(disk: Disk) -> AbstractContextManager[Path]:
    disk.renew()
    return disk.mounted()


def _run(act: Callable[[Report], None]) -> Child:
    with child(act) as one:
        one.open_gate()
        one.wait()
    return one


def _judge(one: Child) -> list[str]:
    return [] if one.code in {0, NoSpace.code} else [f"bad: it ended with {one.code}: {one.text}"]


def _flood(home: Home, report: Report) -> None:
    with Store.open(home.store, write=True) as store:
        for number in range(2 * SMALL_BYTES // FLOOD_BYTES):
            store.put(random_bytes(FLOOD_BYTES, number), pack_class=WEIGHTS)
            store.commit()
            report(number)


def _reads(store: Store, number: int) -> bool:
    data = random_bytes(FLOOD_BYTES, number)
    return store.has(name_of(data)) and store.read(name_of(data)) == data
