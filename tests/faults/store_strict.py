"""A disk that keeps nothing it was not asked to keep: what POSIX promises, and not a byte more.

Real filesystems keep more than they must (on ext4 one fsync takes along whatever shares its journal transaction), so a
missing fsync can hide for years. Here a file has the bytes of its last fsync, a folder the names of its last fsync, and
what was never synced is empty or not there. One run is recorded; the power is then cut after every sync in it.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.store_children import Child, Report, Tracer, child, untraced
from tests.faults.store_shim import Shim
from tests.faults.store_sites import Sites

BEGUN = "begun"
REPORTED = "reported"

Act = Callable[[Report], None]


@dataclass(frozen=True)
class Moment:
    """A moment between two syncs: how many lines of the record were written by then, and what had been reported."""

    events: int
    reported: tuple[int, ...]


class Recording:
    """What one run made durable, and when. `root` is durable at its beginning, with all that is in it."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self._root = root
        self._events: list[list[str]] = []

    def run(self, act: Act, shim: Shim, sites: Sites, tracer: Tracer = untraced) -> Child:
        """Record a child that does `act`, which `tracer` may disturb, and return it when it has ended.

        A second run goes on where the first ended; nothing becomes durable in between.
        """
        lines = len(self._events)
        if not lines:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()

        def recorded(report: Report) -> None:
            shim.record(self.folder, lines)
            if not lines:
                _sync_all(self._root)
                shim.note(BEGUN, 0)
            sites.apply()

            def both(number: int) -> None:
                shim.note(REPORTED, number)
                report(number)

            act(both)

        with child(recorded) as one, tracer(one.pid):
            one.open_gate()
            one.wait()
        self._events = [line.split() for line in (self.folder / "log").read_text().splitlines()]
        return one

    def moments(self) -> Iterator[Moment]:
        """Yield every moment that differs, each as late as it can be, so that as much as possible was reported."""
        reported: tuple[int, ...] = ()
        begun = False
        for number, (word, value) in enumerate(self._events, 1):
            begun = begun or word == BEGUN
            if word == REPORTED:
                reported = (*reported, int(value))
            last = number == len(self._events) or self._events[number][0] != REPORTED
            if begun and last:
                yield Moment(number, reported)

    def rebuild(self, moment: Moment, target: Path) -> None:
        """Make `target` what is left of the root when the power is cut at `moment`."""
        kept = {
            (word, value): self.folder / str(number)
            for number, (word, value) in enumerate(self._events[: moment.events])
            if word in {"D", "F"}
        }
        root = next(value for word, value in self._events if word == "D")
        _restore(root, kept, target, {})


def _restore(key: str, kept: dict[tuple[str, str], Path], target: Path, made: dict[str, Path]) -> None:
    """Make a folder and what is in it. A file that was moved may have both names: they are links to one file."""
    target.mkdir()
    names = kept.get(("D", key))
    for line in names.read_text().splitlines() if names else ():
        kind, child_key, name = line.split(" ", 2)
        if kind == "D":
            _restore(child_key, kept, target / name, made)
        elif child_key in made:
            os.link(made[child_key], target / name)
        else:
            made[child_key] = target / name
            (target / name).touch()
            if (bytes_of := kept.get(("F", child_key))) is not None:
                shutil.copyfile(bytes_of, target / name)


def _sync_all(root: Path) -> None:
    for path in (root, *sorted(root.rglob("*"))):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
