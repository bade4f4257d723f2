"""A transient disk failure is not damage: the operation ends, nothing is dropped, and the next one succeeds."""

import errno
import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.repair import repair
from tests.channels import Heard, Made, clock
from tests.store.test_deltas import weights
from tests.workflows.captured import capture
from tests.workflows.maintain.stores import check, flip, largest_object, pack_file

OPEN, PREAD = os.open, os.pread


def fail() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


def fail_to_open(patch: pytest.MonkeyPatch, path: Path, nth: int | None = None) -> list[Path]:
    """Make the `nth` opening of `path` fail, or every one; return the list of openings."""
    opened: list[Path] = []

    def open_file(name: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(name) == path:
            opened.append(path)
            if nth in {None, len(opened)}:
                raise fail()
        return OPEN(name, flags, mode)

    patch.setattr(os, "open", open_file)
    return opened


def run_repair(home: Home, mirror: Path | None = None) -> Heard:
    heard = Heard()
    named = None if mirror is None else open_channel(str(mirror), None, home, clock=clock, emit=heard)
    repair(home, named, level="data", emit=heard, stop=Stop())
    return heard


def test_a_base_that_cannot_be_opened_costs_no_delta(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(home.store, write=True) as store:
        capture(store, tmp_path, "hf:a/base", {"model.safetensors": weights()})
        store.seal()
        tuned = capture(store, tmp_path, "hf:b/tuned", {"model.safetensors": weights(0.002)})
        deltas = {item: base for item, _ in tuned.objects if (base := store.base_of(item)) is not None}
        pack = store.location(next(iter(deltas.values()))).pack
    assert deltas
    nth, opened = 0, [Path()]
    while len(opened) >= nth:  # until nothing fails
        nth += 1
        (home.store / "index.sqlite").unlink()
        with monkeypatch.context() as patch:
            opened = fail_to_open(patch, pack_file(home, pack), nth)
            with suppress(StoreError):
                run_repair(home)
        run_repair(home)
        with Store.open(home.store) as store:
            assert all(store.read(delta) for delta in deltas)
    assert nth > 2


def test_a_pack_that_cannot_be_opened_is_not_quarantined(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    found = largest_object(made.home)
    assert found.pack is not None
    path = pack_file(made.home, found.pack)
    with monkeypatch.context() as patch:
        fail_to_open(patch, path)
        with pytest.raises(StoreError, match="Input/output error"):
            run_repair(made.home)
    assert path.is_file()
    assert run_repair(made.home).results == {}
    assert check(made.home, "data")[0].findings == ()


def test_bytes_that_the_disk_cannot_read_are_damage(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    found = largest_object(made.home)
    assert found.pack is not None
    inode = pack_file(made.home, found.pack).stat().st_ino

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode and offset <= found.entry.offset < offset + length:
            raise fail()
        return PREAD(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    checked, heard = check(made.home, "data")
    assert checked.summary.failed
    assert any(found.entry.id in str(result) for result in heard.results.values())


@pytest.mark.parametrize(
    ("code", "is_damage"), [(sqlite3.SQLITE_IOERR_TRUNCATE, False), (sqlite3.SQLITE_IOERR_READ, True)]
)
def test_only_bytes_that_cannot_be_read_damage_an_index(
    made: Made, monkeypatch: pytest.MonkeyPatch, code: int, is_damage: bool
) -> None:
    def ask(*_: object) -> list[str]:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr("ptmtorrent.store.maintenance.quick_check._run_sqlite_check", ask)
    if is_damage:
        assert "index" in run_repair(made.home).results
    else:
        with pytest.raises(StoreError, match="disk I/O error"):
            run_repair(made.home)
        assert not (made.home.store / "damaged").exists()


def test_a_copy_that_cannot_be_written_ends_the_repair(
    original: Made, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(original.folder, tmp_path / "mirror")
    made.trusted_by(made.home, str(tmp_path / "mirror"))
    identifier: ObjectId = made.manifests["hf:solo"].objects[-1][0]
    with Store.open(made.home.store) as store:
        place = store.location(identifier)
    flip(pack_file(made.home, place.pack), place.offset)

    def write_all(*_: object) -> None:
        raise fail()

    with monkeypatch.context() as patch:
        patch.setattr("ptmtorrent.store.maintenance.pack_draft.write_all", write_all)
        with pytest.raises(StoreError, match="Input/output error"):
            run_repair(made.home, tmp_path / "mirror")
    run_repair(made.home, tmp_path / "mirror")
    assert check(made.home, "data")[0].findings == ()
