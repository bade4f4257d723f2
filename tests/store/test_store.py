import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError, NotFound, StoreError, StoreLocked, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackId, SnapshotId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store import stored as stored_module
from ptmtorrent.store.index import Found, open_index
from ptmtorrent.store.index import file as index_file
from ptmtorrent.store.ingest.files import SMALL_BYTES
from ptmtorrent.store.pack import writer as pack_writer
from ptmtorrent.store.store import Expected, Store
from tests.store.samples import (
    GATED,
    META,
    WEIGHTS,
    add_bytes,
    add_package,
    bf16,
    capture,
    git_oid,
    name_of,
    random_bytes,
    reading,
    safetensors,
    sha256_oid,
    whole,
    writing,
)

MODEL = safetensors({"a": ("BF16", [100, 1000], bf16(100_000)), "b": ("BF16", [50_000], bf16(50_000, seed=2))})
OPEN = """
import sys
from pathlib import Path
from ptmtorrent.errors import PtmError
from ptmtorrent.store.store import Store
try:
    Store.open(Path(sys.argv[1]), write=True)
except PtmError as error:
    print(error.message)
    sys.exit(error.code)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_what_is_put_is_read_back_before_and_after_sealing(root: Path) -> None:
    data = bf16(100_000)
    with writing(root) as store:
        identifier = store.put(data, dtype="BF16", pack_class=WEIGHTS)
        assert identifier == name_of(data)
        assert store.has(identifier)
        assert store.read(identifier) == data
        with pytest.raises(NotFound, match="sealed"):
            store.location(identifier)
        (pack,) = store.seal()
        place = store.location(identifier)
        assert (place.pack, place.codec) == (pack, 3)
        assert place.length < len(data)
        assert store.read(identifier) == data


def test_an_object_is_stored_once(root: Path) -> None:
    with writing(root) as store:
        for _ in range(2):
            store.put(b"same" * 100, pack_class=META)
            size = (root / "open" / "meta-open.part").stat().st_size
        store.put(b"same" * 100, pack_class=META)
        assert (root / "open" / "meta-open.part").stat().st_size == size


def test_the_empty_object_is_an_object(root: Path) -> None:
    with writing(root) as store:
        identifier = store.put(b"", pack_class=META)
        store.seal()
        assert store.read(identifier) == b""


def test_an_object_beyond_the_limit_is_refused(root: Path) -> None:
    with writing(root) as store, pytest.raises(StoreError, match="longer"):
        store.put(bytes((64 << 20) + 1), pack_class=META)


def test_a_file_is_cut_stored_and_known(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        file = add_bytes(store, tmp_path, "model.safetensors", MODEL)
        assert file.cutter == "safetensors/1"
        assert len(file.objects) == 3
        assert sum(size for _, size in file.objects) == file.size == len(MODEL)
        assert whole(store, file.objects) == MODEL
        assert store.known_file(sha256_oid(MODEL)) == store.known_file(git_oid(MODEL)) == file


def test_a_file_of_many_pieces_comes_back_in_order(root: Path, tmp_path: Path) -> None:
    data = bf16(25 << 20)
    with writing(root) as store:
        path = tmp_path / "big.bin"
        path.write_bytes(data)
        file = store.add_file(path, "big.bin", Expected(len(data), sha256_oid(data)), WEIGHTS)
        assert file.cutter == "chunks/1"
        assert len(file.objects) > 20
        assert whole(store, file.objects) == data
        assert file.git_sha1 is None


def test_an_empty_file_has_no_objects(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        file = add_bytes(store, tmp_path, "empty.txt", b"")
        assert file.objects == ()
        assert store.known_file(git_oid(b"")) == file


def test_a_twin_under_another_name_adds_nothing(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        first = add_bytes(store, tmp_path, "model.safetensors", MODEL)
        size = (root / "open" / "weights-hot-open.part").stat().st_size
        assert add_bytes(store, tmp_path, "renamed.bin", MODEL).objects == first.objects
        assert (root / "open" / "weights-hot-open.part").stat().st_size == size


@pytest.mark.parametrize(
    "expected",
    [
        Expected(3, None),
        Expected(None, "sha256:" + "0" * 64),
        Expected(None, "git:" + "0" * 40),
        Expected(None, "md5:" + "0" * 32),
    ],
    ids=["size", "sha256", "git", "unknown"],
)
def test_a_file_that_differs_from_its_promised_hash_leaves_nothing(
    root: Path, tmp_path: Path, expected: Expected
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"four")
    with writing(root) as store:
        with pytest.raises(IntegrityError, match=r"`config\.json`"):
            store.add_file(path, "config.json", expected, META)
        assert not store.has(name_of(b"four"))
        assert store.known_file(sha256_oid(b"four")) is None
        assert add_bytes(store, tmp_path, "config.json", b"four").size == 4


def test_a_file_that_changes_while_it_is_read_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"a" * 1000)

    def change(*_: object) -> None:
        path.write_bytes(b"b" * 1000)

    monkeypatch.setattr("ptmtorrent.store.store.check_expected", change)
    with writing(root) as store, pytest.raises(IntegrityError, match="changed while it was read"):
        store.add_file(path, "model.bin", Expected(), WEIGHTS)


def test_a_file_that_changes_and_keeps_its_time_is_refused_too(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"a" * (SMALL_BYTES + 1))
    status = path.stat()

    def change(*_: object) -> None:
        path.write_bytes(b"b" * (SMALL_BYTES + 1))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    monkeypatch.setattr("ptmtorrent.store.store.check_expected", change)
    with writing(root) as store, pytest.raises(IntegrityError, match="changed while it was read"):
        store.add_file(path, "model.bin", Expected(), WEIGHTS)


def test_a_missing_file_is_a_store_error(root: Path, tmp_path: Path) -> None:
    with writing(root) as store, pytest.raises(StoreError, match="No such file"):
        store.add_file(tmp_path / "missing", "missing", Expected(), META)


def test_many_threads_add_files_at_once(root: Path, tmp_path: Path) -> None:
    contents = [bf16(600_000 + index, seed=index % 5) for index in range(10)]
    barrier = threading.Barrier(5)
    with writing(root) as store, ThreadPoolExecutor(5) as pool:

        def add(index: int) -> bool:
            barrier.wait(30)
            path = tmp_path / f"{index}.bin"
            path.write_bytes(contents[index])
            file = store.add_file(path, path.name, Expected(len(contents[index]), sha256_oid(contents[index])), WEIGHTS)
            return whole(store, file.objects) == contents[index]

        assert all(pool.map(add, range(10)))
        store.seal()
    with reading(root) as store:
        assert all(store.known_file(sha256_oid(data)) for data in contents)


def test_classes_and_rights_never_share_a_pack(root: Path) -> None:
    with writing(root) as store:
        places = {
            pack_class: store.put(random_bytes(100, seed), pack_class=pack_class)
            for seed, pack_class in enumerate((META, WEIGHTS, GATED))
        }
        assert len(store.seal()) == 3
        packs = {pack_class: store.location(identifier).pack for pack_class, identifier in places.items()}
        assert len(set(packs.values())) == 3
        assert store.pack_hashes(packs[GATED]).rights == "gated"


def test_an_open_package_never_needs_a_gated_pack(root: Path, tmp_path: Path) -> None:
    data = random_bytes(5000)
    with writing(root) as store:
        add_bytes(store, tmp_path, "a.bin", data, GATED)
        assert store.known_file(sha256_oid(data), "gated") is not None
        assert store.known_file(sha256_oid(data), "open") is None
        add_bytes(store, tmp_path, "b.bin", data, WEIGHTS)
        store.seal()
        assert store.pack_hashes(store.location(name_of(data)).pack).rights == "open"
        add_bytes(store, tmp_path, "c.bin", data, GATED)
        assert store.pack_hashes(store.location(name_of(data)).pack).rights == "open"


def test_a_full_pack_is_sealed_and_the_next_begun(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_writer, "PACK_BYTES", 4 << 20)
    objects = [random_bytes(700_000, seed) for seed in range(14)]
    with writing(root) as store:
        identifiers = [store.put(data, pack_class=WEIGHTS) for data in objects]
        store.seal()
        assert len(store.packs()) == 3
        assert {store.pack_file(pack).stat().st_size for pack in store.packs()} == {2_801_664, 3_506_176}
        assert [store.read(identifier) for identifier in identifiers] == objects


def test_a_pack_lies_where_channels_expect_it(root: Path) -> None:
    with writing(root) as store:
        store.put(b"x" * 100, pack_class=META)
        (pack,) = store.seal()
        assert store.pack_file(pack) == root / "packs" / pack[:2] / f"{pack}.pack"
        assert name_of(store.pack_file(pack).read_bytes()) == pack
        assert store.seal() == []


def test_lost_hashes_are_taken_again(root: Path) -> None:
    with writing(root) as store:
        store.put(b"x" * 100, pack_class=META)
        (pack,) = store.seal()
        hashes = store.pack_hashes(pack)
        sidecar = root / "hashes" / pack[:2] / f"{pack}.json"
        for damage in (b"", b"{}", sidecar.read_bytes()[:-9]):
            sidecar.write_bytes(damage)
            assert store.pack_hashes(pack) == hashes
        with pytest.raises(NotFound):
            store.pack_hashes(PackId("0" * 64))


def test_an_unknown_object_is_not_found(root: Path) -> None:
    with writing(root) as store:
        assert not store.has(name_of(b"nothing"))
        for ask in (store.read, store.location):
            with pytest.raises(NotFound):
                ask(name_of(b"nothing"))


@pytest.mark.parametrize("oid", ["", "sha256:", "sha256:zz", "git:" + "0" * 40, "nonsense", "sha256:" + "0" * 64])
def test_an_unknown_oid_has_no_file(root: Path, oid: str) -> None:
    with writing(root) as store:
        assert store.known_file(oid) is None


def test_readers_see_what_was_committed_while_another_writes(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        file = add_bytes(store, tmp_path, "a.bin", b"a" * 1000)
        with reading(root) as reader:
            assert reader.known_file(sha256_oid(b"a" * 1000)) is None
            store.commit()
            assert reader.known_file(sha256_oid(b"a" * 1000)) == file
            assert whole(reader, file.objects) == b"a" * 1000
            store.seal()
            assert whole(reader, file.objects) == b"a" * 1000
            with pytest.raises(StoreError, match="reading"):
                reader.put(b"x", pack_class=META)


@pytest.mark.needs_root
def test_a_store_that_cannot_be_written_is_read() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody who may not write")
    with tempfile.TemporaryDirectory() as folder:  # pytest makes its own folders private at the start of a run
        Path(folder).chmod(0o755)
        root = Path(folder, "store")
        with writing(root) as store:
            identifier = store.put(b"a" * 1000, pack_class=META)
            store.seal()
        assert not (root / "index.sqlite-wal").exists()
        for path in (root, *root.rglob("*")):  # a store is its user's alone unless they share it
            path.chmod(0o755 if path.is_dir() else 0o644)
        program = f"""
