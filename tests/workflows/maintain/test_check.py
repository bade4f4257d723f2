"""What a check finds and reports, including the bytes that it did not read."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ptmtorrent.errors import Interrupted, NoSpace, NotFound, StoreError
from ptmtorrent.model.records import Note
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.hashes import sidecar_in
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.check import check as check_store
from ptmtorrent.workflows.maintain.inspect import Level
from ptmtorrent.workflows.maintain.repair import repair
from tests.channels import Heard, Made
from tests.workflows.captured import capture, capture_three
from tests.workflows.maintain.stores import check, find, flip, largest_object, pack_file, packs_of


@pytest.mark.parametrize("level", ["quick", "normal", "data"])
def test_a_whole_store_passes_every_check(made: Made, level: Level) -> None:
    checked, heard = check(made.home, level)
    assert checked.summary.failed == 0
    assert checked.findings == ()
    assert {result.status for result in heard.results.values()} == {"ok"}
    assert set(packs_of(made.home)) <= set(heard.results)


def test_a_check_of_all_bytes_leaves_none_unread(made: Made) -> None:
    assert check(made.home, "data")[0].summary.bytes_unread == 0


@pytest.mark.parametrize("level", ["quick", "normal"])
def test_a_check_says_how_many_bytes_it_did_not_read(made: Made, level: Level) -> None:
    checked, heard = check(made.home, level)
    notes = [record.message for record in heard.records if isinstance(record, Note)]
    assert 0 < checked.summary.bytes_unread <= checked.summary.bytes
    assert any("were not read" in note and "--data" in note for note in notes)


def test_a_flip_in_an_object_is_named_with_the_packages_that_need_it(made: Made) -> None:
    identifier = made.manifests["hf:solo"].objects[-1][0]
    place = find(made.home, identifier)
    assert place.pack is not None
    flip(pack_file(made.home, place.pack), place.entry.offset + 5)
    checked, heard = check(made.home, "data")
    (finding,) = checked.findings
    assert (finding.pack, finding.what, finding.object) == (place.pack, "object", identifier)
    assert (finding.offset, finding.bytes) == (place.entry.offset, place.entry.stored)
    assert finding.packages == ("hf:solo",)
    assert identifier in heard.results[place.pack].reason
    assert checked.summary.failed == 1


def test_a_missing_pack_is_found_by_the_quickest_check(made: Made) -> None:
    place = largest_object(made.home)
    assert place.pack is not None
    pack_file(made.home, place.pack).unlink()
    checked, heard = check(made.home, "quick")
    assert heard.results[place.pack].status == "error"
    assert place.entry.id in {finding.object for finding in checked.findings}


def test_a_pack_cut_short_is_found_by_the_quickest_check(made: Made) -> None:
    pack = next(iter(packs_of(made.home)))
    path = pack_file(made.home, pack)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    assert check(made.home, "quick")[1].results[pack].status == "error"


@pytest.mark.parametrize("level", ["normal", "data"])
def test_lost_and_damaged_hashes_are_found(made: Made, level: Level) -> None:
    first, *_ = packs = list(packs_of(made.home))
    sidecar_in(made.home.store, first).unlink()
    flip(sidecar_in(made.home.store, packs[-1]), 40)
    _, heard = check(made.home, level)
    assert "hashes are missing" in heard.results[first].reason
    assert "hashes are damaged" in heard.results[packs[-1]].reason


def test_a_footer_that_the_index_contradicts_is_found(made: Made) -> None:
    pack = next(iter(packs_of(made.home)))
    with Store.open(made.home.store, exclusive=True) as store, store._index.transaction():
        dropped = store._index.drop(pack)
        store._index.row_of_pack(pack, store.pack_file(pack).stat().st_size, "open")
    reason = check(made.home)[1].results[pack].reason
    assert "the index lacks its object" in reason
    assert any(identifier in reason for identifier in dropped)


def test_a_package_that_lacks_an_object_is_named(made: Made) -> None:
    place = largest_object(made.home)
    assert place.pack is not None
    with Store.open(made.home.store, exclusive=True) as store, store._index.transaction():
        store._index.drop(place.pack)
    results = check(made.home)[1].results
    assert any(result.id.startswith("hf:") and "the store lacks" in result.reason for result in results.values())


def test_a_damaged_index_is_named_and_nothing_else_is_checked(made: Made) -> None:
    index = made.home.store / "index.sqlite"
    index.write_bytes(b"no database" * 1000)
    checked, heard = check(made.home, "quick")
    assert list(heard.results) == ["index"]
    assert checked.summary.failed == 1


def test_objects_of_unsealed_parts_are_read_too(home: Home, tmp_path: Path) -> None:
    manifests = capture_three(home, tmp_path)
    assert check(home, "data")[0].summary.failed == 0
    identifier = manifests["onnx:vision/x"].objects[0][0]
    place = find(home, identifier)
    assert place.part is not None
    flip(home.store / "open" / place.part, place.entry.offset)
    checked, heard = check(home, "data")
    assert place.part in heard.results
    assert checked.findings[0].packages == ("onnx:vision/x",)


def test_what_a_release_needs_and_the_store_lacks_is_named(made: Made) -> None:
    pack = next(iter(packs_of(made.home)))
    pack_file(made.home, pack).unlink()
    sidecar_in(made.home.store, pack).unlink()
    with Store.open(made.home.store, exclusive=True):
        pass  # which drops the pack from the index
    assert "2026.11" in check(made.home)[1].results[pack].reason


def test_a_pack_that_the_index_does_not_know_yet_is_no_damage(made: Made) -> None:
    place = largest_object(made.home)
    assert place.pack is not None
    with Store.open(made.home.store, exclusive=True) as store, store._index.transaction():
        store._index.drop(place.pack)
    _, heard = check(made.home)
    assert heard.results[place.pack].status == "ok"
    assert any("not in the index yet" in record.message for record in heard.records if isinstance(record, Note))


def test_a_check_beside_a_writer_finds_nothing_wrong(home: Home, tmp_path: Path) -> None:
    with Store.open(home.store, write=True) as store:
        for number in range(3):
            capture(store, tmp_path, f"hf:a/{number}", {"model.safetensors": bytes([number]) * 9000})
            assert check(home, "data")[0].findings == ()
            if number == 1:
                store.seal()


def test_a_check_stops_when_the_stop_is_set(made: Made) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted) as caught:
        check_store(made.home, "data", emit=Heard(), stop=stop)
    assert caught.value.hint == "run the same command again; it begins anew"


def test_a_home_without_a_store_has_nothing_to_check(home: Home) -> None:
    with pytest.raises(NotFound, match="there is no store"):
        check_store(home, "quick", emit=Heard(), stop=Stop())


@pytest.mark.parametrize("column", ["data", "snapshot", "package", "captured"])
def test_a_wrong_row_of_a_capture_is_damage_and_rebuilt(made: Made, column: str) -> None:
    index = made.home.store / "index.sqlite"
    with closing(sqlite3.connect(index)) as connection, connection:
        kind = "TEXT" if column in {"package", "captured"} else "BLOB"
        connection.execute(
            f"UPDATE captures SET {column} = CAST(substr(hex({column}), 3) AS {kind})"  # noqa: S608  # the four above
            " WHERE row = (SELECT min(row) FROM captures)"
        )
    checked, heard = check(made.home)
    assert [finding.what for finding in checked.findings] == ["index"]
    assert "row of the capture" in heard.results["index"].reason
    repair(made.home, None, emit=Heard(), stop=Stop())
    assert check(made.home)[0].summary.failed == 0


def test_a_wrong_pack_name_in_the_index_is_damage_and_nothing_is_lost_by_repair(made: Made) -> None:
    """The row and the SQLite index of the table differ in the name; SQLite's quick check does not compare them."""
    index, pack = made.home.store / "index.sqlite", largest_object(made.home).pack
    assert pack is not None
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(index.read_bytes())
    data[data.index(bytes.fromhex(pack)) + 9] ^= 1
    index.write_bytes(data)
    checked, _ = check(made.home)
    assert [finding.what for finding in checked.findings] == ["index"]
    repaired = repair(made.home, None, emit=Heard(), stop=Stop())
    assert repaired.incomplete == ()
    assert check(made.home, "data")[0].summary.failed == 0


