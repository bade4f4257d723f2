"""The runs of a release as its successor sees them: every row, and which of them are the newest of their package.

Shards are read whole and kept as columns: about 200 bytes a row.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import accumulate, pairwise
from typing import NamedTuple

from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.members import (
    MemberRow,
    ShardColumns,
    Tree,
    decode_columns,
    decode_tree,
    hash_parts,
    prefix_of,
    row_part,
)
from ptmtorrent.model.release import FileRef, Release, RunRef


class Place(NamedTuple):
    """Where a row is: its run, its shard, and its number there."""

    run: int
    shard: int
    row: int


class EarlierRuns:
    """The runs of `release`, the previous one, read through `reader`; of no release, none.

    Raises:
        IntegrityError, NotFound, StoreError: a file of the index is damaged, missing, or cannot be read.
    """

    def __init__(self, release: Release | None, reader: ChannelReader) -> None:
        self.refs: tuple[RunRef, ...] = () if release is None else release.runs
        self.tree: Tree | None = None
        self._shards: list[list[ShardColumns]] = []
        self.newest: dict[PackageName, Place] = {}
        if release is None:
            return
        self.tree = decode_tree(read_listed(reader, release, release.tree), release.tree.path)
        for number, (run, listed) in enumerate(zip(self.refs, self.tree.runs, strict=True)):
            data = read_listed(reader, release, run.index)
            ends = accumulate(listed.lengths, initial=0)
            self._shards.append([decode_columns(data[first:last], run.index.path) for first, last in pairwise(ends)])
            for shard, columns in enumerate(self._shards[-1]):
                for row, package in enumerate(columns.names):
                    self.newest[package] = Place(number, shard, row)

    def row(self, place: Place) -> MemberRow:
        """Return a row."""
        return self._shards[place.run][place.shard].row(place.row)

    def documents(self, run: int, row: MemberRow) -> FileRef:
        """Return the file of the documents of a member, a row of the run `run`.

        Raises:
            IntegrityError: the row names a file that its run does not list.
        """
        listed = self.refs[run]
        if row.frame is None or row.frame.file >= len(listed.documents):
            raise IntegrityError(f"`{listed.index.path}` states an implausible place for `{row.package}`")
        return listed.documents[row.frame.file]

    def removed_in(self, runs: Collection[int]) -> Iterator[PackageName]:
        """Yield the packages that one of `runs` removes, and no later run has again."""
        for package, place in self.newest.items():
            if place.run in runs and not self._shards[place.run][place.shard].is_member(place.row):
                yield package

    def is_member(self, package: PackageName) -> bool:
        """Return whether a package was a member."""
        place = self.newest.get(package)
        return place is not None and self._shards[place.run][place.shard].is_member(place.row)

    def members(self) -> Iterator[tuple[PackageName, Place]]:
        """Yield every member and the place of its row."""
        for package, place in self.newest.items():
            if self._shards[place.run][place.shard].is_member(place.row):
                yield package, place

    def rows_of(self, run: int) -> Iterator[tuple[Place, MemberRow]]:
        """Yield every row of a run, those that remove a package too."""
        for shard, columns in enumerate(self._shards[run]):
            for number, row in enumerate(columns.rows()):
                yield Place(run, shard, number), row

    def has(self, run: int, package: PackageName) -> bool:
        """Return whether a run has a row of a package."""
        shards = self._shards[run]
        columns = shards[prefix_of(package, self.refs[run].bits)]
        return package in columns.names

    def newest_counts(self, changed: Collection[PackageName]) -> list[int]:
        """Return for each run how many of its rows are the newest of their package, but for those `changed`."""
        counts = [0] * len(self.refs)
        for place in self.newest.values():
            counts[place.run] += 1
        for package in changed:
            if (before := self.newest.get(package)) is not None:
                counts[before.run] -= 1
        return counts

    def hash_buckets(
        self, bits: int, fresh: Mapping[PackageName, MemberRow], gone: Collection[PackageName]
    ) -> tuple[bytes, ...]:
        """Return the hashes of the 2**`bits` buckets of the members with `fresh` rows, and without those `gone`.

        Buckets that none of them is in are not hashed again.
        """
        before = self.tree.buckets if self.tree is not None and self.tree.bucket_bits == bits else None
        touched = {prefix_of(package, bits) for package in (*fresh, *gone)} if before else set(range(1 << bits))
        parts: dict[int, list[tuple[PackageName, bytes]]] = {bucket: [] for bucket in touched}
        for package, place in self._members_in(touched, bits):
            if package not in fresh and package not in gone:
                part = self._shards[place.run][place.shard].bucket_part(place.row)
                parts[prefix_of(package, bits)].append((package, part))
        for package, row in fresh.items():
            parts[prefix_of(package, bits)].append(row_part(row))
        hashed = {bucket: hash_parts(found) for bucket, found in parts.items()}
        return tuple(
            hashed[bucket] if bucket in hashed or before is None else before[bucket] for bucket in range(1 << bits)
        )

    def _members_in(self, buckets: Collection[int], bits: int) -> Iterable[tuple[PackageName, Place]]:
        if len(buckets) == 1 << bits:
            return self.members()
        return ((package, place) for package, place in self.members() if prefix_of(package, bits) in buckets)
