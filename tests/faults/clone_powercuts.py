"""Cuts the power between any two syncs of a clone that commits in groups, on a disk that keeps only what was synced.

One clone of folders is recorded; then the home is rebuilt as each moment leaves it, and cloned again. What had been
reported as `ok` must be in the store, readable; everything is captured in the end, with one capture of each package
that was settled.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.disk.durable import ensure_dir
from ptmtorrent.hubs.folder import FolderHub
from ptmtorrent.hubs.port import NewSession
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.model.moments import read_clock
from ptmtorrent.model.records import Emit, Event, Result
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone import store_queue
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from tests.faults.store_children import Report
from tests.faults.store_shim import find_shim
from tests.faults.store_sites import Sites
from tests.faults.store_strict import Moment, Recording


@dataclass
class Cuts:
    """What the cuts of one sweep left: their number, and what was `bad` or `lost` after each."""

    moments: int = 0
    twice: int = 0
    bad: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def sweep(folder: Path, packages: int = 9) -> Cuts:
    """Record a clone of `packages` folders, and cut the power at every moment of it."""
    top, home = folder / "top", Home(folder / "home")
    for number in range(packages):
        for name in ("README.md", "config.json"):
            path = top / f"model-{number:02}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name} of {number}")
    ensure_dir(home.root)
    shim = find_shim()
    assert shim is not None
    recording = Recording(folder / "record", home.root)
    recording.run(lambda report: _clone_reporting(top, home, report), shim, Sites())
    cuts = Cuts()
    for moment in recording.moments():
        cuts.moments += 1
        target = Home(folder / f"cut-{cuts.moments}")
        recording.rebuild(moment, target.root)
        _judge(cuts, moment, top, target, packages)
    return cuts


def _clone_reporting(top: Path, home: Home, report: Report) -> None:
    """Clone with a group for each commit that is possible, and report each package as its record comes."""
    store_queue.GROUP_SECONDS = 0.0

    def emit(event: Event) -> None:
        if isinstance(event, Result):
            report(int(event.id[-2:]))

    _clone(top, home, emit)


def _clone(top: Path, home: Home, emit: Emit) -> None:
    def make_hub(new_session: NewSession) -> FolderHub:
        return FolderHub(str(top), new_session())

    clone(make_hub, CloneRequest(jobs=1), home, clock=read_clock, emit=emit, stop=Stop())


def _judge(cuts: Cuts, moment: Moment, top: Path, home: Home, packages: int) -> None:
    what = f"cut {cuts.moments}, after {moment.events} lines"
    try:
        before = _readable(home)
        cuts.lost += [f"{what}: {number}" for number in moment.reported if f"dir:model-{number:02}" not in before]
        events: list[Event] = []
        _clone(top, home, events.append)
        after = _readable(home)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is bad
        cuts.bad.append(f"{what}: {type(error).__name__}: {error}")
        return
    again = {event.id for event in events if isinstance(event, Result) and event.status == "ok"}
    if len(after) != packages or not set(after) - set(before) <= again:
        cuts.bad.append(f"{what}: {sorted(before)} before, {sorted(after)} after, {sorted(again)} captured")
    cuts.twice += sum(count - 1 for count in after.values())


def _readable(home: Home) -> Counter[str]:
    """Return the packages in the store, with how many captures each has, after reading every object of them."""
    if not (home.store / "version.json").exists():
        return Counter()
    with Store.open(home.store, write=True) as store:
        for capture in store.captures():
            for identifier, size in decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot).objects:
                assert len(store.read(identifier)) == size
        return Counter(str(capture.package) for _, capture in store.contents.captures())
