"""Referenced objects are never deleted; unreferenced packs are deleted in two steps."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError, StoreLocked
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.records import Note, Result
from ptmtorrent.paths import Home
from ptmtorrent.store.maintenance.gc_marks import read_marks
from ptmtorrent.store.pack.hashes import sidecar_in
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain import gc as gc_module
from ptmtorrent.workflows.maintain.gc import GcResult
from ptmtorrent.workflows.maintain.gc import gc as collect
from tests.channels import Heard, Made
from tests.workflows.captured import TickingClock, capture
from tests.workflows.maintain.stores import check, flip, pack_file, packs_of

NONE = timedelta(0)
WEEK = timedelta(days=7)


class LaterClock(TickingClock):
    def __init__(self, later: timedelta) -> None:
        super().__init__()
        self.now += later


def gc(
    home: Home, *, grace: timedelta = timedelta(hours=24), later: timedelta = NONE, dry_run: bool = False
) -> GcResult:
    return collect(
        home,
        grace=grace,
        dry_run=dry_run,
        clock=LaterClock(later),
        emit=Heard(),
        uptime=lambda: ("boot", 1000 + int(later.total_seconds())),
    )


def recapture(home: Home, scratch: Path) -> set[PackId]:
    """Capture a package and seal it, then again with other weights; return the packs of the first capture."""
    with Store.open(home.store, write=True) as store:
        capture(store, scratch, "hf:a/b", {"model.safetensors": b"old" * 9000}, captured="2026-11-20T12:00:00Z")
        old = set(store.seal())
        capture(store, scratch, "hf:a/b", {"model.safetensors": b"new" * 9000}, captured="2026-11-21T12:00:00Z")
        store.seal()
    return old


def test_what_an_older_capture_needed_is_deleted_after_the_grace_period(home: Home, tmp_path: Path) -> None:
    old = recapture(home, tmp_path)
    first = gc(home)
    assert (first.packs_freed, first.packs_marked) == (0, len(first_dead := read_marks(home.store)))
    assert first_dead.keys() <= old
    assert gc(home, later=timedelta(hours=23)).packs_freed == 0
    second = gc(home, later=timedelta(hours=25))
    assert second.packs_freed == len(first_dead) >= 1
    assert (second.summary.packages, second.summary.unit) == (second.packs_freed, "pack")
    assert second.bytes_freed == first.bytes_marked
    assert not any(pack_file(home, pack).exists() or sidecar_in(home.store, pack).exists() for pack in first_dead)
    assert read_marks(home.store) == {}
    assert check(home, "data")[0].summary.failed == 0


def test_without_a_grace_period_it_is_deleted_at_once(home: Home, tmp_path: Path) -> None:
    old = recapture(home, tmp_path)
    assert gc(home, grace=NONE).packs_freed >= 1
    assert not old <= packs_of(home).keys()


def test_a_dry_run_changes_nothing(home: Home, tmp_path: Path) -> None:
    recapture(home, tmp_path)
    before = packs_of(home)
    assert gc(home, grace=NONE, dry_run=True).packs_freed >= 1
    assert packs_of(home) == before
    assert read_marks(home.store) == {}


def test_a_pack_that_is_needed_again_loses_its_mark(home: Home, tmp_path: Path) -> None:
    recapture(home, tmp_path)
    assert gc(home).packs_marked >= 1
    with Store.open(home.store, write=True) as store:
        capture(store, tmp_path, "hf:c/d", {"model.safetensors": b"old" * 9000})
    weights = set(read_marks(home.store))
    gc(home, later=WEEK)
    assert weights & packs_of(home).keys()
    assert check(home, "data")[0].summary.failed == 0


def test_the_packs_of_every_release_stay(made: Made) -> None:
    forget_captures(made)
    before = packs_of(made.home)
    assert gc(made.home, grace=NONE).packs_freed == 0
    assert packs_of(made.home) == before


def forget_captures(made: Made) -> None:
    with Store.open(made.home.store, exclusive=True) as store, store._index.transaction():
        store._index.drop_dependents({capture.snapshot for capture in store.captures()})  # type: ignore[misc]  # ids


@pytest.mark.parametrize("what", ["release.json", "index/placement/000.json", "torrent", "folder", "metadata"])
def test_a_release_that_cannot_be_read_stops_it(made: Made, tmp_path: Path, what: str) -> None:
    forget_captures(made)
    folder = made.folder / "releases" / "2026.11"
    if what == "folder":
        folder.rename(tmp_path / "away")
    elif what == "torrent":
        flip(made.folder / made.release.volumes[0].torrent_v1.path, 30)
    elif what == "metadata":
        flip(made.folder / "metadata" / "timestamp.json", 0)
    else:
        flip(folder / what, 30)
    before = packs_of(made.home)
    with pytest.raises(StoreError) as caught:
        gc(made.home, grace=NONE)
    assert caught.value.code == 20
    assert "2026.11" in caught.value.message or what == "metadata"
    assert packs_of(made.home) == before


@pytest.mark.parametrize("what", ["unmounted", "only torrents"])
def test_a_channel_that_lost_all_releases_is_not_taken_for_an_empty_one(made: Made, tmp_path: Path, what: str) -> None:
    if what == "unmounted":
        made.folder.rename(tmp_path / "elsewhere")
        made.folder.symlink_to(tmp_path / "not mounted")
    else:
        shutil.rmtree(made.folder / "releases")
        shutil.rmtree(made.folder / "metadata")
    before = packs_of(made.home)
    with pytest.raises(StoreError, match="it is unknown which releases"):
        gc(made.home, grace=NONE)
    assert packs_of(made.home) == before


def test_a_manifest_that_cannot_be_read_stops_it(home: Home, tmp_path: Path) -> None:
    recapture(home, tmp_path)
    with Store.open(home.store) as store:
        found = store._index.find(store.captures()[0].snapshot)  # type: ignore[arg-type]  # a snapshot is an object
    assert found is not None
    assert found.pack is not None
    flip(pack_file(home, found.pack), found.entry.offset + 3)
    with pytest.raises(StoreError, match="hf:a/b"):
        gc(home, grace=NONE)


@pytest.mark.parametrize("where", ["pack", "part"])
def test_a_manifest_that_a_damaged_part_takes_along_stops_it_too(home: Home, tmp_path: Path, where: str) -> None:
    """Opening the store for writing salvages the whole objects of a part and drops the rest from the index."""
    with Store.open(home.store, write=True) as store:
        capture(store, tmp_path, "hf:a/b", {"model.safetensors": b"old" * 9000})
        if where == "pack":
            store.seal()
    with Store.open(home.store) as store:
        found = store._index.find(store.captures()[0].snapshot)  # type: ignore[arg-type]  # a snapshot is an object
    assert found is not None
    path = home.store / "open" / found.part if found.part else pack_file(home, found.pack)  # type: ignore[arg-type]
    flip(path, found.entry.offset + 3)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="hf:a/b"):
        gc(home, grace=NONE)
    assert path.read_bytes() == before


def lose_index(home: Home) -> None:
    for path in home.store.glob("index.sqlite*"):
        path.unlink()


def packs_with_documents(home: Home) -> list[PackId]:
    return [pack for pack in packs_of(home) if b'"class":"meta"' in pack_file(home, pack).read_bytes()[:200]]


def capture_one(home: Home, scratch: Path) -> dict[PackId, int]:
    with Store.open(home.store, write=True) as store:
        capture(store, scratch, "hf:a/b", {"model.safetensors": b"old" * 9000})
        store.seal()
    return packs_of(home)


def test_without_an_index_nothing_is_deleted(home: Home, tmp_path: Path) -> None:
    capture_one(home, tmp_path)
    lose_index(home)
    with pytest.raises(StoreError, match="index") as caught:
        gc(home, grace=NONE)
    assert caught.value.hint is not None
    assert "store repair --index" in caught.value.hint


def test_a_pack_that_no_index_took_in_stops_it(home: Home, tmp_path: Path) -> None:
    before = capture_one(home, tmp_path)
    (documents,) = packs_with_documents(home)
    lose_index(home)
    data = pack_file(home, documents).read_bytes()
    flip(pack_file(home, documents), data.rindex(b"PTME") - 1)
    with Store.open(home.store, write=True):
        pass  # indexes the readable packs
    with pytest.raises(StoreError, match=documents):
        gc(home, grace=NONE)
    assert all(pack_file(home, pack).exists() for pack in before)


def test_what_adopted_packs_need_stays(home: Home, tmp_path: Path) -> None:
    """With index and hashes lost, a pack counts as adopted and its captures are not trusted; it stays anyway."""
    before = capture_one(home, tmp_path)
    (documents,) = packs_with_documents(home)
    lose_index(home)
    sidecar_in(home.store, documents).unlink()
    with Store.open(home.store, write=True) as store:
        assert store.captures() == []
    assert gc(home, grace=NONE).packs_freed == 0
    assert packs_of(home) == before


def test_it_does_not_run_beside_a_writer(home: Home, tmp_path: Path) -> None:
    recapture(home, tmp_path)
    with Store.open(home.store, write=True), pytest.raises(StoreLocked):
        gc(home)


@pytest.mark.parametrize("survives", [0, 1, 2, 3])
def test_a_crash_while_files_are_deleted_is_finished_by_the_next_run(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    recapture(home, tmp_path)
    removed: list[Path] = []
    remove = gc_module._remove

    def dying(path: Path) -> None:
        if len(removed) == survives:
            raise KeyboardInterrupt
        remove(path)
        removed.append(path)

    with monkeypatch.context() as patched:
        patched.setattr(gc_module, "_remove", dying)
        try:
            gc(home, grace=NONE)
        except KeyboardInterrupt:
            assert len(removed) == survives
    gc(home, grace=NONE)
    assert check(home, "data")[0].summary.failed == 0
    assert set(packs_of(home)) == {PackId(path.stem) for path in home.store.glob("packs/??/*.pack")}
    with Store.open(home.store) as store:
        assert [capture.captured for capture in store.captures()] == ["2026-11-21T12:00:00Z"]


def test_packs_that_a_fetch_kept_stay_unless_requested(made: Made, tmp_path: Path) -> None:
    reader = Home(tmp_path / "reader")
    with Store.open(reader.store, write=True) as store:
        for pack in packs_of(made.home):
            copy = reader.store / "incoming"
            copy.write_bytes(pack_file(made.home, pack).read_bytes())
            store.adopt_pack(copy, pack)
    kept = packs_of(reader)
    assert gc(reader, grace=NONE).packs_freed == 0
    assert collect(reader, grace=NONE, kept=True, clock=LaterClock(NONE), emit=Heard()).packs_freed == len(kept) > 0


def test_it_reports_what_it_does_to_each_pack(home: Home, tmp_path: Path) -> None:
    recapture(home, tmp_path)
    heard = Heard()
    collected = collect(home, grace=NONE, clock=TickingClock(), emit=heard)
    assert sum(record.bytes for record in heard.records if isinstance(record, Result)) == collected.bytes_freed
    assert {result.status for result in heard.results.values()} == {"ok"}


YEARS = timedelta(days=730)


@pytest.mark.parametrize("steps", [[YEARS], [-YEARS], [YEARS, NONE], [-YEARS, NONE], [YEARS, -YEARS, YEARS, -YEARS]])
def test_a_step_of_the_clock_shortens_no_grace(home: Home, tmp_path: Path, steps: list[timedelta]) -> None:
    """What died a minute ago stays, and goes when a day has really passed."""
    recapture(home, tmp_path)
    marked = gc(home).packs_marked
    passed, wall = timedelta(0), NONE
    for wall in steps:
        passed += timedelta(minutes=1)
        assert step(home, wall, passed).packs_freed == 0
    passed += timedelta(hours=25)
    assert step(home, wall, passed).packs_freed == marked >= 1


def test_a_clock_that_stepped_back_is_a_warning(home: Home, tmp_path: Path) -> None:
    recapture(home, tmp_path)
    heard = Heard()
    step(home, YEARS, NONE, heard)
    assert warnings_of(heard) == []
    step(home, NONE, NONE, heard)
    assert ["last run of `store gc`" in message for message in warnings_of(heard)] == [True]


def test_marks_of_an_earlier_version_start_the_grace_again(home: Home, tmp_path: Path) -> None:
    recapture(home, tmp_path)
    marked = gc(home).packs_marked
    rows = ",".join(f'["{pack}","{mark.since}"]' for pack, mark in sorted(read_marks(home.store).items()))
    text = f'{{"dead":[{rows}],"format":"ptmtorrent/store-marks","requires":[],"version":1}}'
    (home.store / "gc.json").write_text(text)
    assert gc(home, later=WEEK).packs_freed == 0
    assert gc(home, later=2 * WEEK).packs_freed == marked


def step(home: Home, wall: timedelta, passed: timedelta, emit: Heard | None = None) -> GcResult:
    """Collect when `passed` has passed since the boot, and the clock was set off by `wall`."""
    seconds = 1000 + int(passed.total_seconds())
    return collect(home, clock=LaterClock(wall + passed), emit=emit or Heard(), uptime=lambda: ("boot", seconds))


def warnings_of(heard: Heard) -> list[str]:
    return [record.message for record in heard.records if isinstance(record, Note) and record.warning]
