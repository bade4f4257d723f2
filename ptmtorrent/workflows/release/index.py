"""Writes the index of a release: a run of rows in shards, the frames of documents, the tree, the subsets' members.

::

    index/rows.bin        shards of rows, by hash prefix
    index/documents.bin   frames: by shard, the members of `popular` first, then by name
    index/tree.bin        hashes of buckets and shards
    subsets/popular.txt   names; a subset with every package has no file
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from blake3 import blake3

from ptmtorrent.channel.paths import DOCUMENTS_FILE, ROWS_FILE, TREE_FILE, subset_path
from ptmtorrent.disk import durable
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.members import (
    Frame,
    MemberRow,
    RunShards,
    bucket_bits_for,
    encode_shard,
    encode_tree,
    hash_members,
    members_root,
    prefix_of,
    shard_bits_for,
    spell_names,
)
from ptmtorrent.model.release import FileRef, RunRef


class WrittenIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The files of an index, and the root of its members."""

    runs: tuple[RunRef, ...]
    tree: FileRef
    members_root: str


class ReleaseFolder(msgspec.Struct, frozen=True, kw_only=True):
    """The folder in which a release is written, and the path in the channel that it has once it is renamed."""

    path: Path
    channel_path: str

    def write(self, name: str, data: bytes) -> FileRef:
        """Write `data` as the file `name` of the folder, durably, and return the reference to it."""
        durable.write_file(self.path / name, data)
        return self._ref(name, len(data), blake3(data).hexdigest())

    def refer(self, name: str) -> FileRef:
        """Return the reference to a file that was written."""
        path = self.path / name
        with durable.disk_errors(path):
            return self._ref(name, path.stat().st_size, blake3().update_mmap(path).hexdigest())

    def _ref(self, name: str, size: int, digest: str) -> FileRef:
        return FileRef(path=f"{self.channel_path}/{name}", size=size, blake3=digest)


class DocumentWriter:
    """Collects frames in a temporary file; `finish` writes them in the order in which readers want them.

    The file is deleted when the context is left.
    """

    def __init__(self, folder: ReleaseFolder) -> None:
        self._folder = folder
        self._path = folder.path / f"{DOCUMENTS_FILE}.unsorted"
        durable.ensure_dir(self._path.parent)
        with durable.disk_errors(self._path):
            self._file = self._path.open("wb+")
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, frame: bytes) -> Frame:
        """Add a frame; return its place in the temporary file."""
        place = Frame(file=0, offset=self._end, length=len(frame), blake3=blake3(frame).hexdigest())
        with durable.disk_errors(self._path, len(frame)):
            self._file.write(frame)
        self._end += len(frame)
        return place

    def finish(self, rows: Sequence[MemberRow]) -> tuple[list[MemberRow], FileRef]:
        """Write the frames of `rows` in this order, durably; return the rows with their places, and the file."""
        placed: list[MemberRow] = []
        at = 0
        target = self._folder.path / DOCUMENTS_FILE
        with durable.disk_errors(target), target.open("wb") as file:
            for row in rows:
                frame = row.frame
                if frame is None:
                    continue
                self._file.seek(frame.offset)
                file.write(self._file.read(frame.length))
                placed.append(msgspec.structs.replace(row, frame=msgspec.structs.replace(frame, offset=at)))
                at += frame.length
        durable.publish_file(target, target)
        return placed, self._folder.refer(DOCUMENTS_FILE)


def write_index(
    folder: ReleaseFolder,
    documents: DocumentWriter,
    rows: Sequence[MemberRow],
    is_popular: Callable[[PackageName], bool],
) -> WrittenIndex:
    """Write the run of `rows`, their documents and the tree, durably."""
    buckets = bucket_bits_for(len(rows))
    bits = min(shard_bits_for(len(rows)), buckets)
    ordered = sorted(rows, key=lambda row: (prefix_of(row.package, bits), not is_popular(row.package), row.package))
    placed, documents_ref = documents.finish(ordered)
    shards: list[list[MemberRow]] = [[] for _ in range(1 << bits)]
    for row in placed:
        shards[prefix_of(row.package, bits)].append(row)
    encoded = [encode_shard(shard) for shard in shards]
    run = RunRef(
        level=0,
        bits=bits,
        rows=len(rows),
        index=folder.write(ROWS_FILE, b"".join(encoded)),
        documents=(documents_ref,),
    )
    hashes = hash_members(placed, buckets)
    listed = RunShards(
        lengths=tuple(map(len, encoded)),
        hashes=tuple(blake3(shard).hexdigest() for shard in encoded),
    )
    tree = folder.write(TREE_FILE, encode_tree(hashes, [listed]))
    return WrittenIndex(runs=(run,), tree=tree, members_root=members_root(hashes))


def write_subset(folder: ReleaseFolder, name: str, packages: Sequence[PackageName]) -> FileRef:
    """Write the names of the members of the subset `name`, durably."""
    return folder.write(subset_path(name), spell_names(packages))
