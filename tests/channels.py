"""A real channel made in a maintainer's home, straight from its store, and what its packages hold."""

import hashlib
import json
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import msgspec

from ptmtorrent.model.ids import ObjectId, PackageName, ReleaseName
from ptmtorrent.model.manifest import (
    EXECUTABLE_MODE,
    REGULAR_MODE,
    Capture,
    FileEntry,
    Identity,
    Manifest,
    encode_manifest,
    new_manifest,
)
from ptmtorrent.model.records import Event as Record
from ptmtorrent.model.records import Note, PlanMade, Progress, Result, Summary, ignore
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Expected, Store, StoredFile
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.keys import init_keys, load_keys
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from ptmtorrent.workflows.release.release import release

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
RELEASE = ReleaseName("2026.11")
COMMIT = "c" * 40
EXECUTABLE = "run.py"

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Made:
    """A channel in `folder`, the root it is trusted by, and the bytes of every file of every package."""

    home: Home
    release: Release
    packages: dict[str, dict[str, bytes]]
    manifests: dict[str, Manifest] = field(repr=False)

    @property
    def folder(self) -> Path:
        return self.home.channel

    def trusted_by(self, home: Home, location: str) -> None:
        root = read_first_root(self.folder)
        Pins(home.trust).add(location, fingerprint(root), root)


