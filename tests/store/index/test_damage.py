"""An index that is damaged or interrupted: it is derived data, and comes back from the packs as it was."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError, UnsupportedFormat
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.index import run_writer, runs
from ptmtorrent.store.index.run import Run
from ptmtorrent.store.index.run_format import Section
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.check import check
from ptmtorrent.workflows.maintain.repair import repair
from tests.channels import Heard
from tests.store.samples import META, add_bytes, add_package, bf16, name_of, random_bytes, reading, writing

PACKS = 5


class Crash(BaseException):
    """Simulates the end of the process."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose store has packs in several runs, one of them merged, and an open part."""
    monkeypatch.setattr(runs, "FAN", 3)
    home = Home(tmp_path / "home")
    home.root.mkdir()
    with writing(home.store) as store:
        for number in range(PACKS):
            fill(store, tmp_path, number)
            store.seal()
        fill(store, tmp_path, PACKS)
    assert len(run_files(home.store)) == 3
    return home


def fill(store: Store, folder: Path, number: int) -> None:
    base = bf16(40_000)
    tuned = base[:1000] + bf16(100, number + 9) + base[1200:]
    files = {
        "a.bin": add_bytes(store, folder, "a.bin", tuned),
        "b.bin": add_bytes(store, folder, "b.bin", random_bytes(500, number), META),
        "c.bin": add_bytes(store, folder, "c.bin", random_bytes(700, 50), PackClass("meta", "gated")),
    }
    add_package(store, f"org/{number}", files, f"2026-11-{10 + number}T12:00:00Z")


def run_files(root: Path) -> list[Path]:
    return sorted((root / "index").iterdir())


