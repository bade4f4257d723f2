"""Makes packages of a few random bytes each through the store's own interface, as a clone stores what it captured."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from ptmtorrent.hubs.huggingface.records import read_listed
from ptmtorrent.hubs.port import Described, HubFile
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Identity, encode_manifest
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.workflows.clone.manifest import assemble, new_capture, put_answers, rights_in

PACKAGES_PER_COMMIT = 1000
MOMENT = "2026-11-20T12:00:00Z"
OBJECT_BYTES = 24
TINY = ("README.md", "config.json", "model.safetensors")
HEAVY = (
    *("README.md", "config.json", "tokenizer.json", "vocab.txt", "merges.txt", "generation_config.json"),
    *(f"model-{part}.safetensors" for part in range(4)),
)
OBJECTS_PER_FILE = {"tiny": 1, "heavy": 20}
MIXED_CYCLE = 7
"""In a mixed home one package in this many is heavy, and all of these are popular."""


def make(order: dict[str, Any]) -> None:
    """Add the packages `first` to `first + count` of homes of the shape `shape` to the store `store`."""
    with Store.open(Path(order["store"]), write=True) as store:
        for number in range(order["first"], order["first"] + order["count"]):
            add_package(store, order["shape"], number)
            if number % PACKAGES_PER_COMMIT == 0:
                store.commit()


def name_of(shape: str, number: int) -> str:
    """Return the name of a package on its hub; names are spread as those of a hub are."""
    return f"org-{hashlib.sha256(f'{shape} {number}'.encode()).hexdigest()[:8]}/{shape}-{number}"


def is_popular(shape: str, number: int) -> bool:
    """Return whether a package is popular: 1 in 20 tiny ones, 5 in 7 heavy ones, as on Hugging Face."""
    if shape == "mixed":
        return number % MIXED_CYCLE == 0
    return number % 20 == 0 if shape == "tiny" else number % 7 < 5


def add_package(store: Store, shape: str, number: int) -> None:
    """Store one package: its files, the hub's answer, its manifest and its capture.

    Raises:
        StoreError: the store cannot be written.
    """
    kind = shape if shape != "mixed" else "heavy" if is_popular(shape, number) else "tiny"
    source = random.Random(f"{shape} {number}")  # noqa: S311  # the same packages on every machine
    described = _describe(shape, number, source.randbytes)
    rights = rights_in(described.listed)
    weights = PackClass("weights-hot" if is_popular(shape, number) else "weights-cold", rights)
    stored: dict[str, tuple[HubFile, StoredFile]] = {}
    for path in HEAVY if kind == "heavy" else TINY:
        parts = [source.randbytes(OBJECT_BYTES) for _ in range(OBJECTS_PER_FILE[kind])]
        pack_class = weights if path.endswith(".safetensors") else PackClass("meta", rights)
        objects = tuple((store.put(part, pack_class=pack_class), len(part)) for part in parts)
        stored[path] = _file(path, b"".join(parts), objects)
    answers = put_answers(store, described.answers, rights)
    data, snapshot = encode_manifest(assemble(described, stored, answers))
    store.put(data, kind="manifest", pack_class=PackClass("meta", rights))
    store.add_capture(new_capture(described, snapshot, rights, captured=MOMENT, listed=MOMENT))


def _describe(shape: str, number: int, randbytes: Callable[[int], bytes]) -> Described:
    name, commit = name_of(shape, number), randbytes(20).hex()
    record = {
        "id": name,
        "sha": commit,
        "downloads": 1000 + number if is_popular(shape, number) else number % 50,
        "likes": number % 90,
        "pipeline_tag": "text-classification",
        "library_name": "transformers",
        "tags": ["pytorch", "safetensors", "license:mit"],
    }
    answer = msgspec.json.encode(record)
    listed = read_listed(answer)
    identity = Identity(hub="hf", name=name, commit=commit)
    return Described(identity=identity, listed=listed, answers=(("model_info", answer),))


def _file(path: str, data: bytes, objects: tuple[tuple[ObjectId, int], ...]) -> tuple[HubFile, StoredFile]:
    sha256 = hashlib.sha256(data).hexdigest()
    stored = StoredFile(
        size=len(data),
        blake3=blake3(data).hexdigest(),
        sha256=sha256,
        git_sha1=None,
        cutter="opaque/1",
        objects=objects,
    )
    return HubFile(path=path, size=len(data), oid=f"sha256:{sha256}", source="lfs"), stored
