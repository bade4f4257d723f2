"""How often each byte is touched: read, written and hashed per raw byte, along each path. A figure may fall, not grow.

`scripts/bench-touch` counts the same for whole programs, by strace, and beside other programs.
"""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import blake3 as blake3_module
import pytest

from ptmtorrent.paths import Home
from ptmtorrent.store.pack import hashes
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Made, fetch_from, make_channel, tensors
from tests.in_process import ptmtorrent
from tests.simulators.static_server import serve

WEIGHTS = {"model-1.safetensors": tensors(1, count=2, numbers=4_500_000), "model-2.safetensors": tensors(2, count=2)}
SIZE = sum(map(len, WEIGHTS.values()))
SLACK = 0.03
"""Headers, documents and databases, per raw byte."""


class Counted:
    """A hash that counts what it takes."""

    def __init__(self, real: Any, count: Callable[[int], None]) -> None:
        self._real, self._count = real, count

    def update(self, data: Any, /) -> "Counted":
        self._count(memoryview(data).nbytes)
        self._real.update(data)
        return self

    def update_mmap(self, path: Path) -> "Counted":
        self._count(path.stat().st_size)
        self._real.update_mmap(path)
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the bytes that the calls of the block read, write and hash in this process."""
    touched: Counter[str] = Counter()
    lock = Lock()

    def add(name: str, size: int) -> None:
        with lock:
            touched[name] += size

    def hashing(name: str, real: Callable[..., Any]) -> Callable[..., Counted]:
        def make(data: Any = b"", **options: Any) -> Counted:
            add(name, memoryview(data).nbytes)
            return Counted(real(data, **options), lambda size: add(name, size))

        return make

    def moving(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def move(*arguments: Any) -> Any:
            done = real(*arguments)
            add(name, done if isinstance(done, int) else len(done))
            return done

        return move

    with pytest.MonkeyPatch.context() as patch:
        counted = hashing("blake3", blake3_module.blake3)
        for module in [module for name, module in sys.modules.items() if name.startswith("ptmtorrent.")]:
            if getattr(module, "blake3", None) is blake3_module.blake3:
                patch.setattr(module, "blake3", counted)
        patch.setattr(hashes, "sha256", hashing("sha256", hashes.sha256))
        patch.setattr(hashlib, "sha256", hashing("sha256", hashlib.sha256))
        for name in ("pread", "preadv", "read"):
            patch.setattr(os, name, moving("read", getattr(os, name)))
        for name in ("pwrite", "write", "writev"):
            patch.setattr(os, name, moving("written", getattr(os, name)))
        yield touched


def check(touched: Counter[str], **most: float) -> None:
    """Compare the figures per raw byte with the most that each may be."""
    seen = {name: round(touched[name] / SIZE, 3) for name in most}
    assert all((limit > 0) <= (seen[name] > 0) for name, limit in most.items()), "nothing was counted"
    assert all(seen[name] <= limit + SLACK for name, limit in most.items()), (seen, most)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"), {"hf:org/large": WEIGHTS})


@pytest.fixture(scope="module")
def stored(made: Made) -> float:
    """The stored bytes per raw byte."""
    return sum(path.stat().st_size for path in made.folder.rglob("*.pack")) / SIZE


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "user")


def test_a_fetch_from_a_folder_reads_and_writes_each_byte_once_and_hashes_objects_and_files(
    made: Made, home: Home, tmp_path: Path, stored: float
) -> None:
    made.trusted_by(home, str(made.folder))
    with counting() as touched:
        fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))
    check(touched, read=stored, written=1, blake3=2, sha256=0)


def test_a_fetch_over_http_stages_what_it_receives_once(made: Made, home: Home, tmp_path: Path, stored: float) -> None:
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        with counting() as touched:
            fetch_from(server.url, home, FetchRequest(subset="all", to=tmp_path / "out"))
    check(touched, written=1 + stored, blake3=2, sha256=0)


def test_a_clone_of_a_folder_writes_only_what_it_stores(tmp_path: Path, stored: float) -> None:
    place = tmp_path / "raw"
    place.mkdir()
    for name, data in WEIGHTS.items():
        (place / name).write_bytes(data)
    ptmtorrent(tmp_path / "other", "store", "init")  # so that its modules are imported
    with counting() as touched:
        ptmtorrent(tmp_path / "home", "clone", "dir", "--endpoint", place)
    # BLAKE3: files, objects when they are listed and when they are read again to be coded, tensors, packs.
    check(touched, written=stored, read=2, sha256=2 + stored, blake3=3 + 2 * stored)


def test_a_verification_hashes_each_byte_once(made: Made, home: Home, tmp_path: Path) -> None:
    made.trusted_by(home, str(made.folder))
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))
    with counting() as touched:
        ptmtorrent(home.root, "verify")
    check(touched, written=0, blake3=1, sha256=0)