def contents(root: Path) -> dict[str, object]:
    """All that the index of a store lists, wherever its rows lie."""
    with reading(root) as store:
        index = store._index
        objects = {name: index.entries(name) for name in (*index.packs(), *index.parts())}
        files = index._run("SELECT blake3, sha256, git_sha1, size, cutter, objects FROM files ORDER BY blake3")
        for entries in objects.values():
            for entry in entries:
                store.read(entry.id)
        return {"objects": objects, "files": files, "captures": store.captures(), "packs": index.packs()}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(at: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(bytes(data))

    return damage


def newer(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":5'))


OUTLINES = {
    "version": newer,
    "truncated": cut,
    "empty": empty,
    "missing": Path.unlink,
    "magic": flip(0),
    "header": flip(40),
}
WITHIN = {f"flipped at {share:.0%}": share for share in (0.3, 0.5, 0.7, 0.9, 0.999)}


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("kind", OUTLINES)
def test_run_that_is_cut_short_or_missing_is_replaced_by_the_next_writer(home: Home, kind: str, number: int) -> None:
    before = contents(home.store)
    OUTLINES[kind](run_files(home.store)[number])
    with reading(home.store) as store, pytest.raises(StoreError) as caught:
        store.has(name_of(b"any"))
    assert "store repair --index" in str(caught.value.hint)
    with writing(home.store):
        pass
    assert contents(home.store) == before
    heard = Heard()
    assert check(home, "data", emit=heard, stop=Stop()).summary.failed == 0


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("kind", WITHIN)
def test_flipped_bit_of_a_run_is_found_and_repaired(home: Home, kind: str, number: int) -> None:
    before = contents(home.store)
    path = run_files(home.store)[number]
    flip(int(path.stat().st_size * WITHIN[kind]))(path)
    (finding,) = check(home, "quick", emit=Heard(), stop=Stop()).findings
    assert finding.what == "index"
    assert repair(home, None, emit=Heard(), stop=Stop()).summary.failed == 0
    assert contents(home.store) == before
    assert (home.store / "damaged" / path.name).is_file()
    assert check(home, "data", emit=Heard(), stop=Stop()).summary.failed == 0


@pytest.mark.parametrize("section", ["rows", "heads", "order"])
def test_damaged_run_is_not_merged(home: Home, monkeypatch: pytest.MonkeyPatch, section: Section) -> None:
    """The hash of the new run would be right, and the damage in it never found."""
    before = contents(home.store)
    monkeypatch.setattr(runs, "FAN", 2)
    path = next(path for path in run_files(home.store) if is_of_level(home.store, path, 0))
    flip(Run(path)._layout.starts[section])(path)
    with pytest.raises(StoreError, match="is damaged") as caught:
        Store.open(home.store, write=True)
    assert "store repair --index" in str(caught.value.hint)
    assert repair(home, None, emit=Heard(), stop=Stop()).summary.failed == 0
    assert contents(home.store) == before


def is_of_level(root: Path, path: Path, level: int) -> bool:
    with reading(root) as store:
        return any(row.level == level for row in store._index._run_rows() if row.name == path.stem)


@pytest.mark.parametrize("kind", ["missing", "truncated"])
def test_run_of_packs_that_are_all_gone_may_be_damaged(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "store"
    with writing(root) as store:
        store.put(b"gone", pack_class=META)
        (pack,) = store.seal()
        path = store.pack_file(pack)
        with store._index.transaction():
            store._index.drop(pack)
    path.unlink()
    shutil.rmtree(root / "hashes")
    OUTLINES[kind](run_files(root)[0])
    with writing(root) as store:
        assert not store.has(name_of(b"gone"))
    assert run_files(root) == []


@pytest.mark.parametrize("kind", ["missing", "truncated", "flipped"])
def test_database_that_is_lost_or_damaged_is_rebuilt_from_packs_alone(home: Home, kind: str) -> None:
    before = contents(home.store)
    path = home.store / "index.sqlite"
    if kind == "missing":
        path.unlink()
        with writing(home.store):
            pass
    else:
        cut_at = path.stat().st_size // 3
        data = path.read_bytes()
        path.write_bytes(data[:cut_at] if kind == "truncated" else b"\x07" * 100 + data[100:])
        assert repair(home, None, emit=Heard(), stop=Stop()).summary.failed == 0
    assert contents(home.store) == before


def test_folder_of_runs_that_is_lost_comes_back(home: Home) -> None:
    before = contents(home.store)
    shutil.rmtree(home.store / "index")
    with writing(home.store):
        pass
    assert contents(home.store) == before


def test_pack_that_was_lost_with_the_runs_takes_its_captures_with_it(home: Home) -> None:
    with reading(home.store) as store:
        (lost, *_), captures = store.captures(), len(store.captures())
        pack = store._index.find(lost.snapshot)  # type: ignore[arg-type]
        assert pack is not None
        assert pack.pack is not None
        store.pack_file(pack.pack).unlink()
    shutil.rmtree(home.store / "index")
    with writing(home.store) as store:
        assert len(store.captures()) == captures - 1
    assert check(home, "data", emit=Heard(), stop=Stop()).summary.failed == 0


STEPS = {
    "write": (run_writer, "publish_file"),
    "rows": (runs.StoredRuns, "_write"),
    "delete": (runs.StoredRuns, "_write_many"),
    "commit": (runs.StoredRuns, "commit"),
    "merge": (runs, "merge_runs"),
    "unlink": (Path, "unlink"),
}


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("step", STEPS)
def test_crash_while_rows_become_a_run_or_runs_are_merged_loses_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: str, after: int
) -> None:
    before = contents(home.store)
    where, name = STEPS[step]
    original, left = getattr(where, name), [after]

    def crash(*arguments: object, **named: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise Crash
        return original(*arguments, **named)

    store = Store.open(home.store, write=True)
    for number in range(2):
        store.put(random_bytes(100, number), pack_class=META)
        with monkeypatch.context() as patch:
            settle = store._index.settle
            patch.setattr(store._index, "settle", lambda _=1: None)
            store.seal()
        try:
            with monkeypatch.context() as patch:
                patch.setattr(where, name, crash)
                settle()
        except Crash:
            break
    store.close()
    with writing(home.store) as store:
        assert [store.read(store.put(random_bytes(100, seen), pack_class=META)) for seen in range(number + 1)]
        listed = [row.name for row in store._index._run_rows()]
    assert [path.stem for path in run_files(home.store)] == sorted(listed)
    after_it = contents(home.store)
    for key, entries in before["objects"].items():  # type: ignore[attr-defined]
        if ".part" not in key:
            assert after_it["objects"][key] == entries  # type: ignore[index]
    assert check(home, "data", emit=Heard(), stop=Stop()).summary.failed == 0


@pytest.mark.parametrize("version", [1, 4])
def test_index_of_an_older_version_is_refused_and_rebuilt_from_the_packs(home: Home, version: int) -> None:
    before = contents(home.store)
    path = home.store / "index.sqlite"
    with closing(sqlite3.connect(path)) as base:
        base.executescript(f"DROP TABLE file_keys; DROP TABLE generations; PRAGMA user_version = {version};")
    data = path.read_bytes()
    for write in (False, True):
        with pytest.raises(UnsupportedFormat, match=f"version {version}") as caught:
            Store.open(home.store, write=write)
        assert "store repair --index" in str(caught.value.hint)
    assert path.read_bytes() == data
    assert repair(home, None, emit=Heard(), stop=Stop()).summary.failed == 0
    assert contents(home.store) == before


def test_parts_are_rechecked_when_a_run_with_their_rows_is_damaged(home: Home) -> None:
    with writing(home.store) as store:
        kept = [store.put(random_bytes(3000, seed), pack_class=META) for seed in range(90, 94)]
        store.commit()
        with store._index.transaction():
            store._index.flush()
        (part,) = [found.part for found in [store._index.find(kept[0])] if found is not None]
    before = contents(home.store)
    cut(max(run_files(home.store), key=lambda path: path.stat().st_mtime_ns))
    with writing(home.store) as store:
        assert [store.read(each) for each in kept] == [random_bytes(3000, seed) for seed in range(90, 94)]
    assert contents(home.store) == before
    # Committed objects after a damaged record are salvaged, though no row lists them.
    with writing(home.store) as store:
        store._index.settle()
        first, last = (store._index.find(each) for each in (kept[0], kept[-1]))
        assert first is not None
        assert last is not None
        assert last.part == part
    with (home.store / "open" / str(part)).open("r+b") as file:
        file.seek(first.entry.offset)
        file.write(b"damage")
    cut(max(run_files(home.store), key=lambda path: path.stat().st_mtime_ns))
    with writing(home.store) as store:
        assert [store.has(each) for each in kept] == [False, True, True, True]
