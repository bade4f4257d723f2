"""The index of a release: finds members by name or subset, proven by their root, and reads their documents.

::

    release.json -> tree: hashes of buckets, and of the shards of each run -> shards -> rows -> members -> documents

A look-up by name reads the tree and one shard of each run. A subset reads all shards, several with one request.

The documents of a member are one compressed frame, of manifest and placement, read by a range of a file. Frames beside
each other are read with one request, and the next requests run while frames are decoded. A frame is proven by the hash
in its row, a manifest by the snapshot, which is its hash. `Documents` keeps frames while a fetch writes their files.
"""

import difflib
from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import Lock
from types import TracebackType
from typing import Self

import msgspec
from blake3 import blake3

from ptmtorrent.catalogue.member_list import MemberList, MemberListBuilder
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import IntegrityError, NoSource, NotFound, PtmError, StoreError, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackageName, SnapshotId, parse_package_name
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.model.members import (
    RunShards,
    ShardColumns,
    Tree,
    decode_columns,
    decode_tree,
    hash_parts,
    members_root,
    parse_names,
    prefix_of,
)
from ptmtorrent.model.placement import Placement, decode_placement
from ptmtorrent.model.plan import Extent
from ptmtorrent.model.release import FileRef, Member, Release
from ptmtorrent.store.codecs import streams

REQUEST_BYTES = 8 << 20
"""Limit of bytes per request that reads neighbouring shards."""

FRAMES_BYTES = 4 << 20
"""Limit of bytes per request that reads neighbouring frames; a longer frame is read alone."""

GAP_BYTES = 16 << 10
GAP_SHARE = 12
"""Frames are read with one request if what lies between them is at most 16 KiB, or one byte in 12 that are read."""

REQUESTS = 3
"""Requests for frames in flight, and replies that wait to be decoded."""

FRAME_OVERHEAD_BYTES = 1 << 10
"""Bytes by which a frame may be longer than what it holds."""

IN_MEMORY_BYTES = 8 << 20
"""Documents of more bytes are kept in a file without a name."""

DECODED = 64
"""Manifests that are kept decoded."""

MAX_SEARCHED_SHARDS = 16
"""In a release with more shards, near matches of an unknown name are searched only in the shards already read."""


def find_members(
    release: Release,
    reader: ChannelReader,
    packages: Sequence[str],
    subset: str | None,
    only: tuple[FileKind, ...],
) -> Sequence[Member]:
    """Return the named packages, then the members of the subset in the order of their documents, without duplicates.

    Raises:
        UsageError: neither a package nor a subset is given.
        NotFound: the release has no such package or subset; the hint has near matches.
        IntegrityError, TransportError: a shard could not be read.
    """
    if not packages and subset is None:
        raise UsageError("no packages were given", hint="name a package, or a subset: `--subset popular`")
    index = Index(release, reader)
    named = list({member.package: member for member in (index.find(name, only) for name in packages)}.values())
    return named if subset is None else _of_subset(index, subset, only).behind(named)


