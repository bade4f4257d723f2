"""All kinds of faults, by name, and what each needs of the machine it runs on."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

from tests.faults.store_children import can_trace
from tests.faults.store_disks import IMAGE_BYTES, Disk, can_mount
from tests.faults.store_full import SMALL_BYTES, floods, full_disks
from tests.faults.store_operations import OPERATIONS, Stage
from tests.faults.store_powercuts import double_cuts, ext4_cuts, strict_cuts, writers_cuts
from tests.faults.store_shim import Shim, find_shim
from tests.faults.store_sweeps import Trial, errors, kills, shorts
from tests.faults.store_table import Shown, table

KINDS = ("kill", "error", "short", "full", "strict", "double", "ext4", "writers", "sites")
SAYS = {
    "kill": "kill -9 at every call",
    "error": "EIO, ENOSPC, EDQUOT at every call, once and for ever",
    "short": "writes that take half, once and for ever",
    "full": "filesystems of 32 MB that fill up",
    "strict": "power cuts on a disk that keeps what was synced alone",
    "double": "a kill, another run, then such a power cut",
    "ext4": "power cuts on ext4",
    "writers": "power cuts while two processes ingest",
    "sites": "each sync taken out: which power cut shows it",
}
WRITERS_CUTS = 40
NO_SHIM = "there is no C compiler"


@dataclass
class Kit:
    """What faults are made with, in `folder`; made when first asked for. `points` bounds the runs of each call."""

    folder: Path
    points: int | None = None
    seed: int = 1
    _stages: dict[str, Stage] = field(default_factory=dict)
    _disks: dict[int, Disk] = field(default_factory=dict)

    def stage(self, operation: str) -> Stage:
        """Return an operation, ready to be disturbed."""
        if operation not in self._stages:
            self._stages[operation] = Stage(OPERATIONS[operation], self.folder / operation)
        return self._stages[operation]

    def disk(self, size: int) -> Disk:
        """Return an ext4 image of `size` bytes."""
        if size not in self._disks:
            place = self.folder / f"disk-{size}"
            place.mkdir()
            self._disks[size] = Disk(place, size)
        return self._disks[size]

    def missing(self, kind: str) -> str | None:
        """Say why faults of `kind` cannot be made here; None when they can."""
        if kind in {"kill", "error", "ext4", "double", "sites"} and (why := can_trace()) is not None:
            return why
        if kind in {"short", "strict", "double", "sites"} and find_shim() is None:
            return NO_SHIM
        return can_mount(self.folder) if kind in {"full", "ext4", "writers"} else None


def _shim() -> Shim:
    shim = find_shim()
    if shim is None:
        raise RuntimeError(NO_SHIM)
    return shim


_SWEEPS: dict[str, Callable[[Kit, Stage], Iterator[Trial]]] = {
    "kill": lambda kit, stage: kills(stage, kit.points),
    "error": lambda kit, stage: errors(stage, kit.points),
    "short": lambda kit, stage: shorts(stage, kit.points, _shim()),
    "full": lambda kit, stage: full_disks(stage, kit.disk(SMALL_BYTES), kit.folder, kit.points),
    "strict": lambda kit, stage: strict_cuts(stage, _shim(), kit.points),
    "double": lambda kit, stage: double_cuts(stage, _shim(), kit.points),
    "ext4": lambda kit, stage: ext4_cuts(stage, kit.disk(IMAGE_BYTES), kit.points),
}


def trials(kit: Kit, kind: str, operations: Sequence[str]) -> Iterator[Trial]:
    """Yield the trials of a kind, operation after operation."""
    if kind == "writers":
        stages = (kit.stage("ingest"), Stage(OPERATIONS["ingest"], kit.folder / "beside", seed=1))
        times = WRITERS_CUTS if kit.points is None else kit.points
        yield from writers_cuts(stages, kit.disk(IMAGE_BYTES), times, Random(kit.seed))
        return
    if kind == "full":
        yield from floods(kit.disk(SMALL_BYTES), kit.folder)
    yield from _in_turns([_SWEEPS[kind](kit, kit.stage(operation)) for operation in operations])


def _in_turns(sweeps: Sequence[Iterator[Trial]]) -> Iterator[Trial]:
    """Yield one of each in turn, so that a run that has to stop early has seen all of them."""
    left = deque(sweeps)
    while left:
        sweep = left.popleft()
        for trial in islice(sweep, 1):
            yield trial
            left.append(sweep)


def sites(kit: Kit, operations: Sequence[str]) -> Iterator[Shown]:
    """Yield a row for each sync of the store's code; what ext4 shows is told where it can be mounted."""
    here = kit.points is None and can_mount(kit.folder) is None
    disk = kit.disk(IMAGE_BYTES) if here else None
    yield from table([kit.stage(operation) for operation in operations], _shim(), disk, kit.points)
