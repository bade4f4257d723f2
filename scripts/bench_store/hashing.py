"""Child: the store's speed with each hash on and off, delta off; a stand-in without cost switches a hash off.

Variants are measured one after another in each round, in stores of their own; CPU seconds are this process's own.
"""

import hashlib
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench_store.child import Clock, add_files, answer
from ptmtorrent.store.ingest import files as file_hashes
from ptmtorrent.store.pack import hashes as pack_hashes
from ptmtorrent.store.store import Store

VARIANTS: dict[str, frozenset[str]] = {
    "cut + code + BLAKE3": frozenset(),
    "+ file SHA-256": frozenset({"file sha256"}),
    "+ pack SHA-1": frozenset({"pack sha1"}),
    "+ pack SHA-256": frozenset({"pack sha256"}),
    "all": frozenset({"file sha256", "pack sha1", "pack sha256"}),
}


class Nothing:
    """A digest that reads nothing; no two are equal, like those of two files."""

    _numbers = itertools.count()

    def __init__(self, size: int) -> None:
        self._value = next(self._numbers).to_bytes(size, "big")

    def update(self, data: object) -> None:
        """Ignore the data."""

    def digest(self) -> bytes:
        """Return a number of the right length."""
        return self._value

    def hexdigest(self) -> str:
        """Return it in hex."""
        return self._value.hex()


class Switch:
    """Replaces a hash function and counts its calls, so that a function that moved is noticed."""

    def __init__(self, real: Callable[..., Any], size: int) -> None:
        self._real = real
        self._size = size
        self.on = True
        self.asked = 0

    def __call__(self, *data: Any, **options: Any) -> object:
        """Return a digest, or one that does nothing."""
        self.asked += 1
        return self._real(*data, **options) if self.on else Nothing(self._size)


def install() -> dict[str, Switch]:
    """Put switches into the modules of the store, except for git's hash, which a file with a SHA-256 does not have."""
    switches = {
        "file sha256": Switch(hashlib.sha256, 32),
        "pack sha1": Switch(pack_hashes.sha1, 20),
        "pack sha256": Switch(hashlib.sha256, 32),
    }
    git = SimpleNamespace(sha1=lambda *_, **__: Nothing(20))
    file_hashes.pack_hashes = SimpleNamespace(sha256=switches["file sha256"])
    file_hashes.hashlib = git
    pack_hashes.sha1 = switches["pack sha1"]
    pack_hashes.sha256 = switches["pack sha256"]
    return switches


def measure(order: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each set and variant: CPU and wall seconds. The first run is a warm-up and is not counted."""
    switches = install()
    rows = []
    _ingest(order, next(iter(order["sets"].values())))
    for name, files in order["sets"].items():
        for variant, wanted in VARIANTS.items():
            for hash_name, switch in switches.items():
                switch.on = hash_name in wanted
            asked = [file | {"sha256": file["sha256"] if "file sha256" in wanted else None} for file in files]
            rows.append({"set": name, "variant": variant} | _ingest(order, asked))
    unasked = [name for name, switch in switches.items() if not switch.asked]
    if unasked:
        raise SystemExit(f"never requested: {', '.join(unasked)}: the store computes its hashes elsewhere now")
    return rows


def _ingest(order: dict[str, Any], files: list[dict[str, Any]]) -> dict[str, float]:
    root = Path(order["store"])
    clock = Clock()
    with Store.open(root, write=True, memory=order["memory"], delta=False) as store:
        add_files(store, files, {}, order["jobs"])
        store.seal()
    spent = clock.spent()
    shutil.rmtree(root)
    return spent


if __name__ == "__main__":
    answer(measure)