class Heard:
    """Keeps what a workflow said."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def __call__(self, record: Record) -> None:
        self.records.append(record)

    @property
    def results(self) -> dict[str, Result]:
        return {record.id: record for record in self.records if isinstance(record, Result)}

    @property
    def plan(self) -> PlanMade:
        return next(record for record in self.records if isinstance(record, PlanMade))

    @property
    def warnings(self) -> list[str]:
        return [record.message for record in self.records if isinstance(record, Note) and record.warning]

    @property
    def progress(self) -> list[Progress]:
        return [record for record in self.records if isinstance(record, Progress) and record.step != "write"]


def whole_pack_sums(folder: Path) -> set[int]:
    """The bytes of each choice of packs of the channel at `folder`: what a plan of whole packs can move."""
    sizes = [path.stat().st_size for path in folder.rglob("*.pack")]
    return {sum(chosen) for count in range(1, len(sizes) + 1) for chosen in combinations(sizes, count)}


def clock() -> datetime:
    return NOW


def left_to_do(plan: PlanMade) -> PlanMade:
    """The plan without what it was made of: a later run reads metadata that it knows already."""
    return msgspec.structs.replace(plan, requests_to_plan=0, bytes_to_plan=0)


def fetch_from(
    location: Path | str,
    home: Home,
    request: FetchRequest,
    *,
    emit: Callable[[Record], None] = ignore,
    later: timedelta = timedelta(0),
) -> Summary:
    """Open the channel and fetch, as the verb does; both clocks are `later` when the fetch ends."""
    channel = open_channel(str(location), None, home, clock=clock, emit=emit)
    return fetch(
        request,
        channel,
        home,
        clock=lambda: clock() + later,
        emit=emit,
        stop=Stop(),
        uptime=lambda: ("boot", int(later.total_seconds())),
    )


def tensors(seed: int, *, count: int = 3, numbers: int = 60_000, dtype: str = "BF16") -> bytes:
    """A safetensors file of `count` tensors whose exponents are as uneven as those of trained weights."""
    source = random.Random(seed)
    width = {"BF16": 2, "F32": 4}[dtype]
    contents = {}
    for number in range(count):
        raw = bytearray(source.randbytes(numbers * width))
        raw[width - 1 :: width] = bytes(source.choices((0x3C, 0x3D, 0xBC, 0xBD), k=numbers))
        contents[f"layer.{number}"] = (dtype, bytes(raw))
    return safetensors(contents)


def safetensors(contents: Mapping[str, tuple[str, bytes]]) -> bytes:
    """Put tensors of one dimension, `(dtype, bytes)` by name, into a safetensors file."""
    header, offset = {}, 0
    for name, (dtype, raw) in contents.items():
        width = {"BF16": 2, "F32": 4}[dtype]
        header[name] = {"dtype": dtype, "shape": [len(raw) // width], "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(raw for _, raw in contents.values())


def standard_packages() -> dict[str, dict[str, bytes]]:
    """Small packages with what is awkward in one: shared and empty files, odd names, an executable, deep folders."""
    shared = b'{"model_type":"bert"}' * 40
    base = tensors(1)
    return {
        "hf:org/base": {"config.json": shared, "model.safetensors": base, "README.md": b"# base\n", "empty.txt": b""},
        "hf:org/tuned": {
            "config.json": shared,
            "copy of base.safetensors": base,
            "model.safetensors": tensors(2, dtype="F32"),
            EXECUTABLE: b"#!/usr/bin/env python\nprint()\n" * 9,
            "deep/er/\u540d\u524d #1?.json": b"{}\n" * 40,
        },
        "hf:solo": {"weights.bin": random.Random(3).randbytes(300_000)},
        "onnx:vision/x": {"x.onnx": random.Random(4).randbytes(200_000), "README.md": b"# x\n" * 30},
    }


def make_channel(root: Path, packages: Mapping[str, Files] | None = None) -> Made:
    """Capture `packages` (the standard ones where not given) in a home below `root`, and release them."""
    files = {name: dict(wanted) for name, wanted in (packages or standard_packages()).items()}
    home = Home(root / "maintainer")
    init_keys(home.keys, None)
    with Store.open(home.store, write=True) as store:
        manifests = {name: capture(store, root, name, wanted) for name, wanted in files.items()}
    made = release(RELEASE, home, load_keys(home.keys, lambda: None), clock=clock, emit=ignore)
    return Made(home=home, release=made, packages=files, manifests=manifests)


def capture(store: Store, scratch: Path, package: str, files: Files, *, bases: Sequence[StoredFile] = ()) -> Manifest:
    """Put one package into the store, as a clone does; `bases` are files that its own may be deltas against."""
    objects: dict[ObjectId, int] = {}
    entries = []
    for path, data in files.items():
        spooled = scratch / "spooled"
        spooled.write_bytes(data)
        weights = path.endswith((".safetensors", ".bin", ".onnx"))
        pack_class = PackClass("weights-hot" if weights else "meta", "open")
        stored = store.add_file(spooled, path, Expected(size=len(data), oid=None), pack_class, bases=bases)
        for identifier, size in stored.objects:
            objects.setdefault(identifier, size)
        order = {identifier: row for row, identifier in enumerate(objects)}
        entries.append(
            FileEntry(
                path=path,
                mode=EXECUTABLE_MODE if path == EXECUTABLE else REGULAR_MODE,
                size=stored.size,
                source="lfs" if weights else "git",
                blake3=stored.blake3,
                sha256=stored.sha256,
                git_sha1=None if weights else git_id(data),
                cutter=stored.cutter,
                recipe=tuple((order[identifier], 1) for identifier, _ in stored.objects),
            )
        )
    downloads = 3 if package.endswith(":solo") else 100
    return put_capture(store, package, COMMIT, tuple(entries), objects, downloads=downloads)


def put_capture(
    store: Store,
    package: str,
    commit: str,
    entries: tuple[FileEntry, ...],
    objects: Mapping[ObjectId, int],
    *,
    downloads: int | None = None,
) -> Manifest:
    """Put the manifest of a package whose objects are stored, and its capture, into the store."""
    hub, _, name = package.partition(":")
    manifest = new_manifest(Identity(hub=hub, name=name, commit=commit), entries, tuple(objects.items()))
    data, snapshot = encode_manifest(manifest)
    store.put(data, kind="manifest", pack_class=PackClass("meta", "open"))
    store.add_capture(
        Capture(
            format=Capture.FORMAT,
            version=Capture.VERSION,
            requires=(),
            package=PackageName(package),
            snapshot=snapshot,
            captured="2026-11-20T12:00:00Z",
            listed="2026-11-20T11:00:00Z",
            rights="open",
            licence="mit",
            downloads=downloads,
        )
    )
    return manifest


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def check_laid_out(root: Path, packages: Mapping[str, Files]) -> None:
    """Check that the plain folders below `root` hold exactly these packages."""
    expected = {
        root / package.replace(":", "/", 1) / path: data
        for package, files in packages.items()
        for path, data in files.items()
    }
    found = {path for path in root.rglob("*") if not path.is_dir()}
    assert found == set(expected)
    for path, data in expected.items():
        assert path.read_bytes() == data, path
