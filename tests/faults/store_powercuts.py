"""Power cuts: on the strict disk after every sync, on ext4 at every call and after every report.

What was reported before the cut must be there after it. `double` is a kill and then a cut: what a killed process left
unsynced is not durable because another one found it there.
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random

from ptmtorrent.paths import Home
from tests.faults.store_children import Child, Report, Tracer, child, traced, untraced
from tests.faults.store_disks import Disk
from tests.faults.store_operations import Stage
from tests.faults.store_shim import Shim
from tests.faults.store_sites import Sites
from tests.faults.store_strict import Moment, Recording
from tests.faults.store_sweeps import KILLED_AT, Trial, calls_of, spread

SYNCING = ("fsync", "fdatasync", "rename", "mkdir")


def strict_cuts(stage: Stage, shim: Shim, points: int | None, without: str | None = None) -> Iterator[Trial]:
    """Record one run, and cut the power after each of its syncs."""
    home = stage.fresh("home")
    recording = Recording(stage.folder / "record", home.root)
    one = recording.run(lambda report: stage.act(home, report), shim, Sites(without))
    moments = list(recording.moments())
    for number in spread(len(moments), points):
        yield _strict(stage, recording, moments[number - 1], f"after sync {number}", one)
    _remove(home.root, recording.folder)


def double_cuts(stage: Stage, shim: Shim, points: int | None, without: str | None = None) -> Iterator[Trial]:
    """Kill a run at a call, run again, and cut the power after each report of the second."""
    for call, total in calls_of(stage, SYNCING).items():
        for number in spread(total, points):
            home = stage.fresh("home")
            inject = f"signal=KILL:when={number}"
            recording = Recording(stage.folder / "record", home.root)
            begun = recording.run(
                lambda report: stage.act(home, report),  # noqa: B023
                shim,
                Sites(without),
                partial(traced, call=call, inject=inject),
            )
            one = recording.run(lambda report: stage.act(home, report), shim, Sites(without))  # noqa: B023
            reported = tuple(begun.reported)
            for moment in recording.moments():
                if moment.reported[len(reported) :]:
                    yield _strict(stage, recording, moment, f"{call}:{inject}, then after a report", one)
                    reported = moment.reported
            _remove(home.root, recording.folder)


def ext4_cuts(
    stage: Stage, disk: Disk, points: int | None, without: str | None = None, calls: Sequence[str] = KILLED_AT
) -> Iterator[Trial]:
    """Cut the power of a real filesystem at each of `calls`, and after each report."""
    for held in range(len(stage.world.steps)):
        trial = _ext4(stage, disk, without, f"after report {held}", held=held)
        if trial is None:
            break
        yield trial
    for call, total in calls_of(stage, calls).items():
        for number in spread(total, points):
            inject = f"signal=KILL:when={number}"
            trial = _ext4(stage, disk, without, f"{call}:{inject}", tracer=partial(traced, call=call, inject=inject))
            if trial is not None:
                yield trial


def writers_cuts(stages: tuple[Stage, Stage], disk: Disk, times: int, source: Random) -> Iterator[Trial]:
    """Let two processes ingest into one store, and cut the power after so many reports of both.

    One of them stands still then, the other is in the middle of something.
    """
    for _ in range(times):
        wanted = [source.randrange(0, len(stage.world.steps)) for stage in stages]
        disk.renew()
        with disk.mounted() as place, ExitStack() as stack:
            home = Home(place / "home")
            home.root.mkdir()
            still, busy = (
                stack.enter_context(child(partial(stage.act, home), hold))
                for stage, hold in zip(stages, (wanted[0], None), strict=True)
            )
            still.open_gate()
            busy.open_gate()
            still.wait_for(wanted[0])
            busy.wait_for(wanted[1])
            disk.cut_power()
        reported = [still.reported, busy.reported]
        with disk.mounted() as place:
            problems = [
                problem
                for stage, kept in zip(stages, reported, strict=True)
                for problem in stage.problems(Home(place / "home"), kept, beside=True)
            ]
        yield Trial("two ingests", "writers", f"after the reports {reported}", tuple(problems))


def _strict(stage: Stage, recording: Recording, moment: Moment, injection: str, one: Child) -> Trial:
    target = stage.folder / "crashed"
    shutil.rmtree(target, ignore_errors=True)
    recording.rebuild(moment, target)
    problems = list(stage.problems(Home(target), moment.reported))
    shutil.rmtree(target)
    if one.code:
        problems.append(f"bad: it ended with {one.code}: {one.text}")
    return Trial(stage.operation.name, "strict", injection, tuple(problems))


def _ext4(  # a cut, and where
    stage: Stage, disk: Disk, without: str | None, injection: str, *, tracer: Tracer = untraced, held: int | None = None
) -> Trial | None:
    """Cut once; None when the operation had ended before."""
    disk.renew()
    with disk.mounted() as place:
        home = stage.fresh("home", place)
        subprocess.run(["sync", "-f", str(place)], check=True)

        def act(report: Report) -> None:
            Sites(without).apply()
            stage.act(home, report)

        with child(act, hold=held) as one, tracer(one.pid):
            one.open_gate()
            if held is None:
                one.wait()
            elif not one.wait_for(held):
                return None
            disk.cut_power()
    with disk.mounted() as place:
        problems = stage.problems(Home(place / "home"), one.reported)
    return Trial(stage.operation.name, "ext4", injection, tuple(problems))


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder)
