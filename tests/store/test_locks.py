import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError, StoreLocked
from ptmtorrent.store import locks
from ptmtorrent.store.locks import WriteLock

HOLDER = """
import sys
from pathlib import Path
from ptmtorrent.store.locks import WriteLock
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
