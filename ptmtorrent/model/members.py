"""The members of a release: rows of the index in columns, their Merkle buckets, and the tree that lists both.

A run is a file of rows in shards by hash prefix; a release lists one or more runs, of which a later one replaces rows
of earlier ones. Buckets divide the members as such, whatever runs they lie in: `members_root` hashes them, and so
depends on what the members are and on nothing else (docs/formats/release.md).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar

import msgspec
from blake3 import blake3

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.canonical import (
    HASH,
    HASH_BYTES,
    U8,
    U16,
    U32,
    U64,
    ColumnReader,
    Hashes,
    Numbers,
    encode_columns,
    hash_column,
    hex_of,
)
from ptmtorrent.model.ids import PackageName, SnapshotId

SHARD_MAGIC = b"PTMSHARD"
TREE_MAGIC = b"PTMITREE"

MAX_SHARD_BITS = 10
"""At most 1,024 shards a run: one of them is then about 270 packages of the largest hub."""

MAX_BUCKET_BITS = 12
"""At most 4,096 buckets: the hashes of all of them are 128 KiB."""

MAX_RUNS = 64

MAX_SHARD_BYTES = 4 << 20
"""Limit of a shard, and of one shard of each run together (4 MiB): about 20,000 rows."""

MAX_NAME_BYTES = 4096

MIN_ROW_BYTES = 134
"""What a row takes at least: a name of one byte, its length, three hashes and eight numbers."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Where the documents of a member lie: the row of a file in the run's `documents`, offset and bytes, BLAKE3."""

    file: int
    offset: int
    length: int
    blake3: str


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    """One member: what it is, what it holds, and where its documents lie. Sizes are in bytes.

    `facts` is the BLAKE3 of its row in the table of packages. A row without a frame says that the package, a member in
    an earlier run, is none any more.
    """

    package: PackageName
    snapshot: SnapshotId
    facts: str
    manifest_size: int
    placement_size: int
    files: int
    raw: int
    frame: Frame | None


class _ShardHead(canonical.Document, frozen=True, kw_only=True):
    FORMAT: ClassVar[str] = "ptmtorrent/index-shard"

    rows: int
    names: int


class _TreeHead(canonical.Document, frozen=True, kw_only=True):
    FORMAT: ClassVar[str] = "ptmtorrent/index-tree"

    bucket_bits: int
    run_bits: tuple[int, ...]


class RunShards(msgspec.Struct, frozen=True, kw_only=True):
    """The shards of one run, which follow one another in its file: the bytes of each, and its BLAKE3 in hex."""

    lengths: tuple[int, ...]
    hashes: tuple[str, ...]

    @property
    def bits(self) -> int:
        """The bits that the run is sharded by."""
        return (len(self.lengths) - 1).bit_length()

    def offset(self, shard: int) -> int:
        """Return where a shard starts in the file."""
        return sum(self.lengths[:shard])


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """The hashes of the buckets, and the shards of each run."""

    buckets: tuple[bytes, ...]
    runs: tuple[RunShards, ...]

    @property
    def bucket_bits(self) -> int:
        """The bits that the members are divided by."""
        return (len(self.buckets) - 1).bit_length()


def prefix_of(package: PackageName, bits: int) -> int:
    """Return the leading `bits` bits of the BLAKE3 of a package's name: the number of its shard or bucket."""
    return int.from_bytes(blake3(package.encode()).digest(length=4), "big") >> (32 - bits) if bits else 0


def shard_bits_for(rows: int) -> int:
    """Return the bits to shard a run of `rows` by: 0 for a small run, about 256 rows a shard, at most 1,024 shards."""
    return min(MAX_SHARD_BITS, max(0, (rows - 1).bit_length() - 8)) if rows else 0


def bucket_bits_for(members: int) -> int:
    """Return the bits of the buckets of a release: about 64 members a bucket, at most 4,096 buckets."""
    return min(MAX_BUCKET_BITS, max(0, (members - 1).bit_length() - 6)) if members else 0


def row_part(row: MemberRow) -> tuple[PackageName, bytes]:
    """Return the name of a member, and what the hash of its bucket covers of it."""
    return row.package, _bucket_part(row.package, bytes.fromhex(row.snapshot), bytes.fromhex(row.facts))


def hash_parts(parts: Iterable[tuple[PackageName, bytes]]) -> bytes:
    """Return the hash of a bucket of members, each by its name and what the hash covers of it."""
    ordered = sorted(parts, key=lambda part: part[0].encode())
    return blake3(b"".join(part for _, part in ordered)).digest()


