"""Several processes write one store concurrently."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreLocked
from ptmtorrent.model.ids import PackId
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.reader import open_pack, pack_in
from ptmtorrent.store.store import Store
from tests.store.samples import META, add_bytes, name_of, random_bytes, reading, writing

WRITER = """
import sys
from pathlib import Path
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Expected, Store
root, folder, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
with Store.open(root, write=True) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for path in [*map(Path, sys.argv[4:])] + sorted(folder.iterdir())[number:] + sorted(folder.iterdir())[:number]:
        store.add_file(path, path.name, Expected(), PackClass("weights-hot", "open"))
        store.commit()
    print("done", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def start(root: Path, folder: Path, number: int, *own: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(root), str(folder), str(number), *map(str, own)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    expect(process, "open")
    return process


def expect(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def end(process: "subprocess.Popen[str]") -> None:
    tell(process)
    assert process.wait(timeout=60) == 0
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()


def files_in(folder: Path) -> dict[str, bytes]:
    files = {f"{number}.bin": random_bytes(40_000, number) for number in range(12)}
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


def test_three_processes_store_the_same_files_at_once(root: Path, tmp_path: Path) -> None:
    files = files_in(tmp_path / "files")
    own = [tmp_path / f"own-{number}.bin" for number in (0, 4, 8)]  # the late one would find all others stored
    for number, path in enumerate(own):
        path.write_bytes(random_bytes(40_000, 100 + number))
    processes = [start(root, tmp_path / "files", 4 * number, path) for number, path in enumerate(own)]
    for process in processes:
        tell(process)
    for process in processes:
        expect(process, "done")
    with reading(root) as store:
        assert all(store.read(name_of(data)) == data for data in files.values())
        assert all(store.known_file(f"blake3:{name_of(data)}") is not None for data in files.values())
    assert len(list((root / "open").iterdir())) == 3
    for process in processes:
        end(process)
    with writing(root) as store:
        store.seal()
        assert all(store.read(name_of(data)) == data for data in files.values())
    assert list((root / "open").iterdir()) == []


def test_a_killed_writer_harms_no_other(root: Path, tmp_path: Path) -> None:
    files = files_in(tmp_path / "files")
    killed, other = start(root, tmp_path / "files", 0), start(root, tmp_path / "files", 6)
    tell(killed)
    expect(killed, "done")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    tell(other)
    expect(other, "done")
    end(other)
    with writing(root) as store:
        assert all(store.read(name_of(data)) == data for data in files.values())
        store.seal()
        stored = [entry.id for pack in store.packs() for entry in store._index.entries(pack)]
        assert sorted(stored) == sorted({name_of(data) for data in files.values()})


def test_a_part_is_left_to_its_writer(root: Path, tmp_path: Path) -> None:
    with writing(root) as first, writing(root) as second:
        add_bytes(first, tmp_path, "a.bin", b"a" * 5000)
        add_bytes(second, tmp_path, "b.bin", b"b" * 5000)
        first.commit()
        second.commit()
        assert len(list((root / "open").iterdir())) == 2
        assert len(first.seal()) == 1
        assert first.read(name_of(b"b" * 5000)) == b"b" * 5000
        assert second.read(name_of(b"a" * 5000)) == b"a" * 5000


def test_parts_of_ended_writers_are_continued_and_sealed(root: Path, tmp_path: Path) -> None:
    with writing(root) as first, writing(root) as second:
        add_bytes(first, tmp_path, "a.bin", b"a" * 5000)
        add_bytes(second, tmp_path, "b.bin", b"b" * 5000)
    with writing(root) as store:
        add_bytes(store, tmp_path, "c.bin", b"c" * 5000)
        assert len(list((root / "open").iterdir())) == 2
        packs = store.seal()
        assert len(packs) == 2
        assert sum(len(footer(root, pack)) for pack in packs) == 3


def footer(root: Path, pack: PackId) -> tuple[Entry, ...]:
    with open_pack(pack_in(root, pack)) as reader:
        return reader.footer()


def test_uncommitted_objects_are_invisible_to_other_processes(root: Path, tmp_path: Path) -> None:
    with writing(root) as first, writing(root) as second:
        file = add_bytes(first, tmp_path, "a.bin", b"a" * 5000)
        assert first.known_file(f"blake3:{file.blake3}") == file
        assert second.known_file(f"blake3:{file.blake3}") is None
        first.commit()
        assert second.known_file(f"blake3:{file.blake3}") == file


def test_a_pack_that_another_process_indexed_in_between_keeps_its_objects(root: Path, tmp_path: Path) -> None:
    """A rebuild in another process sees the pack under its new name before the sealing process updates the index."""
    with writing(root) as store:
        file = add_bytes(store, tmp_path, "a.bin", b"a" * 5000)
        store.commit()
        writer = store._writer
        assert writer is not None
        seal_part = store._index.seal_part

        def indexed_already(part: str, pack: str, size: int) -> None:
            entries = store._index.entries(part)
            store._index.add_objects(store._index.row_of_pack(pack, size, "open"), entries)  # type: ignore[arg-type]
            seal_part(part, pack, size)  # type: ignore[arg-type]

        store._index.seal_part = indexed_already  # type: ignore[method-assign, assignment]
        (pack,) = store.seal()
        assert store.location(file.objects[0][0]).pack == pack


def test_an_exclusive_writer_admits_no_other(root: Path) -> None:
    with Store.open(root, exclusive=True) as store:
        store.put(b"alone" * 30, pack_class=META)
        with pytest.raises(StoreLocked, match=f"pid {os.getpid()}"):
            Store.open(root, write=True)
    with writing(root), pytest.raises(StoreLocked):
        Store.open(root, exclusive=True)
