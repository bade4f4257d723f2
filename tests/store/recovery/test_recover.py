import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError, NoSpace, NotFound, PtmError, StoreError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.placement import Location
from ptmtorrent.store.index import Index
from ptmtorrent.store.ingest import writer as writer_module
from ptmtorrent.store.store import Expected, Store
from tests.store.samples import (
    META,
    WEIGHTS,
    add_bytes,
    add_package,
    bf16,
    name_of,
    random_bytes,
    reading,
    sha256_oid,
    writing,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store
store = Store.open(Path(sys.argv[1]), write=True)
for number in range(20):
    store.put(b"%d " % number * 3000, pack_class=PackClass("meta", "open"))
    if number == 9:
        store.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


class Crash(BaseException):
    """Simulates the end of the process."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def part(root: Path, name: str = "meta-open") -> Path:
    return root / "open" / f"{name}.part"


def fill(store: Store, folder: Path) -> dict[str, ObjectId]:
    """A package, sealed in part, and some more."""
    first = add_bytes(store, folder, "a.bin", bf16(600_000))
    add_package(store, "org/a", {"a.bin": first, "again.bin": first}, "2026-11-20T12:00:00Z")
    store.seal()
    second = add_bytes(store, folder, "b.bin", random_bytes(9000))
    add_package(store, "org/b", {"b.bin": second}, "2026-11-21T12:00:00Z")
    return {"a": first.objects[0][0], "b": second.objects[0][0]}


def contents(store: Store) -> dict[str, object]:
    """All that an index lists, wherever its rows lie, for comparison."""
    store.commit()
    index = store._index
    rows = sorted(
        (entry.id, container, entry.offset, entry.stored, entry.raw, entry.codec, entry.kind, entry.base)
        for container in (*index.packs(), *index.parts())
        for entry in index.entries(container)
    )
    files = index._run("SELECT blake3, sha256, git_sha1, size, cutter, objects FROM files ORDER BY blake3")
    return {"objects": rows, "files": files, "captures": store.captures(), "packs": store.packs()}


def test_a_rebuilt_index_equals_the_old_one(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        fill(store, tmp_path)
        before = contents(store)
        store.rebuild_index()
        assert contents(store) == before
        assert len(store.captures()) == 2


def test_a_lost_index_is_rebuilt_from_packs_and_parts(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        fill(store, tmp_path)
        before = contents(store)
    for path in root.glob("index.sqlite*"):
        path.unlink()
    with writing(root) as store:
        assert contents(store) == before


def test_packs_alone_are_enough(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        fill(store, tmp_path)
        store.seal()
        before = contents(store)
    shutil.copytree(root / "packs", tmp_path / "copy" / "packs")
    with writing(tmp_path / "copy") as store:
        assert contents(store) == before


def test_a_damaged_index_says_what_to_do(root: Path) -> None:
    with writing(root):
        pass
    (root / "index.sqlite").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StoreError, match="not a database") as caught:
        Store.open(root, write=True)
    assert "ptmtorrent store repair --index" in str(caught.value.hint)


def test_what_was_committed_survives_a_kill(root: Path) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, str(root)], check=False, timeout=120)
    assert run.returncode == -signal.SIGKILL
    with reading(root) as store:
        assert all(store.read(name_of(b"%d " % number * 3000)) for number in range(10))
    with writing(root) as store:
        assert [store.read(name_of(b"%d " % number * 3000)) for number in range(10)]
        (pack,) = store.seal()
        assert store.pack_hashes(pack).pack == name_of(store.pack_file(pack).read_bytes())


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_a_torn_part_forgets_what_it_lost_and_nothing_else(root: Path, tmp_path: Path, share: float) -> None:
    data = [random_bytes(5000, seed) for seed in range(6)]
    with writing(root) as store:
        for index, content in enumerate(data):
            add_bytes(store, tmp_path, f"{index}.bin", content, META)
        store.commit()
        ends = [store._index.find(name_of(content)) for content in data]
    keep = int(part(root).stat().st_size * share)
    with part(root).open("r+b") as torn:
        torn.truncate(keep)
    with writing(root) as store:
        for content, place in zip(data, ends, strict=True):
            assert place is not None
            kept = place.entry.end <= keep
            assert store.has(name_of(content)) == kept
            assert (store.known_file(sha256_oid(content)) is not None) == kept
            assert add_bytes(store, tmp_path, "again.bin", content, META).size == 5000
        store.seal()
        assert [store.read(name_of(content)) for content in data] == data


def test_a_torn_part_takes_captures_of_lost_manifests_with_it(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        fill(store, tmp_path)
    part(root).write_bytes(b"")
    with writing(root) as store:
        assert [capture.package for capture in store.captures()] == ["hf:org/a"]


@pytest.mark.parametrize(
    ("room", "step"),
    [
        (writer_module, "write_sidecar"),
        (writer_module, "ensure_dir"),
        (writer_module, "name_file"),
        (Index, "seal_part"),
    ],
)
def test_a_crash_while_sealing_is_recovered(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: object, step: str
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise Crash

    store = Store.open(root, write=True)
    file = add_bytes(store, tmp_path, "a.bin", b"a" * 5000, META)
    store.commit()
    with monkeypatch.context() as patch:
        patch.setattr(room, step, crash)
        with pytest.raises(Crash):
            store.seal()
    store.close()
    with writing(root) as store:
        assert store.known_file(sha256_oid(b"a" * 5000)) == file
        store.seal()
        (pack,) = store.packs()
        assert store.location(file.objects[0][0]).pack == pack
        assert store.pack_hashes(pack).pack == name_of(store.pack_file(pack).read_bytes())
        assert store.read(file.objects[0][0]) == b"a" * 5000
    assert list((root / "open").iterdir()) == []


def test_a_crash_before_the_index_commit_is_recovered(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        file = add_bytes(store, tmp_path, "a.bin", b"a" * 5000, META)
        store.commit()
        for path in root.glob("index.sqlite*"):
            shutil.copy(path, tmp_path / path.name)
        (pack,) = store.seal()
    for path in root.glob("index.sqlite*"):
        path.unlink()
    for path in tmp_path.glob("index.sqlite*"):
        shutil.copy(path, root / path.name)
    with writing(root) as store:
        assert store.packs() == [pack]
        assert store.location(file.objects[0][0]).pack == pack
        assert store.known_file(sha256_oid(b"a" * 5000)) == file


def test_a_missing_pack_is_dropped(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        fill(store, tmp_path)
        store.seal()
        packs = {store.location(name).pack for name in (name_of(random_bytes(9000)),)}
        for pack in packs:
            store.pack_file(pack).unlink()
    with writing(root) as store:
        assert not store.has(name_of(random_bytes(9000)))
        assert store.known_file(sha256_oid(random_bytes(9000))) is None
        assert set(store.packs()).isdisjoint(packs)


def test_a_cut_pack_is_left_alone_and_its_objects_stored_again(root: Path) -> None:
    with writing(root) as store:
        identifier = store.put(random_bytes(9000), pack_class=META)
        (pack,) = store.seal()
        os.truncate(store.pack_file(pack), 5000)
    with writing(root) as store:
        assert not store.has(identifier)
        store.put(random_bytes(9000), pack_class=META)
        assert store.read(identifier) == random_bytes(9000)


def test_foreign_files_among_the_packs_do_no_harm(root: Path) -> None:
    with writing(root) as store:
        store.put(b"x" * 100, pack_class=META)
        (pack,) = store.seal()
    (root / "packs" / pack[:2] / "notes.pack").write_bytes(b"hello")
    (root / "packs" / pack[:2] / (pack[:2] + "0" * 62 + ".pack")).write_bytes(b"hello")
    (root / "packs" / pack[:2] / ".tmp-0011").write_bytes(b"torn")
    with writing(root) as store:
        assert store.packs() == [pack]
    assert not (root / "packs" / pack[:2] / ".tmp-0011").exists()


def test_after_a_failed_fsync_nothing_more_is_written_until_reopened(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with writing(root) as store:
        identifier = store.put(b"x" * 100, pack_class=META)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(StoreError, match="Input/output"):
                store.commit()
        with pytest.raises(StoreError, match="earlier write"):
            store.put(b"y" * 100, pack_class=META)
    with writing(root) as store:
        assert store.read(identifier) == b"x" * 100


def test_a_full_disk_loses_nothing_and_the_store_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [20_000]

    def fill_up(descriptor: int, chunks: list[memoryview]) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = os.write(descriptor, chunks[0][: room[0]])
        room[0] -= done
        return done

    with writing(root) as store:
        kept = store.put(random_bytes(9000), pack_class=META)
        with monkeypatch.context() as patch:
            patch.setattr(os, "writev", fill_up)
            with pytest.raises(NoSpace, match="more bytes are needed") as caught:
                add_bytes(store, tmp_path, "big.bin", random_bytes(70_000), META)
            assert caught.value.code == 22
        assert add_bytes(store, tmp_path, "big.bin", random_bytes(70_000), META).size == 70_000
        (pack,) = store.seal()
        assert store.read(kept) == random_bytes(9000)
        assert store.pack_hashes(pack).pack == name_of(store.pack_file(pack).read_bytes())


def test_a_disk_that_fills_while_sealing_keeps_the_part(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _chunks: list[memoryview]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with writing(root) as store:
        identifier = store.put(random_bytes(9000), pack_class=META)
        with monkeypatch.context() as patch:
            patch.setattr(os, "writev", full)
            with pytest.raises(NoSpace):
                store.seal()
        store.put(b"more" * 100, pack_class=META)
        (pack,) = store.seal()
        assert store.location(identifier).pack == pack


@pytest.mark.needs_root
def test_a_real_full_disk_is_reported_and_survived(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        path = tmp_path / "big.bin"
        path.write_bytes(random_bytes(20 << 20))
        with writing(disk / "store") as store:
            small = store.put(random_bytes(1000), pack_class=WEIGHTS)
            store.commit()
            with pytest.raises(NoSpace):
                store.add_file(path, "big.bin", Expected(), WEIGHTS)
            assert store.read(small) == random_bytes(1000)
        with writing(disk / "store") as store:
            assert store.read(small) == random_bytes(1000)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_object_in_a_deleted_pack_is_an_error_not_a_surprise(root: Path) -> None:
    with writing(root) as store:
        identifier = store.put(b"x" * 100, pack_class=META)
        (pack,) = store.seal()
        place = store.location(identifier)
        store.pack_file(pack).unlink()
        with pytest.raises(StoreError, match="No such file"):
            store.read(identifier)
        with pytest.raises(NotFound):
            store.pack_file(PackId(place.pack))
        assert isinstance(place, Location)


def test_a_wrong_row_in_the_index_gives_no_wrong_bytes(root: Path) -> None:
    with writing(root) as store:
        first = store.put(random_bytes(500, seed=1), pack_class=META)
        store.put(random_bytes(500, seed=2), pack_class=META)
        store.commit()
        store._index._write("UPDATE objects SET at = (SELECT max(at) FROM objects)")
        with pytest.raises(IntegrityError, match="is damaged"):
            store.read(first)


def test_an_index_with_any_byte_flipped_raises_only_our_errors(tmp_path: Path) -> None:
    root = tmp_path / "store"
    objects = [random_bytes(300, seed=seed) for seed in range(20)]
    with writing(root) as store:
        for data in objects[:15]:
            store.put(data, pack_class=META)
        store.seal()
        for data in objects[15:]:
            store.put(data, pack_class=META)
    index = root / "index.sqlite"
    good = index.read_bytes()
    for seed in range(150):
        chance = random.Random(seed)
        data = bytearray(good)
        for _ in range(4):
            data[chance.randrange(len(data))] = chance.choice([0, 255, 65, chance.randrange(256)])
        for left_over in root.glob("index.sqlite*"):
            left_over.unlink()
        index.write_bytes(data)
        for write in (False, True):
            with suppress(PtmError), Store.open(root, write=write) as store:
                for data_put in objects:
                    if store.has(name_of(data_put)):
                        assert store.read(name_of(data_put)) == data_put
                store.captures()
                store.packs()


def test_a_part_that_is_a_sealed_pack_too_loses_its_old_name(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        file = add_bytes(store, tmp_path, "a.bin", b"a" * 5000, META)
        part = root / "open" / "meta-open.part"
        (pack,) = store.seal()
        os.link(store.pack_file(pack), part)
    with writing(root) as store:
        assert not part.exists()
        assert name_of(store.pack_file(pack).read_bytes()) == pack
        assert store.read(file.objects[0][0]) == b"a" * 5000


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(root) as store:
        file = add_bytes(store, tmp_path, "a.bin", b"a" * 5000, META)
        store.seal()

    def refuse(self: Path) -> Iterator[Path]:
        if self.name == "packs":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return iterdir(self)

    iterdir = Path.iterdir
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        with pytest.raises(StoreError, match="packs"):
            Store.open(root, write=True)
    with reading(root) as store:
        assert store.known_file(sha256_oid(b"a" * 5000)) == file


def test_an_index_whose_creation_was_interrupted_is_rebuilt(root: Path) -> None:
    with writing(root) as store:
        store.put(b"one" * 100, pack_class=META)
    (root / "index.sqlite").write_bytes(b"")
    with pytest.raises(StoreError, match="creation was interrupted"):
        Store.open(root)
    with writing(root) as store:
        assert store.read(name_of(b"one" * 100)) == b"one" * 100
