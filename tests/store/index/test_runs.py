"""Runs of the index: whatever lies where, look-ups find the same as in one table."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.index import Index, open_index, run, run_format, run_writer, runs
from ptmtorrent.store.pack.columns import UNLISTED, columns_of, ids_of
from ptmtorrent.store.pack.format import RIGHTS, Entry
from tests.store.index.indexes import Model, add, entries_of, id_of, listed, new_index, pack_of


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with closing(new_index(tmp_path)) as opened:
        yield opened


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "index").iterdir())


def count_staged(index: Index) -> int:
    return int(index._run("SELECT count(*) FROM objects")[0][0])


@pytest.mark.parametrize("seed", range(12))
def test_any_history_lists_what_one_table_would(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(runs, "FAN", 3)
    monkeypatch.setattr(run_writer, "STRETCH_ROWS", 8)
    monkeypatch.setattr(run, "STRETCH_ROWS", 8)
    rng = random.Random(seed)
    names = [f"object {number}" for number in range(60)]
    model, settled = Model(), 0
    for step in range(40):
        pack, rights = step, RIGHTS[rng.randrange(3)]
        chosen = rng.sample(names, rng.randint(1, 25))
        base = rng.choice(names) if rng.random() < 0.3 else None
        entries = entries_of([name for name in chosen if name != base], base)
        add(index, pack, entries, rights)
        model.add(pack_of(pack), entries, rights)
        if rng.random() < 0.5:
            index.settle()
            settled += 1
        if rng.random() < 0.2 and settled:
            gone = pack_of(rng.randrange(step + 1))
            # Of an object listed twice in SQLite only the newer place is known: a settled index knows both.
            index.settle()
            with index.transaction():
                index.drop(gone)
            model.drop(gone)
    wanted = [id_of(name) for name in names]
    expected = [model.find(identifier) for identifier in wanted]
    one_by_one = [index.find(identifier) for identifier in wanted]
    assert [found and (found.pack, found.entry.base) for found in one_by_one] == [
        place and (place[0], place[1].base) for place in expected
    ]
    assert index.find_all(wanted) == one_by_one
    before = listed(index)
    index.settle()
    assert listed(index) == before
    assert index.find_all(wanted) == one_by_one
    with closing(open_index(tmp_path / "index.sqlite", write=False)) as again:
        assert listed(again) == before
        assert again.find_all(wanted) == one_by_one
        assert again.run_problems() == []
        check_columns(again, wanted)


def check_columns(index: Index, wanted: list[ObjectId]) -> None:
    """Columns say what entries do, and of whole objects what look-ups do."""
    for pack, entries in listed(index).items():
        found, same = index.columns(pack), columns_of(entries)
        assert [column.tolist() for column in found] == [column.tolist() for column in same]
    places = index.find_places(ids_of([*wanted, *wanted[:1]]))
    assert places is not None
    for identifier, pack, *place in zip([*wanted, *wanted[:1]], *(column.tolist() for column in places), strict=True):
        one, container = index.find(identifier), index.container(pack)
        if one is None or one.entry.base is not None:
            assert pack == UNLISTED
        else:
            assert container is not None
            assert (container.pack, container.size) == (one.pack, one.size)
            assert place == [one.entry.offset, one.entry.stored, one.entry.codec]


def test_places_in_columns_are_not_known_while_rows_lie_in_sqlite(index: Index) -> None:
    add(index, 0, entries_of(["one"]))
    assert index.find_places(ids_of([id_of("one")])) is None
    assert index.columns(pack_of(0)).ids.tolist() == ids_of([id_of("one")]).tolist()
    index.settle()
    found = index.find_places(ids_of([id_of("one"), id_of("two")]))
    assert found is not None
    assert found.pack.tolist()[1] == UNLISTED
    assert found.offset.tolist()[0] == 60


def test_entry_is_written_once_for_its_pack_and_once_for_each_level(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FAN", 3)
    written: list[int] = []
    write = run_writer._write

    def count(path: Path, header: run_format.RunHeader, *sections: run_writer.Arrays) -> None:
        written.append(header.rows)
        write(path, header, *sections)

    monkeypatch.setattr(run_writer, "_write", count)
    for pack in range(27):
        add(index, pack, entries_of([f"{pack} {number}" for number in range(10)]))
        index.settle()
    assert index._run("SELECT level FROM runs") == [(3,)]
    assert sum(written) == 270 * 4
    assert len(files(tmp_path)) == 1
    assert count_staged(index) == 0
    assert sum(map(len, listed(index).values())) == 270


def test_ids_with_the_same_first_bytes_are_kept_apart(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = [
        Entry(id=ObjectId(f"{7:016x}{number:048x}"), offset=60 + number, stored=1, raw=1, codec=0, kind="data")
        for number in range(5)
    ]
    for pack, entry in enumerate(alike):
        add(index, pack, [entry])
        index.settle()
    add(index, 9, entries_of(["other"]))
    for _ in range(2):
        assert [found and found.entry for found in index.find_all([entry.id for entry in alike])] == alike
        assert [found and found.entry for found in (index.find(entry.id) for entry in alike)] == alike
        assert index.find(ObjectId(f"{7:016x}{9:048x}")) is None
        assert index.find_all([ObjectId(f"{7:016x}{9:048x}")]) == [None]
        monkeypatch.setattr(runs, "FAN", 6)
        index.settle()


def test_dropped_pack_is_passed_over_and_its_rows_go_with_the_next_merge(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FAN", 2)
    add(index, 1, entries_of(["a", "b"]))
    index.settle()
    with index.transaction():
        assert index.drop(pack_of(1)) == {id_of("a"), id_of("b")}
    assert index.find_all([id_of("a")]) == [None]
    assert index.find(id_of("a")) is None
    add(index, 1, entries_of(["a"]))
    index.settle()
    assert [entry.id for entry in index.entries(pack_of(1))] == [id_of("a")]
    assert sum(opened.rows for opened in index._runs._runs) == 1
    assert len(files(tmp_path)) == 1


def test_run_whose_packs_are_mostly_gone_is_written_again_in_its_place(index: Index, tmp_path: Path) -> None:
    with index.transaction():
        for pack in (1, 2, 3):
            index.add_objects(index.row_of_pack(pack_of(pack), 1 << 20, "gated"), entries_of([f"{pack}"]))
        index.add_objects(index.row_of_pack(pack_of(4), 1 << 20, "gated"), entries_of(["shared", "4"]))
    index.settle()
    add(index, 5, entries_of(["shared"]), "open")
    index.settle()
    before = index._run_rows()
    for pack, is_rewritten in ((1, False), (2, False), (3, True)):
        with index.transaction():
            index.drop(pack_of(pack))
        index.settle()
        assert (index._run_rows() != before) is is_rewritten
    assert [row[::2] for row in index._run_rows()] == [row[::2] for row in before]
    assert [opened.rows for opened in index._runs._runs] == [1, 2]
    found = index.find(id_of("shared"))
    assert found is not None
    assert found.pack == pack_of(5), "the older run is still the older one"
    assert len(files(tmp_path)) == 2


def test_copy_in_an_older_pack_is_found_once_the_newer_pack_is_dropped(index: Index) -> None:
    add(index, 1, entries_of(["a"]), "gated")
    index.settle()
    add(index, 2, entries_of(["a"]), "open")
    index.settle()
    found = index.find(id_of("a"))
    assert found is not None
    assert (found.pack, index.entries(pack_of(1))) == (pack_of(2), [])
    with index.transaction():
        index.drop(pack_of(2))
    for again in (index.find(id_of("a")), *index.find_all([id_of("a")])):
        assert again is not None
        assert again.pack == pack_of(1)


def test_objects_that_were_moved_are_listed_in_the_new_pack(index: Index) -> None:
    entries = entries_of(["a", "b", "c"])
    add(index, 1, entries)
    index.settle()
    with index.transaction():
        index.move(pack_of(1), index.row_of_pack(pack_of(2), 1 << 20, "open"), entries[:2])
    for _ in range(2):
        assert index.entries(pack_of(1)) == entries[2:]
        assert index.entries(pack_of(2)) == entries[:2]
        index.settle()


def test_process_that_reads_follows_one_that_writes_and_merges(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FAN", 2)
    with closing(open_index(tmp_path / "index.sqlite", write=False)) as reader:
        for pack in range(9):
            add(index, pack, entries_of([f"{pack}"]))
            assert reader.find(id_of(f"{pack}")) is not None
            index.settle()
            for earlier in range(pack + 1):
                assert reader.find(id_of(f"{earlier}")) is not None
        assert len(files(tmp_path)) == 2


def test_of_two_processes_that_merge_the_same_runs_one_wins(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pack in range(3):
        add(index, pack, entries_of([f"{pack} a", f"{pack} b"]))
        index.settle()
    monkeypatch.setattr(runs, "FAN", 3)
    merge = runs.merge_runs
    with closing(open_index(tmp_path / "index.sqlite", write=True)) as other:

        def merge_after_the_other(*arguments: object) -> int:
            monkeypatch.setattr(runs, "merge_runs", merge)
            other.settle()
            return merge(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(runs, "merge_runs", merge_after_the_other)
        index.settle()
        assert len(files(tmp_path)) == 1
        for opened in (index, other):
            assert sum(map(len, listed(opened).values())) == 6


@pytest.mark.parametrize("is_full", [True, False])
def test_runs_that_another_process_has_just_merged_are_not_merged_again(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_full: bool
) -> None:
    for pack in range(3):
        add(index, pack, entries_of([f"{pack} a", f"{pack} b"]))
        index.settle()
    if is_full:
        monkeypatch.setattr(runs, "FAN", 3)
    else:
        with index.transaction():
            index.drop(pack_of(1))
    refresh = index._refresh
    with closing(open_index(tmp_path / "index.sqlite", write=True)) as other:

        def refresh_after_the_other() -> None:
            monkeypatch.setattr(index, "_refresh", refresh)
            other.settle()
            refresh()

        monkeypatch.setattr(index, "_refresh", refresh_after_the_other)
        index.settle()
        assert listed(index) == listed(other)
        assert len(files(tmp_path)) == (1 if is_full else 2)


def test_full_disk_leaves_rows_where_they_are(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(index, 1, entries_of(["a"]))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_writer, "write_all", full)
        index.settle()
    assert count_staged(index) == 1
    assert files(tmp_path) == []
    assert index.find(id_of("a")) is not None
    index.settle()
    assert count_staged(index) == 0


def test_row_takes_at_most_a_hundred_bytes_deltas_too(index: Index, tmp_path: Path) -> None:
    add(index, 1, entries_of(["base"]))
    for base in (None, "base"):
        index.settle()
        add(index, 2, entries_of([f"{base} {number}" for number in range(5000)], base))
    index.settle()
    sizes = sorted(path.stat().st_size for path in (tmp_path / "index").iterdir())
    assert sizes[1] / 5000 < 62
    assert sizes[2] / 5000 < 98


def test_run_of_a_newer_version_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_format.RunHeader, "VERSION", 2)
        add(index, 1, entries_of(["a"]))
        with index.transaction():
            index.flush()
    with pytest.raises(UnsupportedFormat):
        index.find(id_of("a"))
    with pytest.raises(UnsupportedFormat):
        index.drop_unsound_runs()


@pytest.mark.parametrize("rights", RIGHTS)
def test_run_with_an_impossible_row_is_named_and_its_row_never_used(index: Index, rights: Rights) -> None:
    bad = entries_of(["a"])[0]
    add(index, 1, [Entry(id=bad.id, offset=60, stored=50, raw=10, codec=0, kind="data")], rights)
    index.settle()
    ((_, problem),) = index.run_problems()
    assert "a row in" in problem
    with pytest.raises(StoreError) as caught:
        index.find(bad.id)
    assert "store repair --index" in str(caught.value.hint)


@pytest.mark.parametrize("small_bytes", [run._SMALL_BYTES, 0])
def test_place_of_a_row_that_is_not_in_the_run_is_named(
    index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_bytes: int
) -> None:
    monkeypatch.setattr(run, "_SMALL_BYTES", small_bytes)
    monkeypatch.setattr(run, "_NEARNESS", 1)
    entries = entries_of([str(number) for number in range(40)])
    add(index, 1, entries)
    index.settle()
    (path,) = (tmp_path / "index").iterdir()
    start = run.Run(path)._layout.starts["order"]
    data = bytearray(path.read_bytes())
    data[start + 3] = 1
    path.write_bytes(data)
    for look_up in (lambda: index.find_all([entry.id for entry in entries]), lambda: index.entries(pack_of(1))):
        with pytest.raises(StoreError, match="has no row") as caught:
            look_up()
        assert "store repair --index" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("column", "value"), [("stored", 1 << 40), ("at", -1), ("codec", "zstd"), ("id", b"short"), ("base", b"short")]
)
def test_row_of_sqlite_with_an_impossible_value_becomes_no_run(
    index: Index, tmp_path: Path, column: str, value: bytes | int | str
) -> None:
    add(index, 1, entries_of(["a", "b"]))
    with index.transaction():
        index._write(f"UPDATE objects SET {column} = ? WHERE id = ?", value, bytes.fromhex(id_of("b")))  # noqa: S608
    with pytest.raises(StoreError) as caught:
        index.settle()
    assert "store repair --index" in str(caught.value.hint)
    assert count_staged(index) == 2
    assert not (tmp_path / "index").exists()


def test_releasing_pages_changes_nothing(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_LOOKUPS", 1)
    monkeypatch.setattr(run, "_SMALL_BYTES", 0)
    entries = entries_of([str(number) for number in range(300)])
    add(index, 1, entries)
    index.settle()
    assert [found and found.entry for found in map(index.find, [entry.id for entry in entries])] == entries


def test_run_that_another_process_merged_while_the_list_was_read_is_no_damage(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(index, 1, entries_of(["a"]))
    index.settle()
    with closing(open_index(tmp_path / "index.sqlite", write=False)) as reader:
        rows_of = reader._run_rows

        def merged_meanwhile() -> list[runs.RunRow]:
            monkeypatch.setattr(reader, "_run_rows", rows_of)
            rows = rows_of()
            add(index, 2, entries_of(["b"]))
            monkeypatch.setattr(runs, "FAN", 2)
            index.settle()
            return rows

        monkeypatch.setattr(reader, "_run_rows", merged_meanwhile)
        assert reader.find(id_of("a")) is not None
