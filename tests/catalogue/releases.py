"""Releases of one or two runs, built from their documentation, and a channel that has them in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from blake3 import blake3

from ptmtorrent.catalogue.index import describe_members, encode_documents
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackageName, ReleaseName, SnapshotId
from ptmtorrent.model.manifest import encode_manifest
from ptmtorrent.model.members import (
    Frame,
    MemberRow,
    RunShards,
    encode_shard,
    encode_tree,
    members_root,
    prefix_of,
    spell_names,
)
from ptmtorrent.model.placement import Form, Location, encode_placement
from ptmtorrent.model.release import (
    FileRef,
    Member,
    Release,
    RunRef,
    SubsetRef,
    Totals,
    content_root,
    decode_release,
    placement_root,
)
from tests.model.generated import hash_members, hex64, manifest_of

BITS = 2
NAMES = [f"hf:many/{number:02}" for number in range(40)]
NAMES_LEFT = sorted({*NAMES, "hf:one/more"} - {NAMES[1]})
"""The members of the fixture `release`."""


@dataclass
class Files:
    """The files of a channel, and the requests for them."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    location: str = "memory"

    def read(self, path: str, *, limit: int) -> bytes:
        data = self._find(path)
        self.asked.append((path, len(data)))
        assert len(data) <= limit
        return data

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        data = self._find(path)
        if offset + length > len(data):
            raise IntegrityError(f"`{path}` ends early")
        self.asked.append((path, length))
        return data[offset : offset + length]

    def _find(self, path: str) -> bytes:
        if path not in self.files:
            raise NotFound(f"no `{path}`")
        return self.files[path]

    def put(self, path: str, data: bytes) -> FileRef:
        self.files[path] = data
        return FileRef(path=path, size=len(data), blake3=blake3(data).hexdigest())


def documents_of(name: str, text: str) -> tuple[MemberRow, bytes]:
    """A package of one file with `text`, and the frame of its documents."""
    manifest = manifest_of(name, [("config.json", text.encode())])
    data, snapshot = encode_manifest(manifest)
    at = Location(pack=hex64("pack"), pack_size=1 << 20, offset=0, length=len(text), codec=0)  # type: ignore[arg-type]
    placement = encode_placement(snapshot, [[Form(at=at)]])
    row = MemberRow(
        package=PackageName(name),
        snapshot=snapshot,
        facts=hex64(f"facts of {name} {text}"),
        manifest_size=len(data),
        placement_size=len(placement),
        files=1,
        raw=len(text),
        frame=None,
    )
    return row, encode_documents(data, placement)


def removal(name: str) -> MemberRow:
    return MemberRow(
        package=PackageName(name),
        snapshot=SnapshotId("0" * 64),
        facts="0" * 64,
        manifest_size=0,
        placement_size=0,
        files=0,
        raw=0,
        frame=None,
    )


def put_run(files: Files, number: int, rows: Sequence[MemberRow], bits: int) -> tuple[RunRef, RunShards]:
    shards = [
        encode_shard([row for row in rows if prefix_of(row.package, bits) == shard]) for shard in range(1 << bits)
    ]
    documents = FileRef(path=f"releases/r{number}/index/documents.bin", size=0, blake3="0" * 64)
    ref = RunRef(
        level=0,
        bits=bits,
        rows=len(rows),
        index=files.put(f"releases/r{number}/index/rows.bin", b"".join(shards)),
        documents=(msgspec.structs.replace(documents, size=len(files.files[documents.path])),),
    )
    hashes = tuple(blake3(shard).hexdigest() for shard in shards)
    return ref, RunShards(lengths=tuple(map(len, shards)), hashes=hashes)


def framed(files: Files, number: int, packages: dict[str, str]) -> list[MemberRow]:
    """Write the documents of `packages`, text by name; return their rows."""
    rows, frames = [], bytearray()
    for name, text in packages.items():
        row, frame = documents_of(name, text)
        place = Frame(file=0, offset=len(frames), length=len(frame), blake3=blake3(frame).hexdigest())
        rows.append(msgspec.structs.replace(row, frame=place))
        frames += frame
    files.put(f"releases/r{number}/index/documents.bin", bytes(frames))
    return rows


def release_of(files: Files, runs: Sequence[tuple[Sequence[MemberRow], int]], members: Sequence[MemberRow]) -> Release:
    put = [put_run(files, number, rows, bits) for number, (rows, bits) in enumerate(runs)]
    buckets = hash_members(members, BITS)
    tree = files.put("releases/r1/index/tree.bin", encode_tree(buckets, [shards for _, shards in put]))
    refs = tuple(ref for ref, _ in put)
    names = files.put("releases/r1/subsets/few.txt", spell_names([PackageName(name) for name in NAMES[:3]]))
    counts = {"packages": 1, "files": 1, "bytes": 1, "stored": 1, "packs_bytes": 1}
    subsets = (
        SubsetRef(name="all", query="all", **counts),
        SubsetRef(name="few", query="few", members=names, only=("config",), **counts),
    )
    name, root = ReleaseName("r1"), members_root(buckets)
    made = Release(
        format=Release.FORMAT,
        version=Release.VERSION,
        requires=(),
        name=name,
        sequence=2,
        created="2026-11-20T12:00:00Z",
        written_by="test",
        content_root=content_root(name, root, subsets),
        placement_root=placement_root(refs, tree, (), ()),
        members_root=root,
        runs=refs,
        tree=tree,
        tables=(),
        subsets=subsets,
        volumes=(),
        totals=Totals(packages=1, files=1, raw=1, stored=1, packs=0, packs_bytes=0),
    )
    return decode_release(canonical.encode(made))


def texts_of(members: Sequence[Member], files: Files) -> dict[str, int]:
    found = list(describe_members(members, files))
    assert not [each.error for each in found if each.error]
    return {each.member.package: each.manifest.size for each in found if each.manifest}
