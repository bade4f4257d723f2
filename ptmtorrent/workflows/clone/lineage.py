"""Lineage: which stored files a file is likely a later version of, and the order of packages that follows from it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

from ptmtorrent.facts.base_models import base_models
from ptmtorrent.hubs.port import Listed
from ptmtorrent.state.clone_journal import Journal
from ptmtorrent.store.stored_file import StoredFile
from ptmtorrent.workflows.clone.manifest import Weights

MAX_FILES = 48
"""Limit of files examined as bases of one file; each costs reading its header."""


def declared_bases(listed: Listed) -> tuple[str, ...]:
    """Return the names of the packages, on the same hub, that `listed` declares as its bases, closest first."""
    return tuple(name for name in base_models(listed.tags, listed.raw) if name != listed.name)


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

    A base moves to just before the first package that names it; the rest keeps its order, and nothing waits.
    """
    works = [
        (work.name, work.rank or 0, declared_bases(msgspec.json.decode(work.listed, type=Listed)))
        for work in journal.works(run, ("todo",))
    ]
    ordered = bases_first({name: bases for name, _, bases in works})
    ranks = zip(ordered, works, strict=True)
    journal.move(run, {name: rank for name, (before, rank, _) in ranks if name != before})


def bases_first(packages: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the packages in order, each after those of its bases that are among them; cycles are cut anywhere."""
    ordered: dict[str, None] = {}
    begun: set[str] = set()
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
