"""Which capture of a package is the newest follows from the numbers that the store gave, never from a clock."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.manifest import MAX_SEQUENCE, Capture
from ptmtorrent.store.ingest.writer import Pending
from ptmtorrent.store.pack.writer import Part
from ptmtorrent.store.store import Store
from tests.store.samples import META, add_bytes, add_package, capture, reading, writing

STEPS = {
    "two years ahead, then right": ("2028-11-20T12:00:00Z", "2026-11-20T12:00:00Z"),
    "two years back": ("2026-11-20T12:00:00Z", "2024-11-20T12:00:00Z"),
    "alternating": ("2028-11-20T12:00:00Z", "2024-11-20T12:00:00Z", "2026-11-20T12:00:00Z", "2024-11-20T12:00:01Z"),
    "standing still": ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z"),
}
SnapshotsOf = Callable[[Path], list[SnapshotId]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def capture_each(root: Path, scratch: Path, moments: tuple[str, ...], *, seal: bool = True) -> SnapshotId:
    """Capture a changed package at each of `moments`, each time in a newly opened store; return the last snapshot."""
    for moment in moments:
        with writing(root) as store:
            file = add_bytes(store, scratch, "a.bin", f"{root}{moment}{store.latest_moment()}".encode() * 99, META)
            snapshot = add_package(store, "org/a", {"a.bin": file}, moment)
            if seal:
                store.seal()
    return snapshot


def newest(root: Path) -> list[SnapshotId]:
    with reading(root) as store:
        return [each.snapshot for each in store.captures()]


def lose_index(root: Path) -> None:
    for path in root.glob("index.sqlite*"):
        path.unlink()


@pytest.mark.parametrize("moments", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("seal", [True, False])
def test_the_newest_capture_is_the_last_one(
    root: Path, tmp_path: Path, moments: tuple[str, ...], *, seal: bool
) -> None:
    last = capture_each(root, tmp_path, moments, seal=seal)
    assert newest(root) == [last]
    with writing(root) as store:
        assert [each.snapshot for each in store.captures()] == [last]
        store.rebuild_index()
    assert newest(root) == [last]


def test_captures_of_one_process_count_before_they_are_committed(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        for moment in STEPS["alternating"]:
            file = add_bytes(store, tmp_path, "a.bin", moment.encode() * 99, META)
            last = add_package(store, "org/a", {"a.bin": file}, moment)
            assert [each.snapshot for each in store.captures()] == [last]
        store.commit()
        assert [each.sequence for each in store.captures()] == [len(STEPS["alternating"])]


def test_order_follows_from_packs_alone(root: Path, tmp_path: Path) -> None:
    last = capture_each(root, tmp_path, STEPS["alternating"])
    lose_index(root)
    with writing(root):
        pass
    assert newest(root) == [last]
    shutil.copytree(root / "packs", tmp_path / "copy" / "packs")
    with writing(tmp_path / "copy"):
        pass
    assert newest(tmp_path / "copy") == [last]


def test_numbers_go_on_after_the_index_was_lost(root: Path, tmp_path: Path) -> None:
    capture_each(root, tmp_path, STEPS["alternating"])
    lose_index(root)
    last = capture_each(root, tmp_path, ("2020-01-01T00:00:00Z",))
    assert newest(root) == [last]


def test_number_of_a_lost_capture_is_not_given_again(root: Path, tmp_path: Path) -> None:
    capture_each(root, tmp_path, ("2026-11-20T12:00:00Z",))
    with writing(root) as store:
        known = store.packs()
    capture_each(root, tmp_path, ("2028-11-20T12:00:00Z",))
    with writing(root) as store:
        (gone,) = set(store.packs()) - set(known)
        pack = store.pack_file(gone)
    aside = pack.rename(tmp_path / "aside")
    last = capture_each(root, tmp_path, ("2026-11-21T12:00:00Z",))
    aside.rename(pack)
    with writing(root) as store:
        store.rebuild_index()
    assert newest(root) == [last]


def test_stores_put_together_have_one_order(tmp_path: Path) -> None:
    """Both gave the same numbers; then the time decides, and every index of the same packs says the same."""
    one, other = tmp_path / "one", tmp_path / "other"
    capture_each(one, tmp_path, ("2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z"))
    last = capture_each(other, tmp_path, ("2028-11-20T12:00:00Z", "2026-11-22T12:00:00Z"))
    for part in ("packs", "hashes"):
        shutil.copytree(other / part, one / part, dirs_exist_ok=True)
        shutil.copytree(one / part, other / part, dirs_exist_ok=True)
    for root in (one, other):
        with writing(root):
            pass
        assert newest(root) == [last]
        lose_index(root)
        with writing(root):
            pass
        assert newest(root) == [last]
    later = capture_each(one, tmp_path, ("2020-01-01T00:00:00Z",))
    assert newest(one) == [later]


def test_writers_side_by_side_never_take_a_committed_capture_for_the_newer(root: Path, tmp_path: Path) -> None:
    with writing(root) as first, Store.open(root, write=True) as second:
        for moment, store in zip(STEPS["alternating"], (first, second, first, second), strict=True):
            file = add_bytes(store, tmp_path, "a.bin", moment.encode() * 99, META)
            last = add_package(store, "org/a", {"a.bin": file}, moment)
            store.commit()
            for each in (first, second):
                assert [found.snapshot for found in each.captures()] == [last]


def add(store: Store, scratch: Path, moment: str) -> SnapshotId:
    file = add_bytes(store, scratch, "a.bin", moment.encode() * 99, META)
    return add_package(store, "org/a", {"a.bin": file}, moment)


def numbers(root: Path) -> list[int]:
    with sqlite3.connect(root / "index.sqlite") as base:
        found = [number for (number,) in base.execute("SELECT sequence FROM captures ORDER BY sequence")]
    base.close()
    return found


def test_writers_side_by_side_give_each_capture_a_number_of_its_own_in_the_order_of_commits(
    root: Path, tmp_path: Path
) -> None:
    with writing(root) as first, Store.open(root, write=True) as second:
        last = add(first, tmp_path, "2024-11-20T12:00:00Z")
        for moment in ("2028-11-20T12:00:00Z", "2026-11-20T12:00:00Z"):
            add(second, tmp_path, moment)
        assert [each.captured for each in second.captures()] == ["2026-11-20T12:00:00Z"]
        second.commit()
        first.commit()
        for each in (first, second):
            assert [found.snapshot for found in each.captures()] == [last]
    assert numbers(root) == [1, 2, 3]
    lose_index(root)
    with writing(root):
        pass
    assert newest(root) == [last]


def test_number_of_a_writer_that_ended_before_its_commit_is_not_given_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise StoreError("killed")

    with writing(root) as second:
        first = Store.open(root, write=True)
        add(first, tmp_path, "2028-11-20T12:00:00Z")
        with monkeypatch.context() as patch:
            patch.setattr(Pending, "write", die)
            with pytest.raises(StoreError, match="killed"):
                first.commit()
        first.close()
        last = add(second, tmp_path, "2026-11-20T12:00:00Z")
    with writing(root):
        pass
    assert numbers(root) == [1, 2]
    assert newest(root) == [last]


def test_captures_are_sealed_with_the_packs_of_their_commit(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        add(store, tmp_path, "2026-11-20T12:00:00Z")
        store.seal()
        assert [path.name for path in (root / "open").iterdir()] == []


@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_captures_that_fill_a_pack_go_on_in_the_next(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    moments = STEPS["alternating"]
    with writing(root) as store:
        for moment in moments:
            last = add(store, tmp_path, moment)
        calls = iter([True] * room + [False])
        monkeypatch.setattr(Part, "has_room", lambda *_: next(calls, True))
        store.commit()
        monkeypatch.undo()
        assert len(store.packs()) == 1
        assert [each.snapshot for each in store.captures()] == [last]
    assert numbers(root) == [1, 2, 3, 4]


def without_sequences(root: Path) -> None:
    """Take the numbers off the captures, as an earlier version of the program wrote them."""
    with sqlite3.connect(root / "index.sqlite") as base:
        base.executescript(
            "UPDATE captures SET sequence = NULL,"
            " data = CAST(json_remove(CAST(data AS TEXT), '$.sequence') AS BLOB);"
            "UPDATE highest SET sequence = 0;"
        )
    base.close()


def test_captures_without_a_number_are_older_and_ordered_by_their_time(root: Path, tmp_path: Path) -> None:
    capture_each(root, tmp_path, ("2026-11-20T12:00:00Z", "2028-11-20T12:00:00Z", "2026-11-21T12:00:00Z"))
    without_sequences(root)
    for _ in range(2):
        with reading(root) as store:
            assert [each.captured for each in store.captures()] == ["2028-11-20T12:00:00Z"]
        with writing(root):
            pass
    last = capture_each(root, tmp_path, ("2026-11-21T12:00:00Z",))
    assert newest(root) == [last]


def test_index_that_is_made_again_gets_the_numbers_back(root: Path, tmp_path: Path) -> None:
    last = capture_each(root, tmp_path, STEPS["alternating"])
    for path in root.glob("index.sqlite*"):
        path.unlink()
    with writing(root):
        pass
    assert newest(root) == [last]
    assert numbers(root) == [*range(1, len(STEPS["alternating"]) + 1)]


@pytest.mark.parametrize("value", ["'x'", "-1", str(1 << 60), "NULL + 1.5"])
def test_damaged_number_in_the_index_is_an_error_that_rebuilding_ends(root: Path, tmp_path: Path, value: str) -> None:
    capture_each(root, tmp_path, STEPS["alternating"])
    with sqlite3.connect(root / "index.sqlite") as base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        base.execute(f"UPDATE highest SET sequence = coalesce({value}, 1.5)")  # noqa: S608  # of the test
    base.close()
    with pytest.raises(StoreError) as caught:
        capture_each(root, tmp_path, ("2026-11-21T12:00:00Z",))
    assert "store repair --index" in str(caught.value.hint)
    with writing(root) as store:
        store.rebuild_index()
    last = capture_each(root, tmp_path, ("2026-11-21T12:00:00Z",))
    assert newest(root) == [last]


@pytest.mark.parametrize("sequence", [0, -1, MAX_SEQUENCE + 1])
def test_number_out_of_range_is_refused(sequence: int) -> None:
    data = canonical.encode(capture("org/a", SnapshotId("0" * 64)))
    changed = data.replace(b'"snapshot"', b'"sequence":%d,"snapshot"' % sequence)
    with pytest.raises(IntegrityError):
        canonical.decode(changed, Capture, name="a capture")