def _bucket_part(package: PackageName, snapshot: bytes, facts: bytes) -> bytes:
    name = package.encode()
    return len(name).to_bytes(2, "little") + name + snapshot + facts


def members_root(buckets: Sequence[bytes]) -> str:
    """Return the root of the members: the BLAKE3 of the hashes of their buckets, in order."""
    return blake3(b"".join(buckets)).hexdigest()


def encode_shard(rows: Sequence[MemberRow]) -> bytes:
    """Return the shard of `rows`; they are sorted by the bytes of their names."""
    import numpy as np

    rows = sorted(rows, key=lambda row: row.package.encode())
    names = [row.package.encode() for row in rows]
    frames = [row.frame or _NO_FRAME for row in rows]
    head = _ShardHead(
        format=_ShardHead.FORMAT,
        version=_ShardHead.VERSION,
        requires=(),
        rows=len(rows),
        names=sum(map(len, names)),
    )
    return encode_columns(
        SHARD_MAGIC,
        head,
        np.array([len(name) for name in names], U16),
        b"".join(names),
        hash_column([row.snapshot for row in rows]),
        hash_column([row.facts for row in rows]),
        hash_column([frame.blake3 for frame in frames]),
        np.array([row.frame is not None for row in rows], U8),
        np.array([frame.file for frame in frames], U16),
        np.array([frame.offset for frame in frames], U64),
        np.array([frame.length for frame in frames], U32),
        np.array([row.manifest_size for row in rows], U32),
        np.array([row.placement_size for row in rows], U32),
        np.array([row.files for row in rows], U32),
        np.array([row.raw for row in rows], U64),
    )


