"""What the faults are let loose on: packages that are stored step by step, and what must be there after each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import files_in
from ptmtorrent.errors import PtmError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId, object_id
from ptmtorrent.model.manifest import Capture
from ptmtorrent.model.records import Result
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.format import Entry, PackClass
from ptmtorrent.store.pack.hashes import read_sidecar
from ptmtorrent.store.pack.reader import pack_in, packs_on_disk
from ptmtorrent.store.store import Expected, Store, StoredFile
from ptmtorrent.workflows.maintain.check import check as check_store
from tests.store.samples import META, WEIGHTS, add_package, bf16, name_of, random_bytes, safetensors, sha256_oid

COLD = PackClass("weights-cold", "open")
NUMBERS = 40_000
"""Of one tensor: enough for a sketch, so that a later version becomes a delta."""

LOOSE_STEP = 1
"""The step that stores a file and no manifest that would tell of it."""

Contents = dict[str, object]


@dataclass(frozen=True)
class Step:
    """What is committed at once: files by name (and the file each is a later version of), an object, a capture."""

    files: dict[str, bytes] = field(default_factory=dict)
    base: str | None = None
    loose: bytes | None = None
    package: str | None = None
    captured: str = "2026-11-20T12:00:00Z"


class World:
    """Packages and their files, which lie in `folder`; equal for equal seeds. Two worlds share a small file."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.steps = _steps(seed)
        for number, step in enumerate(self.steps):
            for name, data in step.files.items():
                path = self._path(number, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def take(self, store: Store, number: int) -> None:
        """Store what belongs to a step; it is not committed."""
        step = self.steps[number]
        files = {name: self._add(store, number, name) for name in step.files}
        if step.loose is not None:
            store.put(step.loose, kind="answer", pack_class=META)
        if step.package is not None:
            add_package(store, step.package, files, step.captured)

    def check_kept(self, store: Store, numbers: Sequence[int]) -> list[str]:
        """Say what is lost or wrong of the committed steps `numbers`."""
        problems = []
        packages = {str(capture.package) for capture in store.captures()}
        for number in numbers:
            step = self.steps[number]
            for name, data in step.files.items():
                problems += _check_file(store, f"{name} of step {number}", data)
            if step.loose is not None and not _reads(store, step.loose):
                problems.append(f"lost: the object of step {number}")
            if step.package is not None and f"hf:{step.package}" not in packages:
                problems.append(f"lost: the capture of step {number}")
        return problems

    def _add(self, store: Store, number: int, name: str) -> StoredFile:
        step = self.steps[number]
        known = store.known_file(sha256_oid(self._bytes_of(step.base))) if step.base else None
        data = step.files[name]
        expected = Expected(len(data), sha256_oid(data))
        bases = [known] if known is not None else []
        return store.add_file(self._path(number, name), name, expected, WEIGHTS, bases=bases)

    def _bytes_of(self, name: str) -> bytes:
        return next(step.files[name] for step in self.steps if name in step.files)

    def _path(self, number: int, name: str) -> Path:
        return self.folder / str(number) / name


def _steps(seed: int) -> tuple[Step, ...]:
    numbers = bf16(NUMBERS, 1000 + seed)
    tuned = bytes(numbers[:60_000]) + bf16(NUMBERS, 2000 + seed)[60_000:60_200] + bytes(numbers[60_200:])
    config = json.dumps({"model_type": "bert"}).encode()
    first = safetensors({"a": ("BF16", [NUMBERS], numbers), "b": ("BF16", [100], bf16(100, 5 + seed))})
    second = safetensors({"a": ("BF16", [NUMBERS], tuned), "b": ("BF16", [100], bf16(100, 6 + seed))})
    base = f"org/base-{seed}"
    return (
        Step(files={f"base-{seed}.safetensors": first, "config.json": config}, package=base),
        Step(files={f"loose-{seed}.bin": random_bytes(30_000, 10 + seed)}),
        Step(files={f"tuned-{seed}.safetensors": second}, base=f"base-{seed}.safetensors", package=f"org/tuned-{seed}"),
        Step(
            files={"config.json": config},
            loose=random_bytes(5_000, 20 + seed),
            package=base,
            captured="2026-11-21T12:00:00Z",
        ),
    )


def store_superseded(home: Home, folder: Path) -> None:
    """Store and seal a package in a class of its own whose newest capture needs none of its weights."""
    with Store.open(home.store, write=True) as store:
        for day, name, data in ((20, "old.bin", random_bytes(20_000, 77)), (21, "small.json", b"{}")):
            path = folder / name
            path.write_bytes(data)
            file = store.add_file(path, name, Expected(len(data), sha256_oid(data)), COLD if day == 20 else META)
            add_package(store, "org/old", {name: file}, f"2026-11-{day}T12:00:00Z")
        store.seal()


def contents(home: Home, worlds: Sequence[World]) -> Contents:
    """Return what the store of `home` holds, wherever it lies: objects (all read), known files, captures."""
    with Store.open(home.store) as store:
        entries = sorted({_unnumbered(entry, store.read(entry.id)) for entry in _entries(store)})
        files = {
            name: store.known_file(sha256_oid(data)) is not None
            for world in worlds
            for step in world.steps
            for name, data in step.files.items()
        }
        captures = [(str(one.package), str(one.snapshot), one.captured) for one in store.captures()]
    return {"objects": entries, "files": files, "captures": captures}


def unsealed(home: Home) -> list[str]:
    """Say which parts are no sealed packs, and which packs have no hashes kept, whatever the index says."""
    packs = [pack_in(home.store, pack) for pack in packs_on_disk(home.store)]
    parts = files_in(home.store / "open", "*.part")
    loose = [f"lost: {part.name} is not sealed" for part in parts if not any(map(part.samefile, packs))]
    bare = [f"lost: the hashes of {pack.stem}" for pack in packs if read_sidecar(home.store, PackId(pack.stem)) is None]
    return [*loose, *bare]


def check_clean(home: Home) -> list[str]:
    """Say what `store check --data` finds wrong."""
    said: list[object] = []
    try:
        checked = check_store(home, "data", emit=said.append, stop=Stop())
    except PtmError as error:
        return [f"bad: check refused: {error.message}"]
    errors = [one.reason for one in said if isinstance(one, Result) and one.status == "error"]
    return [f"bad: {reason}" for reason in errors] if checked.summary.failed else []


def _entries(store: Store) -> list[Entry]:
    containers = (*store.packs(), *store._index.parts())
    return [entry for container in containers for entry in store._index.entries(container)]


def _unnumbered(entry: Entry, data: bytes) -> ObjectId:
    """Return the id of an object; of a capture the id without its number, which a second run makes higher."""
    if entry.kind != "capture":
        return entry.id
    capture = canonical.decode(data, Capture, name="a capture")
    return object_id(canonical.encode(msgspec.structs.replace(capture, sequence=None)))


def _check_file(store: Store, name: str, data: bytes) -> list[str]:
    file = store.known_file(sha256_oid(data))
    if file is None:
        return [f"lost: {name}"]
    try:
        same = b"".join(store.read(identifier) for identifier, _ in file.objects) == data
    except PtmError as error:
        return [f"lost: {name}: {error.message}"]
    return [] if same else [f"bad: {name} has other bytes"]


def _reads(store: Store, data: bytes) -> bool:
    try:
        return store.read(name_of(data)) == data
    except PtmError:
        return False
