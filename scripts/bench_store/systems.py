"""The systems that store and restore files: this project in a child process, or a peer; both are measured alike."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from blake3 import blake3

from bench_store.peers import Peer
from bench_store.running import Broken, Spent, disk_bytes, run, run_module
from bench_store.sets import File, FileSet

MEMORY_BYTES = 512 << 20
JOBS = 2
"""Files that are added at a time, and objects that are read at a time."""


@dataclass(frozen=True)
class Place:
    """Folders of one run: the files, the store, restored files, files not counted, and empty stores of peers."""

    files: Path
    stored: Path
    out: Path
    scratch: Path
    empty: Path


@dataclass
class Ingested:
    """A filled store. `report` is the report of this project's child process."""

    spent: Spent
    stored: int
    report: dict[str, Any] = field(default_factory=dict)


class System(Protocol):
    """A system that is compared."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    def ingest(self, files: FileSet, place: Place) -> Ingested:
        """Store the files."""

    def restore(self, ingested: Ingested, place: Place) -> Spent:
        """Restore the files."""


@dataclass(frozen=True)
class Ours:
    """The store of this project."""

    name: str
    delta: bool = True
    declared: bool = True
    cpus: tuple[int, ...] = ()

    def ingest(self, files: FileSet, place: Place) -> Ingested:
        """Add every file, two at a time, and seal."""
        order = {
            "store": str(place.stored),
            "files": [describe(file) for file in files.files],
            "bases": files.bases if self.declared else {},
            "delta": self.delta,
            "memory": MEMORY_BYTES,
            "jobs": JOBS,
            "cpus": self.cpus,
        }
        report, spent = run_module("ingest", order, place.scratch)
        return Ingested(spent, disk_bytes(place.stored), report)

    def restore(self, ingested: Ingested, place: Place) -> Spent:
        """Read every object of every file."""
        return self.restore_and_report(ingested, place)[1]

    def restore_and_report(
        self, ingested: Ingested, place: Place, *, kernel: str | None = None, write: bool = True
    ) -> tuple[dict[str, Any], Spent]:
        """Restore, and return the child's own measurements as well."""
        report = {name.replace("/", "-"): file for name, file in ingested.report["files"].items()}
        out = str(place.out) if write else None
        order = {"store": str(place.stored), "out": out, "files": report, "jobs": JOBS, "cpus": self.cpus}
        return run_module("restore", order, place.scratch, kernel=kernel)


@dataclass(frozen=True)
class Theirs:
    """A peer."""

    peer: Peer

    @property
    def name(self) -> str:
        """The name of the peer."""
        return self.peer.name

    def ingest(self, files: FileSet, place: Place) -> Ingested:
        """Prepare a store unmeasured, then fill it."""
        del files
        self._prepare(place)
        spent = self._run(self.peer.ingest, place)
        return Ingested(spent, disk_bytes(place.stored))

    def restore(self, ingested: Ingested, place: Place) -> Spent:
        """Restore the whole set."""
        del ingested
        return self._run(self.peer.restore, place)

    def _prepare(self, place: Place) -> None:
        """Make an empty store once and copy it afterwards, because some peers take seconds to make a key."""
        template = place.empty / self.peer.program
        if not template.exists():
            self._run(self.peer.prepare, place)
            shutil.copytree(place.stored, template)
        else:
            shutil.copytree(template, place.stored, dirs_exist_ok=True)

    def _run(self, script: str, place: Place) -> Spent:
        env = self.peer.environment(files=place.files, stored=place.stored, out=place.out, scratch=place.scratch)
        return run(self.peer.command(script), cwd=place.scratch, env=env, log=place.scratch / "log.txt")


@contextmanager
def new_place(folder: Path, files: FileSet) -> Iterator[Place]:
    """Make the folders of one run, with hard links to the files, and remove them afterwards."""
    root = folder / "run"
    place = Place(root / "set", root / "stored", root / "out", root / "scratch", folder / "empty")
    for each in (place.files, place.stored, place.out, place.scratch):
        each.mkdir(parents=True)
    try:
        for file in files.files:
            _link(file.path, place.files / flat(file))
        yield place
    finally:
        shutil.rmtree(root)


def empty(folder: Path) -> None:
    """Remove the data of earlier runs, so that they do not affect this one."""
    shutil.rmtree(folder)
    folder.mkdir()


def check_restored(files: FileSet, out: Path) -> None:
    """Compare the restored files with the stored ones.

    Raises:
        Broken: it is missing or has other bytes.
    """
    if (out / "all").exists():
        wanted = _hash(sorted((file.path for file in files.files), key=lambda path: path.name))
        if _hash([out / "all"]) != wanted:
            raise Broken(f"`{files.name}` was restored with different bytes")
        return
    for file in files.files:
        found = next(out.rglob(flat(file)), None)
        if found is None or _hash([found]) != file.blake3:
            raise Broken(f"`{file.name}` of `{files.name}` is missing or was restored with different bytes")


def describe(file: File) -> dict[str, Any]:
    """Return a file in the form that child processes get."""
    return {"path": str(file.path), "name": file.name, "size": file.size, "sha256": file.sha256}


def flat(file: File) -> str:
    """Return the name of a file in a folder without folders."""
    return file.name.replace("/", "-")


def _hash(paths: list[Path]) -> str:
    whole = blake3()
    for path in paths:
        with path.open("rb") as source:
            while data := source.read(1 << 20):
                whole.update(data)
    return whole.hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
