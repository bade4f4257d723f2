"""Lineage: which stored files a file is likely a later version of, and the order of packages that follows from it."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import PurePosixPath
from typing import TypeVar

from ptmtorrent.state.clone_journal import Journal
from ptmtorrent.store.stored_file import StoredFile
from ptmtorrent.workflows.clone.manifest import Weights

T = TypeVar("T", bound=Hashable)

MAX_FILES = 48
"""Limit of files examined as bases of one file; each costs reading its header."""


def choose_bases(path: str, packages: Iterable[Weights]) -> tuple[StoredFile, ...]:
    """Return the files of `packages` in which to look for bases of the file at `path`, the likeliest first.

    In each package that is the file of the same path, then files of the same format; when files were sharded anew, a
    tensor may be in any of them.
    """
    suffix = _suffix(path)

    def distance(name: str) -> int:
        return 0 if name == path else 1 if _suffix(name) == suffix else 2

    ranked = [(distance(name), order, name, file) for order, files in enumerate(packages) for name, file in files]
    ranked.sort(key=lambda each: each[:3])
    chosen = {file.blake3: file for _, _, _, file in reversed(ranked[:MAX_FILES])}
    return tuple(reversed(chosen.values()))


def put_bases_first(journal: Journal, run: int) -> None:
    """Rank packages that others of the run declare as their base before those others.

    A base moves to just before the first package that names it; the rest keeps its order, and nothing waits. Packages
    are known by their ranks: only those that name a base of the run, and these bases, are in memory.
    """
    named: dict[float, list[float]] = {}
    for rank, base in journal.edges(run):
        named.setdefault(rank, []).append(base)
        named.setdefault(base, [])
    moving: list[float] = []
    waiting = _smallest_after(ordered := bases_first(dict(sorted(named.items()))))
    for rank, first in zip(ordered, waiting, strict=True):
        if first < rank:
            moving.append(rank)
            continue
        journal.move_before(run, rank, moving)
        moving.clear()


def _smallest_after(ranks: Sequence[float]) -> list[float]:
    """Return for each rank the smallest of itself and those after it."""
    return list(accumulate(reversed(ranks), min))[::-1]


def bases_first(packages: Mapping[T, Sequence[T]]) -> list[T]:
    """Return the packages in order, each after those of its bases that are among them; cycles are cut anywhere."""
    ordered: dict[T, None] = {}
    begun: set[T] = set()
    for package in packages:
        path = [package] if package not in begun else []
        while path:
            begun.add(path[-1])
            base = next((base for base in packages[path[-1]] if base in packages and base not in begun), None)
            if base is None:
                ordered[path.pop()] = None
            else:
                path.append(base)
    return list(ordered)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
