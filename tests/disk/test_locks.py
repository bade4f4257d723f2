import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptmtorrent.disk import locks
from ptmtorrent.disk.locks import SharedLock, WriteLock, is_locked
from ptmtorrent.errors import StoreError, StoreLocked

HOLDER = """
import sys
from pathlib import Path
from ptmtorrent.disk.locks import WriteLock
with WriteLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with WriteLock(tmp_path), pytest.raises(StoreLocked, match=str(os.getpid())), WriteLock(tmp_path):
        pass


def test_the_lock_is_free_after_its_block(tmp_path: Path) -> None:
    with WriteLock(tmp_path):
        pass
    with WriteLock(tmp_path) as again:
        assert isinstance(again, WriteLock)


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreLocked, match=f"pid {holder.pid}") as caught, WriteLock(tmp_path):
            pass
        assert caught.value.code == 21
        holder.kill()
        holder.wait(10)
    with WriteLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_on_a_file_that_its_holder_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "incoming"
    take, stale = locks._take, []

    def remove_the_first(descriptor: int, parent: Path, how: int) -> None:
        if not stale:
            stale.append(os.fstat(descriptor).st_ino)
            (parent / "lock").rename(tmp_path / "removed")
            parent.rmdir()
        take(descriptor, parent, how)

    monkeypatch.setattr(locks, "_take", remove_the_first)
    with WriteLock(folder):
        monkeypatch.undo()
        assert (folder / "lock").stat().st_ino != stale[0]
        with pytest.raises(StoreLocked), WriteLock(folder):
            pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "lock").symlink_to(precious)
    with pytest.raises(StoreError), WriteLock(tmp_path):
        pass
    assert precious.read_text() == "kept"


def test_a_holder_that_has_not_signed_its_lock_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").write_text("1\n")  # the note of a process that ended
    holder = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    later = iter([lambda: (tmp_path / "lock").write_text(f"2 {locks.PASSING}\n"), lambda: os.close(holder)])
    monkeypatch.setattr(locks.time, "sleep", lambda _: next(later)())
    with SharedLock(tmp_path) as lock:
        assert lock.exclusive
    assert next(later, None) is None


def test_a_holder_is_passing_until_its_lock_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, notes = locks._take, []

    def look(descriptor: int, folder: Path, how: int) -> None:
        notes.append((how, (folder / "lock").read_text()))
        take(descriptor, folder, how)

    monkeypatch.setattr(locks, "_take", look)
    with SharedLock(tmp_path) as lock:
        lock.share()
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    assert notes[-1] == (fcntl.LOCK_SH, f"{os.getpid()} {locks.PASSING}\n")


def test_only_a_lock_held_alone_counts_as_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with WriteLock(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with SharedLock(tmp_path) as lock:
        assert is_locked(tmp_path)
        lock.share()
        assert not is_locked(tmp_path)