class Index:
    """The index of `release`, read through `reader`; the tree, and shards that were read for a name, are kept."""

    def __init__(self, release: Release, reader: ChannelReader) -> None:
        self.release = release
        self._reader = reader
        self._tree: Tree | None = None
        self._shards: dict[tuple[int, int], ShardColumns] = {}

    def find(self, name: str, only: tuple[FileKind, ...] = ()) -> Member:
        """Return the member `name`.

        Raises:
            NotFound: there is none; the hint has near matches.
            IntegrityError, TransportError: a shard could not be read.
        """
        package, tree = parse_package_name(name), self._read_tree()
        bucket = prefix_of(package, tree.bucket_bits)
        shards = [self._shard(run, bucket >> (tree.bucket_bits - tree.runs[run].bits)) for run in self._runs()]
        rows = [_rows_of(shard, tree.bucket_bits).get(bucket, []) for shard in shards]
        found = _newest(shards, rows)
        if _hash(shards, found) != tree.buckets[bucket]:
            raise self._wrong_members(f"bucket {bucket}")
        if package not in found:
            raise self._unknown(package)
        run, row = found[package]
        member = shards[run].row(row)
        documents = self.release.runs[run].documents[member.frame.file if member.frame else 0]
        return Member(row=member, documents=documents, only=only)

    def all(self, only: tuple[FileKind, ...] = ()) -> MemberList:
        """Return every member, in the order of the documents; each bucket is proven before the next shard is read.

        Raises:
            IntegrityError, TransportError: a shard could not be read.
        """
        tree = self._read_tree()
        bits = max((run.bits for run in tree.runs), default=0)
        found = MemberListBuilder(self.release.runs)
        runs = [self._by_prefix(run, bits) for run in self._runs()]
        for prefix in range(1 << bits):
            parts = [next(shards) for shards in runs]
            members = self._prove(prefix, bits, [shard for shard, _ in parts], [rows for _, rows in parts])
            for run, (shard, _) in enumerate(parts):
                found.add(run, shard, members[run])
        return found.finish(only)

    def _prove(
        self, prefix: int, bits: int, shards: Sequence[ShardColumns], rows: Sequence[dict[int, list[int]]]
    ) -> list[list[int]]:
        """Return the rows of each run that are members, of the buckets that begin with the `bits` bits of `prefix`.

        Raises:
            IntegrityError: they are not those of the content root.
        """
        tree = self._read_tree()
        step = 1 << (tree.bucket_bits - bits)
        members: list[list[int]] = [[] for _ in shards]
        for bucket in range(prefix * step, (prefix + 1) * step):
            found = _newest(shards, [of_run.get(bucket, []) for of_run in rows])
            if _hash(shards, found) != tree.buckets[bucket]:
                raise self._wrong_members(f"bucket {bucket}")
            for run, row in found.values():
                members[run].append(row)
        return members

    def read(self, ref: FileRef) -> bytes:
        """Return a file that the release lists."""
        return read_listed(self._reader, self.release, ref)

    def _runs(self) -> range:
        return range(len(self.release.runs))

    def _read_tree(self) -> Tree:
        if self._tree is None:
            ref = self.release.tree
            tree = decode_tree(self.read(ref), ref.path)
            if members_root(tree.buckets) != self.release.members_root:
                raise IntegrityError(f"`{ref.path}` lists other members than release `{self.release.name}`")
            if [run.bits for run in tree.runs] != [run.bits for run in self.release.runs]:
                raise IntegrityError(f"`{ref.path}` lists other runs than release `{self.release.name}`")
            for run, listed in zip(tree.runs, self.release.runs, strict=True):
                if sum(run.lengths) != listed.index.size:
                    raise IntegrityError(f"`{ref.path}` lists shards that `{listed.index.path}` cannot have")
            self._tree = tree
        return self._tree

    def _shard(self, run: int, shard: int) -> ShardColumns:
        if (run, shard) not in self._shards:
            shards = self._read_tree().runs[run]
            self._read_shards(run, shards, range(shard, shard + 1))
        return self._shards[run, shard]

    def _by_prefix(self, run: int, bits: int) -> Iterator[tuple[ShardColumns, dict[int, list[int]]]]:
        """Yield for each value of the leading `bits` bits the shard of a run, and its rows by bucket.

        Neighbouring shards take one request.
        """
        shards, bucket_bits = self._read_tree().runs[run], self._read_tree().bucket_bits
        for wanted in _requests(shards, REQUEST_BYTES // len(self.release.runs)):
            self._read_shards(run, shards, wanted)
            for shard in wanted:
                columns = self._shards.pop((run, shard))
                rows = _rows_of(columns, bucket_bits)
                for _ in range(1 << (bits - shards.bits)):
                    yield columns, rows

    def _read_shards(self, run: int, shards: RunShards, wanted: range) -> None:
        path = self.release.runs[run].index.path
        lengths = shards.lengths[wanted.start : wanted.stop]
        data = memoryview(self._reader.read_range(path, shards.offset(wanted.start), sum(lengths)))
        for shard, at, length in zip(wanted, accumulate(lengths, initial=0), lengths, strict=False):
            part = bytes(data[at : at + length])
            if blake3(part).hexdigest() != shards.hashes[shard]:
                raise IntegrityError(
                    f"`{path}` of channel `{self._reader.location}` is not the file that release"
                    f" `{self.release.name}` lists",
                    hint="use another mirror; this one is damaged",
                )
            self._shards[run, shard] = self._checked(run, decode_columns(part, path))

    def _checked(self, run: int, rows: ShardColumns) -> ShardColumns:
        """Refuse rows whose documents cannot be where they say, or cannot be that long."""
        listed = self.release.runs[run]
        sizes = [ref.size for ref in listed.documents]
        numbers = zip(rows.present.tolist(), *(column.tolist() for column in rows.numbers), strict=True)
        for name, (present, file, offset, length, manifest, placement, _, _) in zip(rows.names, numbers, strict=True):
            if max(manifest, placement) > canonical.MAX_DOCUMENT_BYTES:
                raise IntegrityError(f"`{listed.index.path}` states an implausible size for `{name}`")
            fits = file < len(sizes) and offset + length <= sizes[file]
            if present and not (fits and length <= manifest + placement + FRAME_OVERHEAD_BYTES):
                raise IntegrityError(f"`{listed.index.path}` states an implausible place for `{name}`")
        return rows

    def _wrong_members(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"the index of release `{self.release.name}` has other members than its content root covers ({what})",
            hint="use another mirror; this one is damaged",
        )

    def _unknown(self, name: PackageName) -> NotFound:
        if sum(1 << run.bits for run in self.release.runs) <= MAX_SEARCHED_SHARDS:
            known = sorted(member.package for member in self.all())
        else:
            known = sorted({name for rows in self._shards.values() for name in rows.names})
        folded = {package.casefold(): package for package in known}
        near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
        hint = (
            f"did you mean {', '.join(f'`{folded[match]}`' for match in near)}?"
            if near
            else "`ptmtorrent list` lists all packages"
        )
        return NotFound(f"release `{self.release.name}` has no package `{name}`", hint=hint)


def _requests(shards: RunShards, limit: int) -> Iterator[range]:
    """Yield the shards of a run, in order, as many at a time as `limit` bytes hold, and at least one."""
    first = size = 0
    for shard, length in enumerate(shards.lengths):
        if shard > first and size + length > limit:
            yield range(first, shard)
            first, size = shard, 0
        size += length
    yield range(first, len(shards.lengths))


def _of_subset(index: Index, name: str, only: tuple[FileKind, ...]) -> MemberList:
    subset = index.release.subset(name)
    kinds = tuple(kind for kind in only if kind in subset.only) if only and subset.only else only or subset.only
    if only and subset.only and not kinds:
        raise UsageError(
            f"subset `{name}` has only {', '.join(subset.only)}, and `--only` selects other kinds",
            hint="omit `--only`, or use another subset",
        )
    members = index.all(kinds)
    if subset.members is None:
        return members
    data = index.read(subset.members)
    if data.count(b"\n") > len(members):
        raise IntegrityError(f"`{subset.members.path}` has more lines than release `{index.release.name}` has members")
    names = set(parse_names(data, subset.members.path))
    chosen = members.choose(names)
    if len(chosen) != len(names):
        raise IntegrityError(f"`{subset.members.path}` names packages that release `{index.release.name}` lacks")
    return chosen


def _rows_of(shard: ShardColumns, bits: int) -> dict[int, list[int]]:
    """Return the rows of a shard by bucket, in order."""
    rows: dict[int, list[int]] = {}
    for row, name in enumerate(shard.names):
        rows.setdefault(prefix_of(name, bits), []).append(row)
    return rows


def _newest(shards: Sequence[ShardColumns], rows: Sequence[list[int]]) -> dict[PackageName, tuple[int, int]]:
    """Return run and row of each member: of several rows of one package, that of the last run.

    A row without a frame removes the package.
    """
    members: dict[PackageName, tuple[int, int]] = {}
    for run, (shard, of_run) in enumerate(zip(shards, rows, strict=True)):
        for row in of_run:
            if shard.is_member(row):
                members[shard.names[row]] = run, row
            else:
                members.pop(shard.names[row], None)
    return members


def _hash(shards: Sequence[ShardColumns], members: dict[PackageName, tuple[int, int]]) -> bytes:
    """Return the hash of a bucket with these members."""
    return hash_parts((name, shards[run].bucket_part(row)) for name, (run, row) in members.items())


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A member with its verified manifest and placement, and their frame; or the error that prevented reading them."""

    member: Member
    manifest: Manifest | None = None
    placement: Placement | None = None
    frame: memoryview = memoryview(b"")
    error: PtmError | None = None


def describe_members(members: Sequence[Member], reader: ChannelReader) -> Iterator[Described]:
    """Yield every member with its manifest and placement, in order."""
    groups = _groups(members)
    running: deque[tuple[list[Member], Extent, Future[bytes]]] = deque()
    pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="documents")
    try:
        while True:
            for group, extent in islice(groups, REQUESTS - len(running)):
                running.append((group, extent, pool.submit(_read, reader, group[0].documents.path, extent)))
            if not running:
                return
            yield from _describe(*running.popleft(), reader)
    finally:
        pool.shutdown(cancel_futures=True)


def encode_documents(manifest: bytes, placement: bytes) -> bytes:
    """Return the frame of a manifest and a placement."""
    return streams.shrink_general(memoryview(manifest + placement))


def _groups(members: Sequence[Member]) -> Iterator[tuple[list[Member], Extent]]:
    """Yield members whose frames one request reads, in order; little lies between the frames of a group."""
    group: list[Member] = []
    extent = Extent(offset=0, length=0)
    between = 0
    for member in members:
        own = _extent(member)
        both = Extent(offset=extent.offset, length=own.end - extent.offset)
        gap = own.offset - extent.end
        joins = (
            group
            and group[0].documents == member.documents
            and gap >= 0
            and between + gap <= max(GAP_BYTES, both.length // GAP_SHARE)
            and both.length <= FRAMES_BYTES
        )
        if group and not joins:
            yield group, extent
            group, between, gap = [], 0, 0
        between += gap if group else 0
        extent = both if joins else own
        group.append(member)
    if group:
        yield group, extent


def _extent(member: Member) -> Extent:
    frame = member.row.frame
    return Extent(offset=frame.offset, length=frame.length) if frame else Extent(offset=0, length=0)


def _read(reader: ChannelReader, path: str, extent: Extent) -> bytes:
    try:
        return reader.read_range(path, extent.offset, extent.length)
    except NotFound as error:
        raise NoSource(
            f"`{reader.location}` lacks `{path}`, which has the documents of packages",
            hint="name another mirror with --channel",
        ) from error


def _describe(group: list[Member], extent: Extent, reply: Future[bytes], reader: ChannelReader) -> Iterator[Described]:
    try:
        data = memoryview(reply.result())
    except PtmError as error:
        yield from (Described(member=member, error=error) for member in group)
        return
    for member in group:
        own = _extent(member)
        at = own.offset - extent.offset
        try:
            yield _decode(member, data[at : at + own.length], reader)
        except PtmError as error:
            yield Described(member=member, error=error)


def _decode(member: Member, payload: memoryview, reader: ChannelReader) -> Described:
    row, frame = member.row, member.row.frame
    if frame is None or blake3(payload).hexdigest() != frame.blake3:
        raise IntegrityError(
            f"`{member.documents.path}` of channel `{reader.location}` has wrong bytes for `{row.package}`",
            hint="use another mirror; this one is damaged",
        )
    data = streams.expand(payload, row.manifest_size + row.placement_size)
    manifest = decode_manifest(data[: row.manifest_size], row.snapshot)
    if manifest.package.package != row.package:
        raise IntegrityError(f"the snapshot listed for `{row.package}` belongs to `{manifest.package.package}`")
    placement = decode_placement(data[row.manifest_size :], manifest, row.snapshot)
    return Described(member=member, manifest=manifest, placement=placement, frame=payload)


class Documents:
    """Documents as frames in a file in the folder `staging`, by the number of their package. For several threads."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._file = SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(staging))  # noqa: SIM115  # closed by `__exit__`
        self._ends = array("Q", [0])
        self._sizes = array("I")
        self._of_manifest = array("I")
        self._snapshots: list[bytes] = []
        self._decoded: OrderedDict[int, Manifest] = OrderedDict()
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, described: Described) -> None:
        """Keep the frame of one more package.

        Raises:
            NoSpace, StoreError: it cannot be written.
        """
        row = described.member.row
        with disk_errors(self._staging, len(described.frame)):
            self._file.write(described.frame)
        self._ends.append(self._ends[-1] + len(described.frame))
        self._sizes.append(row.manifest_size + row.placement_size)
        self._of_manifest.append(row.manifest_size)
        self._snapshots.append(bytes.fromhex(row.snapshot))

    def manifest(self, number: int) -> Manifest:
        """Return the manifest of a package.

        Raises:
            StoreError, IntegrityError: it cannot be read back.
        """
        with self._lock:
            if number not in self._decoded:
                self._decoded[number] = self._read(number)
                if len(self._decoded) > DECODED:
                    self._decoded.popitem(last=False)
            self._decoded.move_to_end(number)
            return self._decoded[number]

    def _read(self, number: int) -> Manifest:
        first, end = self._ends[number], self._ends[number + 1]
        with disk_errors(self._staging):
            self._file.seek(first)
            frame = self._file.read(end - first)
            self._file.seek(0, 2)
        if len(frame) != end - first:
            raise StoreError(f"what was kept in `{self._staging}` ends early", hint="run the same command again")
        data = streams.expand(memoryview(frame), self._sizes[number])
        return decode_manifest(data[: self._of_manifest[number]], SnapshotId(self._snapshots[number].hex()))
