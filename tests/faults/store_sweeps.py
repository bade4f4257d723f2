"""Sweeps: an operation is disturbed at every point of a kind, one point a run, and judged after each.

A point is a system call of a thread: the N-th `fsync`, say. Kills, errors and short writes happen on a filesystem that
keeps what it is given; power cuts have modules of their own.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from signal import SIGKILL

from ptmtorrent.errors import NoSpace, StoreError
from ptmtorrent.paths import Home
from tests.faults.store_children import FOREIGN, Child, Report, Tracer, child, counted, traced, untraced
from tests.faults.store_operations import Stage
from tests.faults.store_shim import Shim

KILLED_AT = (
    *("write", "writev", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "openat", "unlink"),
    *("unlinkat", "ftruncate", "truncate", "mkdir", "mkdirat", "link", "linkat", "copy_file_range"),
)
FAILING = ("write", "writev", "pwrite64", "fsync", "fdatasync", "rename", "openat", "ftruncate", "mkdir", "unlink")
ERRORS = ("EIO", "ENOSPC", "EDQUOT")
EVER = {True: "for ever", False: "once"}
MAX_BEYOND = 40
"""A run that a fault leads elsewhere may make this many more calls than an undisturbed one."""


@dataclass(frozen=True)
class Trial:
    """One disturbed run. `injection` says exactly how; `problems` begin with `lost` or `bad`."""

    operation: str
    kind: str
    injection: str
    problems: tuple[str, ...] = ()

    @property
    def lost(self) -> bool:
        """Tell whether something is not there that was said to be."""
        return any(problem.startswith("lost") for problem in self.problems)

    @property
    def bad(self) -> bool:
        """Tell whether anything else is wrong."""
        return any(not problem.startswith("lost") for problem in self.problems)


def spread(total: int, points: int | None) -> list[int]:
    """Return the numbers from 1 to `total`, or `points` of them, evenly spread and the first and last among them."""
    if points is None or total <= points:
        return list(range(1, total + 1))
    return sorted({1 + (total - 1) * number // max(1, points - 1) for number in range(points)})


def kills(stage: Stage, points: int | None) -> Iterator[Trial]:
    """Kill -9 at each call; without `points` until a run ends untouched."""
    for call, total in calls_of(stage, KILLED_AT).items():
        for number in spread(total, points) if points else range(1, total + MAX_BEYOND):
            inject = f"signal=KILL:when={number}"
            one, home = disturb(stage, partial(traced, call=call, inject=inject))
            if one.code == 0 and number > total:
                shutil.rmtree(home.root)
                break
            odd = [] if one.code in {0, -SIGKILL} else [_odd(one)]
            yield Trial(stage.operation.name, "kill", f"{call}:{inject}", judge(stage, home, one, odd))


def errors(stage: Stage, points: int | None) -> Iterator[Trial]:
    """Let calls fail, once and for ever."""
    totals = calls_of(stage, FAILING)
    for name in ERRORS:
        for ever in (False, True):
            for call, total in totals.items():
                for number in spread(total, points):
                    inject = f"error={name}:when={number}{'+' if ever else ''}"
                    one, home = disturb(stage, partial(traced, call=call, inject=inject))
                    problems = judge(stage, home, one, _judge_error(one, call, name))
                    yield Trial(stage.operation.name, f"{name} {EVER[ever]}", f"{call}:{inject}", problems)


def shorts(stage: Stage, points: int | None, shim: Shim) -> Iterator[Trial]:
    """Let writes take half of what they are given, once and for ever; nobody may notice."""
    total = _count_writes(stage, shim)
    for ever in (False, True):
        for number in spread(total, points):
            one, home = disturb(stage, before=lambda: shim.cut_short(number, ever=ever))  # noqa: B023
            odd = [] if one.code == 0 else [_odd(one)]
            yield Trial(
                stage.operation.name, f"short {EVER[ever]}", f"write {number} short", judge(stage, home, one, odd)
            )


def disturb(
    stage: Stage,
    tracer: Tracer = untraced,
    before: Callable[[], None] | None = None,
) -> tuple[Child, Home]:
    """Run a stage's operation in a child under `tracer`, after `before` was done in it."""
    home = stage.fresh("home")

    def act(report: Report) -> None:
        if before is not None:
            before()
        stage.act(home, report)

    with child(act) as one, tracer(one.pid):
        one.open_gate()
        one.wait()
    return one, home


def judge(stage: Stage, home: Home, one: Child, odd: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what is wrong after a disturbed run, and remove its home."""
    hung = ["bad: it hangs"] if one.hung else []
    problems = (*hung, *odd, *stage.problems(home, one.reported))
    shutil.rmtree(home.root)
    return tuple(dict.fromkeys(problems))


def _judge_error(one: Child, call: str, name: str) -> list[str]:
    """A failing call ends in an error of ours, or does not matter; a full disk is called so where bytes are written."""
    if one.code == FOREIGN or (one.code is not None and one.code < 0):
        return [_odd(one)]
    full = name == "ENOSPC" or (name == "EDQUOT" and call != "pwrite64")  # SQLite knows ENOSPC alone
    if full and call in {"write", "writev"} and one.code not in {0, NoSpace.code}:
        return [_odd(one)]
    return [] if one.code in {0, NoSpace.code, StoreError.code} else [_odd(one)]


def _odd(one: Child) -> str:
    return f"bad: it ended with {one.code}: {one.text.strip().splitlines()[-1] if one.text else 'no word'}"


def calls_of(stage: Stage, calls: Sequence[str]) -> dict[str, int]:
    """Return how often an undisturbed run makes each of `calls`, those left out that it never makes."""
    home = stage.fresh("counted")
    try:
        found = counted(lambda report: stage.act(home, report), calls, stage.folder / "calls")
    finally:
        shutil.rmtree(home.root)
    return {call: count for call, count in found.items() if count}


def _count_writes(stage: Stage, shim: Shim) -> int:
    home = stage.fresh("counted")
    out = stage.folder / "writes"

    def act(report: Report) -> None:
        shim.cut_short(0, ever=False)
        stage.act(home, report)
        total = shim.writes()
        out.write_text(str(total))

    with child(act) as one:
        one.open_gate()
        one.wait()
    shutil.rmtree(home.root)
    return int(out.read_text())
