"""The parts of a run, by the names that `--only` takes."""

from collections.abc import Callable
from dataclasses import dataclass

from bench_store import comparing, own, real
from bench_store.bench import Bench


@dataclass(frozen=True)
class Group:
    """A part of the run: the files that it needs, and the function that measures it.

    One that `installs` frameworks of several gigabytes runs only if it is named.
    """

    needs: tuple[str, ...]
    measure: Callable[[Bench], None]
    installs: bool = False


GROUPS = {
    "siblings": Group(("siblings",), comparing.siblings),
    "formats": Group(("formats",), comparing.formats),
    "hashes": Group(("siblings", "formats"), own.hashes),
    "restores": Group(("siblings",), own.restores),
    "workers": Group(("siblings",), own.workers),
    "memory": Group(("big",), own.memory),
    "revision": Group(("revision",), own.revision),
    "containers": Group(("formats",), real.containers, installs=True),
    "gguf": Group((), real.quantised, installs=True),
}
USUAL = [name for name, group in GROUPS.items() if not group.installs]
