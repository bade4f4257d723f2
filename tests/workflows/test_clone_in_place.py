"""Files of a folder are stored from where they lie: no copy, nothing of the user's changed, and changes found out."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.disk.partial import PartialFile
from ptmtorrent.store import store as stores
from ptmtorrent.store.ingest import files as ingest
from tests.in_process import ptmtorrent

WEIGHTS = bytes(range(256)) * 4096 * 3


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two packages, one of them with weights of three objects and a link."""
    large, small = tmp_path / "raw" / "large", tmp_path / "raw" / "small"
    large.mkdir(parents=True)
    small.mkdir()
    (large / "model.bin").write_bytes(WEIGHTS)
    (large / "README.md").write_text("---\nlicense: mit\n---\n")
    (large / "link.md").symlink_to("README.md")
    (small / "config.json").write_text("{}")
    return tmp_path / "raw"


def clone(home: Path, place: Path, code: int = 0) -> dict[str, dict[str, Any]]:
    events = ptmtorrent(home, "clone", "dir", "--endpoint", place, code=code)
    return {event["id"]: event for event in events if event["type"] == "result"}


def facts(place: Path) -> dict[Path, tuple[int, int, int, int]]:
    found = {path: path.lstat() for path in place.rglob("*")}
    return {path: (each.st_ino, each.st_size, each.st_mtime_ns, each.st_mode) for path, each in found.items()}


def test_no_byte_of_a_file_is_copied_to_the_spool_and_no_file_is_touched(
    home: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled: list[int] = []
    write = PartialFile.write
    monkeypatch.setattr(PartialFile, "write", lambda part, data: (spooled.append(len(data)), write(part, data))[1])
    before = facts(place)
    assert {row["status"] for row in clone(home, place).values()} == {"ok"}
    assert spooled == [len("README.md")], "the text of the link alone"
    assert facts(place) == before
    assert not list((home / "spool").glob("*.part"))


@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_file_that_changes_while_it_is_stored_fails_its_package_and_stays_as_it_is(
    home: Path, place: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before it is read for the store, and between the readings for its hash and for its objects."""
    model, changed = place / "large" / "model.bin", bytearray(WEIGHTS)
    changed[-1] ^= 1
    hash_file = stores.hash_file

    def hashing(stable: ingest.StableFile, *given: Any, **named: Any) -> ingest.FileHashes:
        if moment == "before" and stable.path == model:
            model.write_bytes(changed)
        hashes = hash_file(stable, *given, **named)
        if stable.path == model:
            model.write_bytes(changed)
            os.utime(model, ns=(stable._seen[1], stable._seen[1]))
        return hashes

    monkeypatch.setattr(ingest, "SMALL_BYTES", 1000)
    monkeypatch.setattr(stores, "hash_file", hashing)
    rows = clone(home, place, code=3)
    assert rows["dir:small"]["status"] == "ok"
    failed = rows["dir:large"]
    assert failed["status"] == "error"
    assert "model.bin" in failed["reason"]
    assert model.read_bytes() == changed
    assert not [event for event in ptmtorrent(home, "captured") if event["package"].endswith("large")]


def test_a_file_that_cannot_be_read_any_more_ends_no_other_package(
    home: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_into = ingest.read_into

    def read(descriptor: int, view: memoryview, offset: int) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "model.bin":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_into(descriptor, view, offset)

    monkeypatch.setattr(ingest, "read_into", read)
    rows = clone(home, place, code=3)
    assert rows["dir:small"]["status"] == "ok"
    failed = rows["dir:large"]
    assert "can no longer be read" in failed["reason"]
    assert (place / "large" / "model.bin").read_bytes() == WEIGHTS