import os, sys
from pathlib import Path
from ptmtorrent.store.store import Store
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with Store.open(Path({str(root)!r})) as store:
    sys.stdout.buffer.write(store.read({identifier!r}))
"""
        printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    assert printed == b"a" * 1000


def test_an_exclusive_writer_is_refused_with_its_exit_code(root: Path) -> None:
    with writing(root), pytest.raises(StoreLocked, match="needs it exclusively"):
        Store.open(root, exclusive=True)
    with Store.open(root, exclusive=True):
        with pytest.raises(StoreLocked):
            Store.open(root, write=True)
        run = subprocess.run(
            [sys.executable, "-c", OPEN, str(root)], check=False, capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 21
        assert "another process (pid" in run.stdout


def test_there_is_no_store_to_read(root: Path) -> None:
    with pytest.raises(NotFound, match="no store"):
        Store.open(root)


def test_the_newest_capture_of_each_package_is_listed(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        file = add_bytes(store, tmp_path, "a.bin", b"a" * 1000)
        other = add_bytes(store, tmp_path, "b.bin", b"b" * 1000)
        add_package(store, "org/z", {"a.bin": file}, "2026-11-20T12:00:00Z")
        add_package(store, "org/a", {"a.bin": file}, "2026-11-20T12:00:00Z")
        newest = add_package(store, "org/a", {"b.bin": other}, "2026-11-21T12:00:00Z")
        told = [(capture.package, capture.snapshot) for capture in store.captures()]
        assert [package for package, _ in told] == ["hf:org/a", "hf:org/z"]
        assert told[0][1] == newest


def test_of_two_captures_of_one_second_the_later_counts(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        for content in (b"a" * 1000, b"b" * 1000):
            file = add_bytes(store, tmp_path, "a.bin", content)
            snapshot = add_package(store, "org/a", {"a.bin": file}, "2026-11-20T12:00:00Z")
        assert [capture.snapshot for capture in store.captures()] == [snapshot]


def test_a_capture_without_its_manifest_is_refused(root: Path) -> None:
    with writing(root) as store, pytest.raises(NotFound):
        store.add_capture(capture("org/a", SnapshotId("0" * 64)))


def test_a_reader_finds_an_object_that_is_sealed_while_it_reads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(root) as store:
        identifier = store.put(b"first" * 100, pack_class=META)
        store.commit()
        with Store.open(root) as reader:
            path_of = reader._path_of
            turns = iter([lambda: store.seal() and store.put(random_bytes(5000), pack_class=META)])

            def slowly(found: Found) -> Path:
                next(turns, lambda: None)()
                store.commit()
                return path_of(found)

            monkeypatch.setattr(reader, "_path_of", slowly)
            assert reader.read(identifier) == b"first" * 100


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 200_000), bits=st.integers(1, 255))
def test_a_flipped_byte_in_a_pack_never_gives_wrong_bytes(
    tmp_path_factory: pytest.TempPathFactory, where: int, bits: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    contents = [bf16(20_000), b"text " * 500, random_bytes(3000)]
    with writing(folder / "store") as store:
        identifiers = [store.put(contents[0], dtype="BF16", pack_class=META)]
        identifiers += [store.put(data, pack_class=META) for data in contents[1:]]
        (pack,) = store.seal()
        path = store.pack_file(pack)
        data = bytearray(path.read_bytes())
        data[where % len(data.rstrip(b"\0"))] ^= bits
        path.write_bytes(data)
        wrong = 0
        for rebuilt in (False, True):
            for identifier, content in zip(identifiers, contents, strict=True):
                try:
                    assert store.read(identifier) == content
                except (IntegrityError, UnsupportedFormat, NotFound):
                    wrong += 1
            if not rebuilt:
                store.rebuild_index()
        assert wrong <= 2


def test_a_damaged_object_of_a_part_is_reported_at_once_and_one_of_a_lost_part_waited_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    clock = iter(range(1000))
    fake = SimpleNamespace(sleep=slept.append, monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(stored_module, "time", fake)
    with writing(root) as store:
        identifier = store.put(random_bytes(5000), pack_class=META)
        store.commit()
        (part,) = (root / "open").iterdir()
        part.write_bytes(part.read_bytes()[:-1] + b"?")
        with pytest.raises(IntegrityError):
            store.read(identifier)
        assert slept == []
        part.unlink()
        with pytest.raises(StoreError):
            store.read(identifier)
        assert slept
        assert min(slept) > 0


def test_an_index_that_is_locked_is_not_read_as_if_it_were_not_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.sqlite"
    open_index(path, write=True).close()
    monkeypatch.setattr(index_file, "_BUSY_SECONDS", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            open_index(path, write=False)


def test_a_closed_store_raises(root: Path, tmp_path: Path) -> None:
    store = Store.open(root, write=True)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.commit()
    with pytest.raises(StoreError):
        add_bytes(store, tmp_path, "a.bin", random_bytes(500))
    with pytest.raises(StoreError):
        store.put(b"x" * 100, pack_class=META)


def test_a_store_that_is_closed_while_a_file_is_put_raises(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(root, write=True)
    here = store._is_stored

    def close_first(identifier: ObjectId, rights: Rights) -> bool:
        found = here(identifier, rights)
        store.close()
        return found

    monkeypatch.setattr(store, "_is_stored", close_first)
    with pytest.raises(StoreError, match="closed"):
        add_bytes(store, tmp_path, "a.bin", random_bytes(500))
