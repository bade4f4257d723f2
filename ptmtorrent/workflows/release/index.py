"""Writes the index of a release: at most one run of rows in shards, the frames of documents, the tree, the subsets.

::

    index/rows.bin        shards of rows, by hash prefix: what changed, and the newest rows of the runs it replaces
    index/documents.bin   frames: by shard, the members of `popular` first, then by name
    index/tree.bin        hashes of buckets and shards
    subsets/popular.txt   names; a subset with every package has no file

A file that would be that of the previous release is not written again: it is listed where it lies.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from blake3 import blake3

from ptmtorrent.catalogue.runs import EarlierRuns, Place
from ptmtorrent.channel.paths import DOCUMENTS_FILE, ROWS_FILE, TREE_FILE, subset_path
from ptmtorrent.disk import durable
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.levels import MAX_RUN_FILES, Merge, RunState, plan_merge
from ptmtorrent.model.members import (
    Frame,
    MemberRow,
    RunShards,
    bucket_bits_for,
    decode_tree,
    encode_shard,
    encode_tree,
    members_root,
    prefix_of,
    removal,
    shard_bits_for,
    spell_names,
)
from ptmtorrent.model.release import FileRef, Release, RunRef


class WrittenIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The files of an index, and the root of its members.

    `kept` are the runs of the previous release that are listed again, by number; `taken` has the packages whose rows
    the new run took from each of the others. `removed` are the packages that the new run removes.
    """

    runs: tuple[RunRef, ...]
    tree: FileRef
    members_root: str
    kept: tuple[int, ...]
    taken: Mapping[int, Collection[PackageName]]
    removed: tuple[PackageName, ...]
    has_new: bool


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """How the members differ from those of the previous release.

    `fresh` are rows whose frames lie in the temporary file of documents. `gone` are no members any more; of these,
    `named` may be named by a release. `refused` are runs with a row that may not be passed on any more.
    """

    fresh: Mapping[PackageName, MemberRow]
    gone: frozenset[PackageName]
    named: frozenset[PackageName]
    refused: frozenset[int]
    members: int


class ReleaseFolder(msgspec.Struct, frozen=True, kw_only=True):
    """The folder in which a release is written, and the path in the channel that it has once it is renamed.

    `before` are the files that the previous release lists: one of them with the same bytes is not written again.
    """

    path: Path
    channel_path: str
    before: tuple[FileRef, ...] = ()

    def write(self, name: str, data: bytes) -> FileRef:
        """Return the reference to a file with `data`: an earlier file, or `name` of the folder, written durably."""
        digest = blake3(data).hexdigest()
        for file in self.before:
            if (file.size, file.blake3) == (len(data), digest) and file.path.endswith(f"/{name}"):
                return file
        durable.write_file(self.path / name, data)
        return self._ref(name, len(data), digest)

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

    def __init__(self, folder: ReleaseFolder, channel: Path) -> None:
        self._folder = folder
        self._channel = channel
        self._source: tuple[str, int] | None = None
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
        self._close_source()
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, frame: bytes) -> Frame:
        """Add a frame; return its place in the temporary file."""
        place = Frame(file=0, offset=self._end, length=len(frame), blake3=blake3(frame).hexdigest())
        with durable.disk_errors(self._path, len(frame)):
            self._file.write(frame)
        self._end += len(frame)
        return place

    def copy(self, file: str, frame: Frame, package: PackageName) -> Frame:
        """Add the frame of `package` that lies in a file of the channel, without decoding it; return its place.

        Raises:
            IntegrityError: it has other bytes than its row says.
            StoreError: it cannot be read or written.
        """
        path = self._channel / file
        with durable.disk_errors(path):
            if self._source is None or self._source[0] != file:
                self._close_source()
                self._source = file, durable.open_regular(path)
            data = durable.read_at(self._source[1], frame.offset, frame.length)
        if blake3(data).hexdigest() != frame.blake3:
            raise IntegrityError(
                f"`{path}` has wrong bytes for `{package}`",
                hint=f"copy `{file}` back from a place that has the channel, then run the same command again",
            )
        return self.add(data)

    def finish(self, frames: Sequence[Frame]) -> tuple[list[Frame], FileRef | None]:
        """Write frames of the temporary file in this order, durably, as file 0; return their places, and it if any."""
        if not frames:
            return [], None
        placed: list[Frame] = []
        at = 0
        target = self._folder.path / DOCUMENTS_FILE
        with durable.disk_errors(target), target.open("wb") as file:
            for frame in frames:
                self._file.seek(frame.offset)
                file.write(self._file.read(frame.length))
                placed.append(msgspec.structs.replace(frame, offset=at))
                at += frame.length
        durable.publish_file(target, target)
        return placed, self._folder.refer(DOCUMENTS_FILE)

    def _close_source(self) -> None:
        if self._source is not None:
            os.close(self._source[1])
            self._source = None


