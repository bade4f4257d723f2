"""A repair requests only damaged bytes, and names whatever it could not restore."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Never

import pytest

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import NotFound, StoreLocked, TransportError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.pieces import alignment_of
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.store.maintenance.verify_pack import read_footer, record_start
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.hashes import read_sidecar, sidecar_in
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain import repair as repair_module
from ptmtorrent.workflows.maintain.inspect import Level
from ptmtorrent.workflows.maintain.repair import RepairResult, repair
from ptmtorrent.workflows.maintain.sources import RepairSource
from tests.channels import Heard, Made, clock, make_channel
from tests.static import serve_folder
from tests.workflows.captured import capture_three
from tests.workflows.maintain.stores import check, find, flip, largest_object, pack_file, packs_of


@pytest.fixture
def mirror(original: Made, made: Made, tmp_path: Path) -> Path:
    """A whole copy of the channel that shares nothing with the store, trusted by the home."""
    shutil.copytree(original.folder, tmp_path / "mirror")
    made.trusted_by(made.home, str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def run_repair(
    made: Made, mirror: Path | str | None = None, *, level: Level = "data", **how: bool
) -> tuple[RepairResult, Heard]:
    heard = Heard()
    named = None if mirror is None else open_channel(str(mirror), None, made.home, clock=clock, emit=heard)
    return repair(made.home, named, level=level, emit=heard, stop=Stop(), **how), heard


def is_whole(made: Made) -> bool:
    return check(made.home, "data")[0].summary.failed == 0


def an_object(made: Made, package: str = "hf:solo") -> ObjectId:
    return made.manifests[package].objects[-1][0]


def test_a_whole_store_is_left_alone(made: Made) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.home.store.rglob("*.pack")}
    repaired, heard = run_repair(made)
    assert (repaired.repaired, repaired.unrepaired, repaired.incomplete, repaired.summary.failed) == ((), (), (), 0)
    assert {path: path.stat().st_mtime_ns for path in made.home.store.rglob("*.pack")} == before
    assert heard.results == {}


def test_a_flip_in_an_object_moves_that_object_alone(made: Made, mirror: Path) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset + 100)
    repaired, heard = run_repair(made, mirror)
    assert repaired.repaired == (place.pack,)
    assert repaired.summary.bytes_moved == place.entry.stored
    assert place.entry.id in heard.results[place.pack].reason
    assert is_whole(made)


def test_flips_in_several_objects_move_those_objects_alone(made: Made, mirror: Path) -> None:
    wanted = 0
    for package in ("hf:org/base", "hf:org/tuned", "onnx:vision/x"):
        place = find(made.home, an_object(made, package))
        assert place.pack is not None
        flip(pack_file(made.home, place.pack), place.entry.end - 1, bit=7)
        wanted += place.entry.stored
    assert run_repair(made, mirror)[0].summary.bytes_moved == wanted
    assert is_whole(made)


def test_ranges_are_all_that_is_asked_of_a_server(made: Made, mirror: Path) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset)
    with serve_folder(mirror) as url:
        made.trusted_by(made.home, url)
        repaired, _ = run_repair(made, url)
    assert repaired.summary.bytes_moved == place.entry.stored
    assert list(repaired.summary.sources.values()) == [place.entry.stored]
    assert is_whole(made)


def test_a_repaired_pack_replaces_the_damaged_link_in_the_channel(made: Made, mirror: Path) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    published = made.folder / pack_path(place.pack)
    flip(pack_file(made.home, place.pack), place.entry.offset)
    run_repair(made, mirror)
    assert published.samefile(pack_file(made.home, place.pack))


def test_a_link_that_a_crash_left_behind_is_repaired_by_the_next_run(made: Made, mirror: Path) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    published = made.folder / pack_path(place.pack)
    published.unlink()
    shutil.copyfile(pack_file(made.home, place.pack), published)
    flip(published, place.entry.offset)
    run_repair(made, mirror)
    assert published.samefile(pack_file(made.home, place.pack))


def damage(made: Made, what: str) -> PackId:
    """Flip a bit of one region of the largest pack."""
    place = largest_object(made.home)
    assert place.pack is not None
    path = pack_file(made.home, place.pack)
    with open_pack(path) as reader:
        entries, footer = read_footer(reader)
        places = {
            "header": 14,
            "record": record_start(entries[1]) + 9,
            "footer": footer.end - pack_format.TRAILER_BYTES - 200,
            "trailer": footer.end - 3,
            "padding": reader.size - 7,
        }
    flip(path, places[what], bit=2)
    return place.pack


def test_a_whole_file_of_the_channel_is_never_replaced_by_one_that_was_not_read(made: Made) -> None:
    found = largest_object(made.home)
    assert found.pack is not None
    published = made.folder / pack_path(found.pack)
    whole = published.read_bytes()
    published.unlink()
    published.write_bytes(whole)
    flip(pack_file(made.home, found.pack), found.entry.offset + 1)
    run_repair(made, level="normal")
    assert published.read_bytes() == whole
    assert not list(published.parent.glob(".tmp-*"))
    run_repair(made)
    assert pack_file(made.home, found.pack).read_bytes() == whole


def test_a_pack_that_could_not_be_repaired_is_not_put_into_the_channel(made: Made) -> None:
    found = largest_object(made.home)
    assert found.pack is not None
    published = made.folder / pack_path(found.pack)
    published.unlink()
    flip(pack_file(made.home, found.pack), found.entry.offset + 1)
    assert run_repair(made)[0].unrepaired == (found.pack,)
    assert not published.exists()


@pytest.mark.parametrize("what", ["header", "record", "footer", "trailer", "padding"])
def test_what_follows_from_the_rest_is_repaired_without_a_source(made: Made, what: str) -> None:
    pack = damage(made, what)
    repaired, _ = run_repair(made)
    assert repaired.repaired == (pack,)
    assert repaired.summary.bytes_moved == 0
    assert is_whole(made)


def test_a_missing_pack_comes_back_from_the_own_channel(made: Made) -> None:
    pack = damage(made, "padding")
    flip(pack_file(made.home, pack), pack_file(made.home, pack).stat().st_size - 7, bit=2)
    pack_file(made.home, pack).unlink()
    repaired, _ = run_repair(made)
    assert repaired.repaired == (pack,)
    assert repaired.summary.bytes_moved == 0
    assert is_whole(made)


@pytest.mark.parametrize("keeps_hashes", [True, False])
def test_a_missing_pack_is_fetched_whole(made: Made, mirror: Path, *, keeps_hashes: bool) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    size = pack_file(made.home, place.pack).stat().st_size
    for path in (pack_file(made.home, place.pack), made.folder / pack_path(place.pack)):
        path.unlink()
    if not keeps_hashes:
        sidecar_in(made.home.store, place.pack).unlink()
    repaired, _ = run_repair(made, mirror)
    assert repaired.summary.bytes_moved == size
    assert repaired.incomplete == ()
    assert is_whole(made)
    assert (made.folder / pack_path(place.pack)).samefile(pack_file(made.home, place.pack))


def test_a_pack_cut_short_gets_what_it_lacks(made: Made, mirror: Path) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    path = pack_file(made.home, place.pack)
    with path.open("r+b") as file:
        file.truncate(place.entry.offset + 10)
    repaired, _ = run_repair(made, mirror)
    assert place.entry.stored < repaired.summary.bytes_moved < path.stat().st_size
    assert is_whole(made)


def test_bytes_of_no_known_region_are_narrowed_to_their_piece(
    made: Made, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset)
    size = pack_file(made.home, place.pack).stat().st_size
    assert size > alignment_of(size)
    from ptmtorrent.workflows.maintain import damaged_packs

    monkeypatch.setattr(damaged_packs.DamagedPack, "extents", property(lambda _: []))
    assert run_repair(made, mirror)[0].summary.bytes_moved == alignment_of(size)
    monkeypatch.undo()
    assert is_whole(made)


def test_a_mirror_with_other_bytes_repairs_nothing_and_is_named(made: Made, mirror: Path) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset)
    flip(mirror / pack_path(place.pack), place.entry.offset, bit=3)
    repaired, heard = run_repair(made, mirror)
    assert repaired.unrepaired == (place.pack,)
    assert "also has other bytes" in heard.results[place.pack].reason


def test_what_no_source_has_is_dropped_and_the_package_named_for_a_clone(made: Made) -> None:
    identifier = an_object(made)
    place = find(made.home, identifier)
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset)
    repaired, heard = run_repair(made)
    assert repaired.incomplete == ("hf:solo",)
    assert "ptmtorrent clone huggingface --id solo" in heard.results["hf:solo"].reason
    reason = heard.results[place.pack].reason
    assert identifier in reason
    assert "`2026.11`" in reason
    assert (made.home.store / "damaged" / f"{place.pack}.pack").is_file()
    assert not pack_file(made.home, place.pack).exists()
    with Store.open(made.home.store) as store:
        assert not store.has(identifier)
        assert "hf:solo" not in {capture.package for capture in store.captures()}
        for package, manifest in made.manifests.items():
            for each, _ in manifest.objects if package != "hf:solo" else ():
                store.read(each)
    damaged = {finding.pack for finding in check(made.home, "data")[0].findings}
    assert damaged == {place.pack}  # the release still needs it


def test_a_quarantined_pack_comes_back_when_a_channel_has_it(made: Made, mirror: Path) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset)
    run_repair(made)
    repaired, _ = run_repair(made, mirror)
    assert repaired.repaired == (place.pack,)
    assert is_whole(made)
    with Store.open(made.home.store) as store:
        store.read(place.entry.id)


def test_objects_that_the_channel_has_in_other_packs_are_put_again(tmp_path: Path, made: Made) -> None:
    other = make_channel(tmp_path / "other", {"hf:solo": made.packages["hf:solo"]})
    other.trusted_by(made.home, str(other.folder))
    place = find(made.home, an_object(made))
    assert place.pack is not None
    assert not (other.folder / pack_path(place.pack)).exists()
    flip(pack_file(made.home, place.pack), place.entry.offset)
    repaired, _ = run_repair(made, other.folder)
    assert repaired.incomplete == ()
    assert repaired.unrepaired == (place.pack,)
    with Store.open(made.home.store) as store:
        assert store.has(place.entry.id)
        assert "hf:solo" in {capture.package for capture in store.captures()}
        store.read(place.entry.id)


def test_a_lost_manifest_takes_its_package_with_it(made: Made) -> None:
    with Store.open(made.home.store) as store:
        snapshot = next(capture.snapshot for capture in store.captures() if capture.package == "hf:solo")
    place = find(made.home, ObjectId(snapshot))
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset + 2)
    assert run_repair(made)[0].incomplete == ("hf:solo",)


def test_lost_hashes_are_taken_again(made: Made) -> None:
    first, *_, last = packs_of(made.home)
    wanted = {pack: read_sidecar(made.home.store, pack) for pack in (first, last)}
    sidecar_in(made.home.store, first).unlink()
    flip(sidecar_in(made.home.store, last), 30)
    repaired, _ = run_repair(made)
    assert set(repaired.repaired) == {first, last}
    assert {pack: read_sidecar(made.home.store, pack) for pack in (first, last)} == wanted


@pytest.mark.parametrize("state", ["missing", "damaged", "torn"])
def test_the_index_is_rebuilt_from_the_packs(made: Made, state: str) -> None:
    index = made.home.store / "index.sqlite"
    if state == "missing":
        index.unlink()
    elif state == "damaged":
        index.write_bytes(b"no database" * 500)
    else:
        index.write_bytes(index.read_bytes()[:5000])
    repaired, heard = run_repair(made)
    assert heard.results["index"].status == "ok"
    assert repaired.summary.failed == 0
    assert is_whole(made)
    with Store.open(made.home.store) as store:
        assert {capture.package for capture in store.captures()} == set(made.packages)


def test_the_index_is_rebuilt_when_asked(made: Made) -> None:
    with Store.open(made.home.store, exclusive=True) as store, store._index.transaction():
        store._index.clear()
        for pack, size in packs_of(made.home).items():
            store._index.row_of_pack(pack, size, "open")
    run_repair(made, rebuild=True, level="normal")
    assert is_whole(made)


def test_rows_that_the_index_lost_are_found_in_the_footer(made: Made) -> None:
    pack, size = next(iter(packs_of(made.home).items()))
    with Store.open(made.home.store, exclusive=True) as store, store._index.transaction():
        store._index.drop(pack)
        store._index.row_of_pack(pack, size, "open")
    assert check(made.home)[0].summary.failed
    run_repair(made)
    assert is_whole(made)


def test_a_dry_run_says_what_it_would_ask_for_and_changes_nothing(made: Made, mirror: Path) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    path = pack_file(made.home, place.pack)
    flip(path, place.entry.offset)
    before = path.read_bytes()
    repaired, heard = run_repair(made, mirror, dry_run=True)
    assert heard.plan.bytes_to_move == place.entry.stored
    assert heard.results[place.pack].status == "ok"
    assert repaired.summary.bytes_moved == 0
    assert path.read_bytes() == before


def test_a_dry_run_without_a_channel_says_that_one_has_to_be_named(made: Made) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    shutil.rmtree(made.home.channel)
    flip(pack_file(made.home, place.pack), place.entry.offset)
    _, heard = run_repair(made, dry_run=True)
    assert heard.results[place.pack].status == "impossible"
    assert "--from" in heard.results[place.pack].reason


def test_no_object_of_a_missing_pack_is_reported_as_salvaged(made: Made) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    shutil.rmtree(made.home.channel)
    pack_file(made.home, place.pack).unlink()
    _, heard = run_repair(made)
    assert "could not be repaired" in heard.results[place.pack].reason
    assert "whole objects" not in heard.results[place.pack].reason


def test_a_repair_does_not_run_beside_a_writer(made: Made) -> None:
    with Store.open(made.home.store, write=True), pytest.raises(StoreLocked):
        run_repair(made)


STEPS = ("relink_packs", "salvage_pack", "drop_incomplete")


@pytest.fixture(params=STEPS)
def dying(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the first run before one of its steps."""

    def die(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(repair_module, request.param, die)
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("dying")
def test_a_repair_that_was_killed_is_finished_by_the_next(made: Made) -> None:
    place = find(made.home, an_object(made))
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset)
    with pytest.raises(KeyboardInterrupt):
        run_repair(made)
    run_repair(made)
    with Store.open(made.home.store) as store:
        assert "hf:solo" not in {capture.package for capture in store.captures()}
        assert not store.has(place.entry.id)
    assert (made.home.store / "damaged" / f"{place.pack}.pack").is_file()
    assert not list(made.home.store.rglob(".tmp-*"))


def test_what_an_unsealed_part_lost_is_named_for_a_clone(home: Home, tmp_path: Path) -> None:
    manifests = capture_three(home, tmp_path)
    place = find(home, manifests["onnx:vision/x"].objects[0][0])
    assert place.part is not None
    flip(home.store / "open" / place.part, place.entry.offset)
    repaired = repair(home, None, emit=Heard(), stop=Stop())
    assert repaired.incomplete == ("onnx:vision/x",)
    assert check(home, "data")[0].findings == ()


@pytest.mark.parametrize("where", ["find", "read_object"])
def test_a_channel_that_fails_stops_no_repair(
    made: Made, mirror: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: object) -> Never:
        raise TransportError("the channel hung up")

    def refuse(*_: object) -> Never:
        raise NotFound("it has no such pack")

    place = find(made.home, an_object(made))
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset + 2)
    monkeypatch.setattr(RepairSource, "read", refuse)
    monkeypatch.setattr(RepairSource, where, fail)
    repaired, heard = run_repair(made, mirror)
    assert repaired.incomplete == ("hf:solo",)
    assert "the channel hung up" in heard.results[place.pack].reason
    with Store.open(made.home.store) as store:
        assert "hf:solo" not in {capture.package for capture in store.captures()}