def test_a_schema_that_lost_a_column_is_damage_and_rebuilt(made: Made) -> None:
    with closing(sqlite3.connect(made.home.store / "index.sqlite")) as connection, connection:
        connection.execute("ALTER TABLE captures RENAME COLUMN captured TO captuped")
    checked, _ = check(made.home)
    assert [finding.what for finding in checked.findings] == ["index"]
    repair(made.home, None, emit=Heard(), stop=Stop())
    assert check(made.home)[0].summary.failed == 0


def test_an_index_that_cannot_be_opened_is_not_called_damaged(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk SQLite cannot allocate its shared memory; the index is undamaged and stays in place."""

    def refuse(path: Path) -> sqlite3.Connection:
        error = sqlite3.OperationalError(f"unable to open `{path.name}`")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    monkeypatch.setattr("ptmtorrent.store.maintenance.quick_check.connect_to_read", refuse)
    with pytest.raises(StoreError, match="could not be used"):
        check(made.home)
    with pytest.raises(StoreError, match="could not be used"):
        repair(made.home, None, emit=Heard(), stop=Stop())
    assert not (made.home.store / "damaged").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 64 MB in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root and the permission to mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.needs_root
def test_a_full_disk_leaves_a_whole_index_where_it_is(made: Made, small_disk: Path) -> None:
    home = Home(small_disk / "home")
    shutil.copytree(made.home.root, home.root)
    for name in ("index.sqlite-shm", "index.sqlite-wal"):
        (home.store / name).unlink(missing_ok=True)
    with suppress(OSError), (small_disk / "filling").open("wb") as file:
        while True:
            file.write(bytes(1 << 12))
            file.flush()
    assert check(home, "normal")[0].summary.failed == 0
    with pytest.raises(NoSpace):
        repair(home, None, emit=Heard(), stop=Stop())
    assert not (home.store / "damaged").exists()


def test_no_footer_of_an_unsealed_part_is_reported(home: Home, tmp_path: Path) -> None:
    capture_three(home, tmp_path)
    reasons = {result.reason for name, result in check(home)[1].results.items() if name.endswith(".part")}
    assert reasons == {"present, not sealed yet; header and records are undamaged"}


def test_a_quarantined_part_is_named(home: Home, tmp_path: Path) -> None:
    capture_three(home, tmp_path)
    part = next(path for path in (home.store / "open").iterdir() if path.stat().st_size > 1000)
    flip(part, 3)
    with Store.open(home.store, write=True):
        pass
    checked, heard = check(home, "data")
    notes = [record.message for record in heard.records if isinstance(record, Note)]
    assert checked.summary.failed == 0
    assert any(f"`{home.store / 'damaged' / part.name}`" in note for note in notes)
