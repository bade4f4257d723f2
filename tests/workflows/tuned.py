"""A channel with a base model and a fine-tune of it that is stored as deltas, each in packs of its own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from blake3 import blake3

from ptmtorrent.model.ids import ObjectId, PackId, ReleaseName
from ptmtorrent.model.placement import DELTA_CODECS
from ptmtorrent.model.records import ignore
from ptmtorrent.paths import Home
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.store.store import Store
from ptmtorrent.trust.keys import init_keys, load_keys
from ptmtorrent.workflows.release.release import release
from tests.channels import Files, Made, capture, clock, safetensors

BASE = "hf:org/base"
TUNED = "hf:org/tuned"
FIRST = ReleaseName("2026.11")
NUMBERS = 150_000


def weights(seed: int, count: int = 4, numbers: int = NUMBERS) -> dict[str, tuple[str, bytes]]:
    """Tensors with the numbers of trained ones: normally distributed, bf16."""
    source = np.random.default_rng(seed)
    return {f"layer.{row}": ("BF16", _bf16(source.normal(0, 0.02, numbers))) for row in range(count)}


def tune(tensors: dict[str, tuple[str, bytes]], seed: int) -> dict[str, tuple[str, bytes]]:
    """Change every second number by its last bit, as a light fine-tune does."""
    source = np.random.default_rng(seed)
    changed = {}
    for name, (dtype, raw) in tensors.items():
        words = np.frombuffer(raw, np.uint16)
        changed[name] = (dtype, (words ^ source.integers(0, 2, len(words), dtype=np.uint16)).tobytes())
    return changed


def standard_packages() -> dict[str, dict[str, bytes]]:
    base = weights(1)
    return {
        BASE: {"model.safetensors": safetensors(base), "config.json": b'{"model_type":"bert"}' * 9},
        TUNED: {"model.safetensors": safetensors(tune(base, 2)), "README.md": b"# tuned\n" * 9},
    }


def make_tuned_channel(root: Path, packages: dict[str, dict[str, bytes]] | None = None) -> Made:
    """Capture packages of which all but the first are deltas against that, and release them."""
    packages = packages or standard_packages()
    home = Home(root / "maintainer")
    init_keys(home.keys, None)
    manifests = {}
    with Store.open(home.store, write=True) as store:
        base = next(iter(packages))
        for name, files in packages.items():
            bases = stored_files(store, packages[base]) if name != base else ()
            manifests[name] = capture(store, root, name, files, bases=bases)
            store.seal()
    made = release(FIRST, home, load_keys(home.keys, lambda: None), clock=clock, emit=ignore)
    return Made(home=home, release=made, packages=packages, manifests=manifests)


def stored_files(store: Store, files: Files) -> tuple:  # type: ignore[type-arg]  # of stored files
    found = (store.known_file(f"blake3:{blake3(data).hexdigest()}") for data in files.values())
    return tuple(file for file in found if file is not None)


def entries(made: Made) -> Iterator[tuple[PackId, Entry]]:
    """Every object of every pack of the channel."""
    for path in sorted(made.folder.rglob("*.pack")):
        with open_pack(path) as reader:
            for entry in reader.footer():
                yield PackId(path.stem), entry


def deltas(made: Made) -> dict[ObjectId, tuple[PackId, Entry]]:
    return {entry.id: (pack, entry) for pack, entry in entries(made) if entry.codec in DELTA_CODECS}


def bases(made: Made) -> dict[ObjectId, tuple[PackId, Entry]]:
    needed = {entry.base for _, entry in deltas(made).values()}
    return {entry.id: (pack, entry) for pack, entry in entries(made) if entry.id in needed}


def _bf16(numbers: np.ndarray) -> bytes:  # type: ignore[type-arg]  # of floats
    return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
