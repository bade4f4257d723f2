"""Operations that need no synthetic home: cloning folders, and starting a seeder over sparse packs."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench_store.running import disk_bytes

from bench_scale.running import Cost, measure

CLONE, CLONE_AGAIN = "clone", "clone, nothing new"
SEED_FIRST, SEED_AGAIN = "start of a seeder, first", "start of a seeder, again"
FOLDER_NAMES, PACK_NAMES = (CLONE, CLONE_AGAIN), (SEED_FIRST, SEED_AGAIN)
FILES = ("README.md", "config.json", "model.safetensors")
FILE_BYTES = 256
SETTLED_SECONDS = 2.5
"""A folder that was changed more recently is read again by the next clone."""


def clone_folders(folder: Path, count: int) -> Iterator[tuple[str, Cost]]:
    """Clone `count` folders of three small files each with the hub `dir`, twice.

    Raises:
        Broken: a clone failed.
    """
    source, top = random.Random(count), folder / "collection"  # noqa: S311  # the same bytes on every machine
    for number in range(count):
        package = top / f"org-{number % 97}" / f"model-{number}"
        package.mkdir(parents=True)
        for name in FILES:
            (package / name).write_bytes(source.randbytes(FILE_BYTES))
    time.sleep(SETTLED_SECONDS)  # as most folders are that are cloned again
    home = folder / "home"
    for name in FOLDER_NAMES:
        arguments = ("--home", str(home), "--format", "json", "clone", "dir", "--endpoint", str(top))
        yield name, replace(measure(folder, "program", *arguments), kept=disk_bytes(home / "store"))


def start_seeders(folder: Path, count: int) -> Iterator[tuple[str, Cost]]:
    """Start a seeder over a channel of `count` sparse packs twice, each until every pack can be asked for.

    Raises:
        Broken: a seeder failed.
    """
    channel = folder / "channel"
    measure(folder, "sparse", str(channel), str(count))
    for name in PACK_NAMES:
        yield name, measure(folder, "seed", str(folder / "home"), str(channel))
