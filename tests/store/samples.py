"""Small files and stores for tests, identical in every run."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from blake3 import blake3

from ptmtorrent.model.ids import ObjectId, PackageName, SnapshotId
from ptmtorrent.model.manifest import Capture, FileEntry, Identity, encode_manifest, new_manifest
from ptmtorrent.store.pack.format import Entry, ObjectKind, PackClass
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.store.pack.writer import Part, new_part, reopen_part
from ptmtorrent.store.recovery.recheck import good_entries, has_header
from ptmtorrent.store.store import Expected, Store, StoredFile

META = PackClass("meta", "open")
WEIGHTS = PackClass("weights-hot", "open")
GATED = PackClass("weights-hot", "gated")


def numbers(count: int, seed: int = 1) -> np.ndarray:
    """Normally distributed weights, as models have them."""
    return np.random.default_rng(seed).standard_normal(count, dtype=np.float32) * np.float32(0.02)


def bf16(count: int, seed: int = 1) -> bytes:
    return (numbers(count, seed).view(np.uint32) >> 16).astype("<u2").tobytes()


def random_bytes(count: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(count)


def safetensors(tensors: Mapping[str, tuple[str, list[int], bytes]]) -> bytes:
    """A well-formed file of `{name: (dtype, shape, bytes)}`."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    return with_header(json.dumps(header).encode(), b"".join(data for _, _, data in tensors.values()))


def with_header(header: bytes, body: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def git_oid(data: bytes) -> str:
    return "git:" + hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324  # git's own hash


def sha256_oid(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def add_bytes(store: Store, folder: Path, name: str, data: bytes, pack_class: PackClass = WEIGHTS) -> StoredFile:
    path = folder / "incoming"
    path.write_bytes(data)
    return store.add_file(path, name, Expected(len(data), git_oid(data)), pack_class)


def add_package(store: Store, package: str, files: Mapping[str, StoredFile], captured: str) -> SnapshotId:
    """Put the manifest and the capture of a package made of `files`."""
    table = sorted({item for file in files.values() for item in file.objects})
    row = {identifier: index for index, (identifier, _) in enumerate(table)}
    entries = tuple(
        FileEntry(
            path=path,
            mode=0o100644,
            size=file.size,
            source="git",
            blake3=file.blake3,
            sha256=file.sha256,
            git_sha1=file.git_sha1,
            cutter=file.cutter,
            recipe=tuple((row[identifier], 1) for identifier, _ in file.objects),
        )
        for path, file in files.items()
    )
    manifest = new_manifest(Identity(hub="hf", name=package, commit="c" * 40), entries, tuple(table))
    data, snapshot = encode_manifest(manifest)
    store.put(data, kind="manifest", pack_class=META)
    store.add_capture(capture(package, snapshot, captured))
    return snapshot


def capture(package: str, snapshot: SnapshotId, captured: str = "2026-11-20T12:00:00Z") -> Capture:
    return Capture(
        format=Capture.FORMAT,
        version=Capture.VERSION,
        requires=(),
        package=PackageName(f"hf:{package}"),
        snapshot=snapshot,
        captured=captured,
        listed=captured,
        rights="open",
    )


def append(part: Part, data: bytes, codec: int = 0, payload: bytes | None = None, kind: ObjectKind = "data") -> Entry:
    """Write an object to a part, raw unless a payload is given."""
    stored = data if payload is None else payload
    draft = Entry(id=name_of(data), offset=0, stored=len(stored), raw=len(data), codec=codec, kind=kind)
    return part.append(draft, [stored])


def reopen(path: Path, pack_class: PackClass = META) -> Part:
    """Continue a part after its last whole record."""
    with open_pack(path) as reader:
        if not has_header(reader, pack_class):
            return new_part(path, pack_class)
        (entries,) = good_entries([reader], lambda _: None)
        return reopen_part(reader, pack_class, entries)


def name_of(data: bytes) -> ObjectId:
    return ObjectId(blake3(data).hexdigest())


@contextmanager
def writing(root: Path) -> Iterator[Store]:
    with Store.open(root, write=True) as store:
        yield store


@contextmanager
def reading(root: Path) -> Iterator[Store]:
    with Store.open(root) as store:
        yield store


def whole(store: Store, objects: tuple[tuple[ObjectId, int], ...]) -> bytes:
    return b"".join(store.read(identifier) for identifier, _ in objects)
