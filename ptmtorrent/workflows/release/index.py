"""Writes the index and the subsets of a release: content and placement apart, row by row in the same order.

::

    index/content/000.json      index/placement/000.json        3 hex digits: the shard
    subsets/popular.content.json  subsets/popular.placement.json

A subset with every package has no files of its own: its rows are the index.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.channel.paths import index_paths, subset_paths
from ptmtorrent.disk import durable
from ptmtorrent.model import canonical
from ptmtorrent.model.release import (
    ContentRow,
    ContentShard,
    FileRef,
    PlacementRow,
    PlacementShard,
    shard_bits_for,
    shard_of,
)

SUBSET_FILE_ROWS = 1 << 14
"""Rows in one file of a subset: about 20 MiB of placements, well below the largest document."""

Rows = Sequence[tuple[ContentRow, PlacementRow]]


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """The files of an index or a subset, in pairs."""

    content: tuple[FileRef, ...]
    placement: tuple[FileRef, ...]


def write_index(folder: Path, rows: Rows) -> tuple[int, Pages]:
    """Write the shards of `rows`, which are sorted by package, below `folder`; return the shard bits and the files."""
    bits = shard_bits_for(len(rows))
    shards: list[list[tuple[ContentRow, PlacementRow]]] = [[] for _ in range(1 << bits)]
    for row in rows:
        shards[shard_of(row[0].package, bits)].append(row)
    names = [index_paths(number) for number in range(1 << bits)]
    return bits, _write_pages(folder, names, shards)


def write_subset(folder: Path, name: str, rows: Rows) -> Pages:
    """Write the rows of the subset `name` below `folder`."""
    parts = [rows[at : at + SUBSET_FILE_ROWS] for at in range(0, max(1, len(rows)), SUBSET_FILE_ROWS)]
    stems = [name, *(f"{name}.{number:03x}" for number in range(1, len(parts)))]
    names = [subset_paths(stem) for stem in stems]
    return _write_pages(folder, names, parts)


def write_listed(folder: Path, path: str, data: bytes) -> FileRef:
    """Write `data` at `path` below `folder`, durably, and return the reference that goes into `release.json`."""
    durable.write_file(folder / path, data)
    return FileRef(path=path, size=len(data), blake3=blake3(data).hexdigest())


def _write_pages(folder: Path, names: Sequence[tuple[str, str]], parts: Sequence[Rows]) -> Pages:
    content: list[FileRef] = []
    placement: list[FileRef] = []
    for (content_path, placement_path), part in zip(names, parts, strict=True):
        contents = ContentShard(format=ContentShard.FORMAT, version=1, requires=(), rows=tuple(row for row, _ in part))
        placements = PlacementShard(
            format=PlacementShard.FORMAT, version=1, requires=(), rows=tuple(row for _, row in part)
        )
        content.append(write_listed(folder, content_path, canonical.encode(contents)))
        placement.append(write_listed(folder, placement_path, canonical.encode(placements)))
    return Pages(content=tuple(content), placement=tuple(placement))
