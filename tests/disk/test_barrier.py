import errno
import os
from pathlib import Path

import pytest

from ptmtorrent.disk import barrier, durable
from ptmtorrent.disk.barrier import Barrier
from ptmtorrent.errors import NoSpace


def files_in(folder: Path, count: int) -> list[Path]:
    paths = [folder / str(number) for number in range(count)]
    for path in paths:
        path.write_bytes(b"x")
    return paths


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(durable, "sync_file", lambda path: calls.append(path.name))
    monkeypatch.setattr(durable, "sync_dir", lambda path: calls.append(f"{path.name}/"))
    monkeypatch.setattr(barrier, "sync_disk", lambda _: calls.append("disk"))
    return calls


def test_a_large_group_is_synced_with_its_disk_and_a_small_one_by_itself(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barrier, "_filesystem", lambda _: 0xEF53)
    with Barrier(tmp_path) as disk:
        assert not disk.sync(files_in(tmp_path, 2), [tmp_path])
        assert synced == ["0", "1", f"{tmp_path.name}/"]
        synced.clear()
        assert not disk.sync(files_in(tmp_path, barrier.FEW + 1), [])
        assert synced == ["disk"]


@pytest.mark.parametrize(("filesystem", "release"), [(0x6969, "6.1.0"), (0xEF53, "5.4.0-9"), (None, "6.1.0")])
def test_a_disk_whose_sync_may_hide_errors_is_never_synced_as_a_whole(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch, filesystem: int | None, release: str
) -> None:
    monkeypatch.setattr(barrier, "_filesystem", lambda _: filesystem)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "here", release, "", "")))
    with Barrier(tmp_path) as disk:
        assert not disk.sync(files_in(tmp_path, barrier.FEW + 1), [])
    assert "disk" not in synced
    assert len(synced) == barrier.FEW + 1


def test_the_disk_of_this_system_is_recognised_and_synced(tmp_path: Path) -> None:
    with Barrier(tmp_path) as disk:
        assert not disk.sync(files_in(tmp_path, barrier.FEW + 1), [tmp_path])


def test_an_error_of_one_file_is_its_own_and_a_full_disk_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = files_in(tmp_path, 2)
    number = [errno.EIO]

    def sync(path: Path) -> None:
        if path == first:
            raise OSError(number[0], os.strerror(number[0]))

    monkeypatch.setattr(durable, "sync_file", sync)
    with Barrier(tmp_path) as disk:
        assert set(disk.sync([first, second], [])) == {first}
        number[0] = errno.ENOSPC
        with pytest.raises(NoSpace):
            disk.sync([first, second], [])