class _Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the new run: its frame lies in the temporary file, or in an earlier `file`."""

    row: MemberRow
    frame: Frame
    file: FileRef | None = None


def write_index(
    folder: ReleaseFolder,
    documents: DocumentWriter,
    before: EarlierRuns,
    changes: Changes,
    popular: Collection[PackageName],
) -> WrittenIndex:
    """Write the new run of a release, unless nothing changed, and the tree, durably; `before` are the earlier runs.

    Raises:
        IntegrityError: a file of the previous release is damaged.
        StoreError: something cannot be read or written.
    """
    buckets = bucket_bits_for(changes.members)
    plan = _plan(before, changes, buckets)
    removed = _removed(before, changes, plan)
    placed = [*_fresh(changes), *_taken_over(documents, before, plan)]
    runs = [before.refs[number] for number in plan.kept]
    shards = [] if before.tree is None else [before.tree.runs[number] for number in plan.kept]
    if placed or removed:
        listed, files = _write_documents(documents, placed, popular, min(shard_bits_for(len(placed)), buckets))
        rows = [*listed, *map(removal, removed)]
        encoded = _encode_shards(rows, min(shard_bits_for(len(rows)), buckets))
        shards.append(RunShards(lengths=tuple(map(len, encoded)), hashes=tuple(map(_hash, encoded))))
        runs.append(
            RunRef(
                level=plan.merge.level or 0,
                bits=shards[-1].bits,
                rows=len(rows),
                index=folder.write(ROWS_FILE, b"".join(encoded)),
                documents=files,
            )
        )
    hashes = before.hash_buckets(buckets, changes.fresh, changes.gone)
    return WrittenIndex(
        runs=tuple(runs),
        tree=folder.write(TREE_FILE, _encode_tree(hashes, shards)),
        members_root=members_root(hashes),
        kept=plan.kept,
        taken={number: frozenset(package for package, _ in found) for number, found in plan.taken.items()},
        removed=removed,
        has_new=bool(placed or removed),
    )


def unchanged_index(previous: Release) -> WrittenIndex:
    """Return the index of a release in which nothing changed since the previous one."""
    return WrittenIndex(
        runs=previous.runs,
        tree=previous.tree,
        members_root=previous.members_root,
        kept=tuple(range(len(previous.runs))),
        taken={},
        removed=(),
        has_new=False,
    )


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a new run replaces.

    `kept` are the runs that stay. Of each other run, `taken` has the rows that the new run takes; documents of those in
    `copied` are copied.
    """

    merge: Merge
    kept: tuple[int, ...]
    taken: dict[int, list[tuple[PackageName, Place]]]
    copied: frozenset[int]


