"""A simulated power cut: the filesystem drops everything that was not synced."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptmtorrent.disk.durable import ensure_dir, publish_file, write_file
from ptmtorrent.store.store import Store
from tests.faults.store_disks import Disk, can_mount
from tests.store.samples import META, WEIGHTS, add_bytes, add_package, name_of, random_bytes, sha256_oid, writing

pytestmark = pytest.mark.needs_root


@contextmanager
def mounted(disk: Disk) -> Iterator[Path]:
    with disk.mounted() as place:
        yield place / "store"


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    if (why := can_mount(tmp_path)) is not None:
        pytest.skip(why)
    return Disk(tmp_path)


def abandon(store: Store, disk: Disk) -> None:
    """Cut the power, then release the resources of the simulated process."""
    disk.cut_power()
    store.close()


def test_what_was_committed_is_there_after_a_power_cut(disk: Disk, tmp_path: Path) -> None:
    kept = [random_bytes(20_000, seed) for seed in range(4)]
    with mounted(disk) as root:
        store = Store.open(root, write=True)
        file = add_bytes(store, tmp_path, "a.bin", kept[0])
        add_package(store, "org/a", {"a.bin": file}, "2026-11-20T12:00:00Z")
        for data in kept[1:]:
            store.put(data, pack_class=META)
        store.commit()
        store.put(random_bytes(20_000, 99), pack_class=META)
        abandon(store, disk)
    with mounted(disk) as root, writing(root) as store:
        assert [store.read(name_of(data)) for data in kept] == kept
        assert store.known_file(sha256_oid(kept[0])) == file
        assert [capture.package for capture in store.captures()] == ["hf:org/a"]


def test_what_was_sealed_is_there_after_a_power_cut(disk: Disk) -> None:
    data = random_bytes(20_000)
    with mounted(disk) as root:
        store = Store.open(root, write=True)
        store.put(data, pack_class=WEIGHTS)
        (pack,) = store.seal()
        hashes = store.pack_hashes(pack)
        abandon(store, disk)
    with mounted(disk) as root, writing(root) as store:
        assert store.packs() == [pack]
        assert name_of(store.pack_file(pack).read_bytes()) == pack
        assert store.pack_hashes(pack) == hashes
        assert store.read(name_of(data)) == data


def test_the_simulated_power_cut_does_lose_what_was_not_synced(disk: Disk) -> None:
    with mounted(disk):
        (disk.path / "synced").mkdir()
        os.sync()
        (disk.path / "unsynced").write_bytes(b"gone")
        disk.cut_power()
    with mounted(disk):
        assert [path.name for path in disk.path.iterdir() if path.name != "lost+found"] == ["synced"]


def test_a_file_that_was_written_is_there_after_a_power_cut(disk: Disk) -> None:
    with mounted(disk) as root:
        write_file(root / "metadata" / "timestamp.json", b"old")
        write_file(root / "metadata" / "timestamp.json", b"new")
        disk.cut_power()
    with mounted(disk) as root:
        assert (root / "metadata" / "timestamp.json").read_bytes() == b"new"


def test_a_file_that_was_published_has_its_name_after_a_power_cut(disk: Disk) -> None:
    with mounted(disk) as root:
        ensure_dir(root / "packs")
        (root / "part").write_bytes(b"pack")
        publish_file(root / "part", root / "packs" / "pack")
        disk.cut_power()
    with mounted(disk) as root:
        assert (root / "packs" / "pack").read_bytes() == b"pack"
