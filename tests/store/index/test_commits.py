"""What a commit writes, and that rows are found wherever they lie: in SQLite, in runs, in memory, in generations."""

import random
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.index import Index, known_files, open_index
from ptmtorrent.store.pack.columns import columns_of
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.stored_file import StoredFile

COMMITS = 60
ROWS = 40


def new_entries(source: random.Random, at: int, count: int = ROWS) -> list[Entry]:
    return [
        Entry(id=ObjectId(source.randbytes(32).hex()), offset=at + 100 * row, stored=90, raw=95, codec=0, kind="data")
        for row in range(count)
    ]


def file_of(source: random.Random, entry: Entry, *, git: bool) -> StoredFile:
    return StoredFile(
        size=entry.raw,
        blake3=source.randbytes(32).hex(),
        sha256=source.randbytes(32).hex(),
        git_sha1=source.randbytes(20).hex() if git else None,
        cutter="opaque/1",
        objects=((entry.id, entry.raw),),
    )


def oids_of(file: StoredFile) -> list[str]:
    found = [f"blake3:{file.blake3}", f"sha256:{file.sha256}"]
    return [*found, f"git:{file.git_sha1}"] if file.git_sha1 else found


def commit(index: Index, entries: list[Entry], files: list[StoredFile]) -> None:
    with index.transaction():
        index.add_objects(index.row_of_part("meta-open.part", "open"), entries)
        for file in files:
            index.add_file(file)
    index.settle_many()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and generations of a few rows, merged by threes."""
    monkeypatch.setattr(known_files, "FRESH_FILES", 7)
    monkeypatch.setattr(known_files, "STAGED_ROWS", 11)
    monkeypatch.setattr(known_files, "FAN", 3)


def assert_finds(index: Index, entries: list[Entry], files: list[StoredFile]) -> None:
    assert [found and found.entry for found in index.find_all([entry.id for entry in entries])] == entries
    for file in files:
        for oid in oids_of(file):
            assert index.file(oid) == (file, "open")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(2))
def test_objects_and_files_are_found_by_every_process_wherever_their_rows_lie(tmp_path: Path, seed: int) -> None:
    source, path = random.Random(seed), tmp_path / "index.sqlite"
    entries, files = list[Entry](), list[StoredFile]()
    with (
        closing(open_index(path, write=True)) as first,
        closing(open_index(path, write=True)) as second,
        closing(open_index(path, write=False)) as reader,
    ):
        for step in range(20):
            fresh = new_entries(source, 10_000 * step, source.randrange(1, 5))
            named = [file_of(source, entry, git=source.random() < 0.5) for entry in fresh]
            writer = source.choice((first, second))
            if step % 5 == 4:
                writer.add_objects(writer.row_of_part("meta-open.part", "open"), fresh)
                writer.add_file(named[0])
                writer.roll_back()
                assert writer.find(fresh[0].id) is None
                assert writer.file(oids_of(named[0])[0]) is None
                continue
            commit(writer, fresh, named)
            entries, files = entries + fresh, files + named
            some = source.sample(range(len(files)), min(len(files), 8))
            for index in (first, second, reader):
                assert_finds(index, [entries[each] for each in some], [files[each] for each in some])
        levels = {level for (level,) in reader._run("SELECT level FROM generations")}
        assert len(levels) > 1
        assert reader.has_runs()
    with closing(open_index(path, write=False)) as again:
        assert_finds(again, entries, files)
        assert again.entries("meta-open.part") == entries


def test_columns_of_a_part_are_joined_from_several_runs(tmp_path: Path) -> None:
    source = random.Random(6)
    with closing(open_index(tmp_path / "index.sqlite", write=True)) as index:
        plain = new_entries(source, 0, 60)
        deltas = [
            msgspec.structs.replace(entry, base=source.choice(plain).id, codec=7)
            for entry in new_entries(source, 10_000, 60)
        ]
        entries = [*plain, *deltas]
        shuffled = source.sample(entries, len(entries))
        for at in range(0, len(shuffled), 17):
            commit(index, shuffled[at : at + 17], [])
            index.settle()
        found, same = index.columns("meta-open.part"), columns_of(entries)
        assert len(index._run_rows()) > 3
        assert all((one == other).all() for one, other in zip(found, same, strict=True))
        assert found.deltas.tolist() == [*range(60, 120)]


@pytest.mark.usefixtures("small")
def test_file_that_is_added_again_keeps_its_git_hash_and_is_listed_once(tmp_path: Path) -> None:
    source = random.Random(5)
    with closing(open_index(tmp_path / "index.sqlite", write=True)) as index:
        entries = new_entries(source, 0)
        known = file_of(source, entries[0], git=True)
        commit(index, entries, [known, *(file_of(source, entry, git=True) for entry in entries[1:])])
        plain = StoredFile(
            size=known.size,
            blake3=known.blake3,
            sha256=known.sha256,
            git_sha1=None,
            cutter="other/1",
            objects=known.objects,
        )
        commit(index, [], [plain])
        for oid in oids_of(known):
            found = index.file(oid)
            assert found is not None
            assert (found[0].git_sha1, found[0].cutter) == (known.git_sha1, "other/1")
        assert index._run("SELECT count(*) FROM files") == [(ROWS,)]
        before = index._run("SELECT max(row) FROM files")
        commit(index, [], [plain])
        assert index._run("SELECT max(row) FROM files") == before


def test_commits_write_what_is_new_however_many_rows_there_are(tmp_path: Path) -> None:
    """Rows with random ids once cost a page each: the last commits wrote as much as there are pages."""
    source, path = random.Random(9), tmp_path / "index.sqlite"
    log = path.with_name("index.sqlite-wal")
    written: list[int] = []
    with closing(open_index(path, write=True)) as index:
        for step in range(COMMITS):
            entries = new_entries(source, 10_000 * step)
            before = log.stat().st_size if log.exists() else 0
            commit(index, entries, [file_of(source, entry, git=True) for entry in entries])
            written.append(log.stat().st_size - before)
    assert sum(written[-10:]) < 1.3 * sum(written[1:11])
    assert sum(written) < COMMITS * ROWS * 700
