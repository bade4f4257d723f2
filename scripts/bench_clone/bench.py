"""The rounds: every client runs once per round, in turn, from an empty folder; its cost and files are recorded."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_store.running import run

from bench_clone.systems import SYSTEMS, Address, System, environment
from ptmtorrent.demo.bulk import Bulk, bulk_packages
from ptmtorrent.demo.contents import Content
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.store.store import Store

MIB = 1 << 20
LOOK_SECONDS = 0.05
_TOP = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Cost:
    """One run of one client: wall and CPU seconds, and bytes on the disk at their maximum and at the end."""

    system: str
    wall: float
    cpu: float
    peak: int
    left: int


def make_package(folder: Path, shards: int, shard_bytes: int) -> int:
    """Write the weights of one model in bf16, and small files beside them; return the total bytes."""
    for number, package in enumerate(bulk_packages(shards, shard_bytes)):
        for file in package.files:
            name = file.path
            if isinstance(file.content, Bulk):
                name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
            elif number:
                continue
            _write(folder / name, file.content)
    for number in range(4):
        (folder / f"part-{number}.bin").write_bytes(hashlib.shake_128(bytes([number])).digest(MIB))
    return sum(path.stat().st_size for path in folder.iterdir())


def _write(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for data in content.chunks(0, content.size):
            file.write(data)


@contextmanager
def served(folder: Path, package: Path) -> Iterator[Address]:
    """Serve the package from a separate process."""
    (folder / "served").mkdir()
    command = [sys.executable, "-m", "bench_clone.serving", str(folder / "served"), str(package)]
    env = dict(os.environ) | {"PYTHONPATH": f"{_TOP / 'scripts'}{os.pathsep}{_TOP}"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=_TOP)
    try:
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("no way to talk to the server")
        line = process.stdout.readline()
        yield Address(**json.loads(line))
    finally:
        process.communicate()


def measure(system: System, at: Address, scratch: Path) -> Cost:
    """Run one client in an empty folder, checks not included."""
    folder = scratch / "run"
    folder.mkdir()
    os.sync()
    wall = cpu = 0.0
    with _watching(folder) as seen:
        for command in system.commands(at, folder):
            spent = run(command, cwd=folder, env=environment(folder), log=scratch / "log.txt")
            wall, cpu = wall + spent.wall, cpu + spent.cpu
    left = disk_bytes(folder)
    return Cost(system.name, wall, cpu, max(seen[0], left), left)


@contextmanager
def _watching(folder: Path) -> Iterator[list[int]]:
    """Measure the disk usage of the folder every few hundredths of a second; the first number is the maximum."""
    seen, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK_SECONDS):
            try:
                seen[0] = max(seen[0], disk_bytes(folder))
            except FileNotFoundError:
                continue  # it was renamed or removed meanwhile

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def disk_bytes(folder: Path) -> int:
    """Return the disk usage of all files below `folder`; a hard link to a file is not counted again."""
    return sum(info.st_blocks * 512 for path in folder.rglob("*") if stat.S_ISREG((info := path.lstat()).st_mode))


def check_left(system: System, folder: Path, package: Path) -> None:
    """Check that every file of the package arrived with the right bytes.

    Raises:
        RuntimeError: naming the file that did not.
    """
    ours = (folder / "home" / "store").is_dir()
    for path in package.iterdir():
        wanted = hashlib.sha256(path.read_bytes()).hexdigest()
        found = _in_store(folder / "home" / "store", path.name) if ours else _in_folder(folder, path.name)
        if found != wanted:
            raise RuntimeError(f"{system.name}: `{path.name}` is {found or 'not there'}")


def _in_folder(folder: Path, name: str) -> str | None:
    found = [path for path in folder.rglob(name) if path.is_file()]
    return hashlib.sha256(found[0].read_bytes()).hexdigest() if found else None


def _in_store(root: Path, name: str) -> str | None:
    with Store.open(root) as store:
        for capture in store.captures():
            manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
            for file in manifest.files:
                if file.name == name:
                    digest = hashlib.sha256()
                    for row in manifest.objects_of(file.recipe):
                        digest.update(store.read(manifest.objects[row][0]))
                    return digest.hexdigest()
    return None


def rounds(count: int, at: Address, scratch: Path, package: Path) -> Iterator[Cost]:
    """Yield the cost of each client, `count` times in turns."""
    for number in range(count):
        for system in SYSTEMS:
            cost = measure(system, at, scratch)
            if number == 0:
                check_left(system, scratch / "run", package)
            shutil.rmtree(scratch / "run")
            yield cost