def _plan(before: EarlierRuns, changes: Changes, buckets: int) -> _Plan:
    """Return the plan of a release with 2**`buckets` buckets; a run in more shards is replaced.

    Documents are listed where they lie only if every frame of their file still has a row.
    """
    counts = before.newest_counts({*changes.fresh, *changes.gone})
    states = [
        RunState(
            level=run.level,
            rows=run.rows,
            newest=counts[number],
            refused=number in changes.refused or run.bits > buckets,
        )
        for number, run in enumerate(before.refs)
    ]
    merge = plan_merge(states, len(changes.fresh) + len(changes.named))
    taken: dict[int, list[tuple[PackageName, Place]]] = {number: [] for number in sorted(merge.replaced)}
    if taken:
        for package, place in before.members():
            if place.run in taken and package not in changes.fresh and package not in changes.gone:
                taken[place.run].append((package, place))
    copied = {number for number in taken if number in changes.refused or counts[number] < states[number].rows}
    if sum(len(before.refs[number].documents) for number in taken if number not in copied) >= MAX_RUN_FILES:
        copied = set(taken)
    kept = tuple(number for number in range(len(states)) if number not in taken)
    return _Plan(merge=merge, kept=kept, taken=taken, copied=frozenset(copied))


def _removed(before: EarlierRuns, changes: Changes, plan: _Plan) -> tuple[PackageName, ...]:
    """Return the packages that the new run must remove: those that a run that stays still has."""
    names = {*changes.named, *before.removed_in(plan.taken)} - changes.fresh.keys()
    return tuple(sorted(name for name in names if any(before.has(run, name) for run in plan.kept)))


def _fresh(changes: Changes) -> Iterator[_Placed]:
    return (_Placed(row=row, frame=row.frame) for row in changes.fresh.values() if row.frame is not None)


def _taken_over(documents: DocumentWriter, before: EarlierRuns, plan: _Plan) -> Iterator[_Placed]:
    """Yield the rows that the new run takes, in the order of their documents."""
    found = [(before.row(place), place.run) for rows in plan.taken.values() for _, place in rows]
    for file, frame, row, run in sorted(
        ((before.documents(run, row), row.frame, row, run) for row, run in found if row.frame is not None),
        key=lambda each: (each[0].path, each[1].offset),
    ):
        if run in plan.copied:
            yield _Placed(row=row, frame=documents.copy(file.path, frame, row.package))
        else:
            yield _Placed(row=row, frame=frame, file=file)


def _write_documents(
    documents: DocumentWriter, placed: Sequence[_Placed], popular: Collection[PackageName], bits: int
) -> tuple[list[MemberRow], tuple[FileRef, ...]]:
    """Write the frames that are not in an earlier file; return the rows with their places, and all files."""
    popular = frozenset(popular)

    def order(each: _Placed) -> tuple[int, bool, PackageName]:
        package = each.row.package
        return prefix_of(package, bits), package not in popular, package

    own = sorted((each for each in placed if each.file is None), key=order)
    frames, written = documents.finish([each.frame for each in own])
    earlier = sorted({each.file for each in placed if each.file is not None}, key=lambda file: file.path)
    files = (*([written] if written else []), *earlier)
    number = {file: row for row, file in enumerate(files)}
    rows = [msgspec.structs.replace(each.row, frame=frame) for each, frame in zip(own, frames, strict=True)]
    rows += [
        msgspec.structs.replace(each.row, frame=msgspec.structs.replace(each.frame, file=number[each.file]))
        for each in placed
        if each.file is not None
    ]
    return rows, files


def _encode_shards(rows: Sequence[MemberRow], bits: int) -> list[bytes]:
    shards: list[list[MemberRow]] = [[] for _ in range(1 << bits)]
    for row in rows:
        shards[prefix_of(row.package, bits)].append(row)
    return [encode_shard(shard) for shard in shards]


def _encode_tree(buckets: Sequence[bytes], shards: Sequence[RunShards]) -> bytes:
    """Return the tree, if a reader will accept it."""
    data = encode_tree(buckets, shards)
    decode_tree(data, TREE_FILE)
    return data


def _hash(data: bytes) -> str:
    return blake3(data).hexdigest()


def write_subset(folder: ReleaseFolder, name: str, packages: Iterable[PackageName]) -> FileRef:
    """Return the file of the names of the members of the subset `name`, written durably unless it was before."""
    return folder.write(subset_path(name), spell_names(packages))
