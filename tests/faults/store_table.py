"""The table of syncs: each place that asks for durability, and a power cut that does harm once it is taken out."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tests.faults.store_children import Report, child
from tests.faults.store_disks import Disk
from tests.faults.store_operations import Stage
from tests.faults.store_powercuts import double_cuts, ext4_cuts, strict_cuts
from tests.faults.store_shim import Shim
from tests.faults.store_sites import SQLITE, Sites
from tests.faults.store_sweeps import Trial

Cuts = Callable[..., Iterator[Trial]]
SYNCING = ("fsync", "fdatasync")


@dataclass(frozen=True)
class Shown:
    """A place, the operations that come by it, and the first trial without it that went wrong; one for ext4 too."""

    site: str
    operations: tuple[str, ...]
    trial: Trial | None
    ext4: Trial | None = None


def sites_of(stage: Stage) -> list[str]:
    """Return the places an undisturbed run comes by; SQLite's last."""
    out = stage.folder / "sites"
    home = stage.fresh("counted")

    def act(report: Report) -> None:
        sites = Sites()
        sites.apply()
        stage.act(home, report)
        out.write_text(json.dumps(sorted(sites.seen)))

    with child(act) as one:
        one.open_gate()
        one.wait()
    stage.remove(home)
    return [*json.loads(out.read_text()), SQLITE]


def table(stages: Sequence[Stage], shim: Shim, disk: Disk | None, points: int | None = None) -> Iterator[Shown]:
    """Yield a row for each place; a trial on the strict disk, after a kill where one cut does not show it."""
    seen: dict[str, list[Stage]] = {}
    for stage in stages:
        for site in sites_of(stage):
            seen.setdefault(site, []).append(stage)
    for site, places in seen.items():
        kinds = (partial(strict_cuts, shim=shim), partial(double_cuts, shim=shim))
        trial = _first_wrong(site, places, kinds, points)
        ext4 = None
        if disk is not None:
            ext4 = _first_wrong(site, places, [partial(ext4_cuts, disk=disk, calls=SYNCING)], points)
        yield Shown(site, tuple(stage.operation.name for stage in places), trial, ext4)


def _first_wrong(site: str, stages: Sequence[Stage], kinds: Sequence[Cuts], points: int | None) -> Trial | None:
    wrong = (
        trial
        for cuts in kinds
        for stage in stages
        for trial in cuts(stage, points=points, without=site)
        if trial.problems
    )
    return next(wrong, None)