class ShardColumns(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The columns of a shard, of which no row is made until it is asked for; `names` are in order."""

    names: tuple[PackageName, ...]
    snapshots: Hashes
    facts: Hashes
    hashes: Hashes
    present: Numbers
    numbers: tuple[Numbers, ...]

    def row(self, row: int) -> MemberRow:
        """Return the row `row`."""
        return self._row(row, bool(self.present[row]), [int(column[row]) for column in self.numbers])

    def rows(self) -> list[MemberRow]:
        """Return every row."""
        numbers = zip(*(column.tolist() for column in self.numbers), strict=True)
        found = zip(self.present.tolist(), numbers, strict=True)
        return [self._row(row, present, values) for row, (present, values) in enumerate(found)]

    def _row(self, row: int, present: int, numbers: Sequence[int]) -> MemberRow:
        file, offset, length, manifest_size, placement_size, files, raw = numbers
        frame = Frame(file=file, offset=offset, length=length, blake3=hex_of(self.hashes, row)) if present else None
        return MemberRow(
            package=self.names[row],
            snapshot=SnapshotId(hex_of(self.snapshots, row)),
            facts=hex_of(self.facts, row),
            manifest_size=manifest_size,
            placement_size=placement_size,
            files=files,
            raw=raw,
            frame=frame,
        )

    def is_member(self, row: int) -> bool:
        """Return whether a row is that of a member, and does not remove one."""
        return bool(self.present[row])

    def bucket_part(self, row: int) -> bytes:
        """Return what the hash of a bucket covers of a member."""
        return _bucket_part(self.names[row], bytes(self.snapshots[row]), bytes(self.facts[row]))


def decode_shard(data: bytes, name: str) -> list[MemberRow]:
    """Return the rows of a shard, by name.

    Raises:
        IntegrityError: malformed; the name of a member cannot be that of a package, or they are not in order.
        UnsupportedFormat: written by a newer version.
    """
    return decode_columns(data, name).rows()


def decode_columns(data: bytes, name: str) -> ShardColumns:
    """Return the columns of a shard.

    Raises:
        As `decode_shard`.
    """
    import numpy as np

    reader = ColumnReader(data, SHARD_MAGIC, name, MAX_SHARD_BYTES)
    head = reader.head(_ShardHead)
    lengths = reader.column(U16, head.rows)
    text = reader.take(head.names)
    snapshots, facts, hashes = (reader.column(HASH, head.rows) for _ in range(3))
    present = reader.column(U8, head.rows)
    numbers = tuple(reader.column(kind, head.rows) for kind in (U16, U64, U32, U32, U32, U32, U64))
    reader.finish()
    if present.size and int(present.max()) > 1:
        raise IntegrityError(f"`{name}` has rows that are neither members nor removed")
    if int(lengths.sum()) != head.names or (
        lengths.size and not 0 < int(lengths.min()) <= int(lengths.max()) <= MAX_NAME_BYTES
    ):
        raise IntegrityError(f"`{name}` has names of other lengths than it says")
    ends = [0, *np.cumsum(lengths, dtype=np.int64).tolist()]
    parts = [text[first:last] for first, last in pairwise(ends)]
    if any(before >= after for before, after in pairwise(parts)):
        raise IntegrityError(f"`{name}` does not list its packages in order, each once")
    return ShardColumns(
        names=tuple(_package(part, name) for part in parts),
        snapshots=snapshots,
        facts=facts,
        hashes=hashes,
        present=present,
        numbers=numbers,
    )


def encode_tree(buckets: Sequence[bytes], runs: Sequence[RunShards]) -> bytes:
    """Return the tree of a release: the hashes of its buckets and the shards of its runs."""
    import numpy as np

    head = _TreeHead(
        format=_TreeHead.FORMAT,
        version=_TreeHead.VERSION,
        requires=(),
        bucket_bits=(len(buckets) - 1).bit_length(),
        run_bits=tuple(run.bits for run in runs),
    )
    columns = [column for run in runs for column in (np.array(run.lengths, U32), hash_column(list(run.hashes)))]
    return encode_columns(TREE_MAGIC, head, b"".join(buckets), *columns)


def decode_tree(data: bytes, name: str) -> Tree:
    """Return the tree in `data`.

    Raises:
        IntegrityError: malformed, or with more runs, shards or buckets than a release can have.
        UnsupportedFormat: written by a newer version.
    """
    reader = ColumnReader(data, TREE_MAGIC, name)
    head = reader.head(_TreeHead)
    small = all(0 <= bits <= min(head.bucket_bits, MAX_SHARD_BITS) for bits in head.run_bits)
    if not small or not 0 <= head.bucket_bits <= MAX_BUCKET_BITS or len(head.run_bits) > MAX_RUNS:
        raise IntegrityError(f"`{name}` has more runs, shards or buckets than a release can have")
    buckets = reader.take(HASH_BYTES << head.bucket_bits)
    runs = tuple(_read_run(reader, bits) for bits in head.run_bits)
    reader.finish()
    if sum(max(run.lengths) for run in runs) > MAX_SHARD_BYTES:
        raise IntegrityError(f"`{name}` lists shards of more than {MAX_SHARD_BYTES >> 20} MiB together")
    return Tree(
        buckets=tuple(buckets[at : at + HASH_BYTES] for at in range(0, len(buckets), HASH_BYTES)),
        runs=runs,
    )


def _read_run(reader: ColumnReader, bits: int) -> RunShards:
    lengths: list[int] = reader.column(U32, 1 << bits).tolist()
    hashes = reader.column(HASH, 1 << bits)
    return RunShards(
        lengths=tuple(lengths),
        hashes=tuple(hex_of(hashes, row) for row in range(1 << bits)),
    )


def _package(data: bytes, name: str) -> PackageName:
    try:
        return PackageName(data.decode())
    except UnicodeDecodeError as error:
        raise IntegrityError(f"`{name}` names a package {data!r}, which is not UTF-8") from error


def removal(package: PackageName) -> MemberRow:
    """Return the row that says that a package, a member in an earlier run, is none any more."""
    zero = "0" * (2 * HASH_BYTES)
    return MemberRow(
        package=package,
        snapshot=SnapshotId(zero),
        facts=zero,
        manifest_size=0,
        placement_size=0,
        files=0,
        raw=0,
        frame=None,
    )


def spell_names(packages: Iterable[PackageName]) -> bytes:
    """Return the file of a subset's members: their names, one a line, sorted by their bytes."""
    return b"".join(sorted(package.encode() + b"\n" for package in packages))


def parse_names(data: bytes, name: str) -> list[PackageName]:
    """Return the names in the file of a subset.

    Raises:
        IntegrityError: they are not UTF-8, not in order, or one is listed twice.
    """
    lines = data.splitlines(keepends=True)
    if lines != sorted(set(lines)) or not data.endswith(b"\n" * bool(data)) or b"\r" in data:
        raise IntegrityError(f"`{name}` does not list packages one a line, in order, each once")
    return [_package(line[:-1], name) for line in lines]


_NO_FRAME = Frame(file=0, offset=0, length=0, blake3="0" * 64)
