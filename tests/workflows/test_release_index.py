"""The index of a release on top of those before, written without a store: what readers accept of it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.catalogue.index import Index
from ptmtorrent.catalogue.runs import EarlierRuns
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import members
from ptmtorrent.model.ids import PackageName, ReleaseName
from ptmtorrent.model.release import Release, Totals, content_root, placement_root
from ptmtorrent.workflows.release.index import Changes, DocumentWriter, ReleaseFolder, write_index
from tests.catalogue.releases import documents_of

NAMES = [f"hf:a/{number:03}" for number in range(700)]


def write(channel: Path, number: int, before: Release | None, fresh: Sequence[str], gone: Sequence[str]) -> Release:
    """Write the index of release `number` with `fresh` packages, and without those `gone`; return the release."""
    path = f"releases/r{number}"
    folder = ReleaseFolder(path=channel / path, channel_path=path)
    count = (before.totals.packages if before else 0) + len(fresh) - len(gone)
    removed = frozenset(map(PackageName, gone))
    with DocumentWriter(folder, channel) as documents:
        rows = {}
        for name in fresh:
            row, frame = documents_of(name, f"text {number}")
            rows[row.package] = msgspec.structs.replace(row, frame=documents.add(frame))
        changes = Changes(fresh=rows, gone=removed, named=removed, refused=frozenset(), members=count)
        written = write_index(folder, documents, EarlierRuns(before, OwnReader(channel)), changes, ())
    name = ReleaseName(f"r{number}")
    return Release(
        format=Release.FORMAT,
        version=Release.VERSION,
        requires=(),
        name=name,
        sequence=number,
        created="2026-11-20T12:00:00Z",
        written_by="test",
        content_root=content_root(name, written.members_root, ()),
        placement_root=placement_root(written.runs, written.tree, (), ()),
        members_root=written.members_root,
        runs=written.runs,
        tree=written.tree,
        tables=(),
        subsets=(),
        volumes=(),
        totals=Totals(packages=count, files=0, raw=0, stored=0, packs=0, packs_bytes=0),
    )


def test_a_run_in_more_shards_than_the_members_have_buckets_is_replaced(tmp_path: Path) -> None:
    first = write(tmp_path, 1, None, NAMES, ())
    second = write(tmp_path, 2, first, (), NAMES[:300])
    third = write(tmp_path, 3, second, (), NAMES[300:690])

    assert [(run.bits, run.rows) for run in second.runs] == [(2, 700), (1, 300)]
    assert [(run.bits, run.rows) for run in third.runs] == [(0, 10)]
    assert sorted(member.package for member in Index(third, OwnReader(tmp_path)).all()) == NAMES[690:]


def test_an_index_that_readers_refuse_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path, 1, None, NAMES[:200], ())
    monkeypatch.setattr(members, "MAX_SHARD_BYTES", first.runs[0].index.size + 100)

    with pytest.raises(IntegrityError, match="together"):
        write(tmp_path, 2, first, NAMES[200:210], ())

    assert not (tmp_path / "releases/r2/index/tree.bin").exists()
