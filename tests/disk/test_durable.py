import errno
import os
from pathlib import Path

import pytest

from ptmtorrent.disk import durable
from ptmtorrent.errors import NoSpace, StoreError


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(durable.TEMPORARY_PREFIX)]


def test_a_file_is_written_whole_with_its_mode_and_missing_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "key.pem"
    durable.write_file(target, b"secret", mode=0o600)
    assert target.read_bytes() == b"secret"
    assert target.stat().st_mode & 0o777 == 0o600
    assert leftovers(target.parent) == []


@pytest.mark.parametrize("below", ["", "a/b"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(StoreError) as caught:
        durable.ensure_dir(tmp_path / "store" / below)
    assert f"move `{tmp_path / 'store'}` away" in str(caught.value.hint)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_denied_path_says_what_to_check(tmp_path: Path, number: int) -> None:
    error = durable.disk_error(OSError(number, os.strerror(number)), tmp_path / "store" / "lock")
    assert f"`{tmp_path / 'store'}`" in str(error.hint)


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    durable.write_file(tmp_path / "x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_short_reads_are_continued_up_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, at: pread(descriptor, min(length, 3), at))
    descriptor = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        assert durable.read_at(descriptor, 1, 8) == b"12345678"
        assert durable.read_at(descriptor, 5, 100) == b"56789"
    finally:
        os.close(descriptor)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    durable.write_file(tmp_path / "x", b"old")

    def fail(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(NoSpace, match="7 more bytes"):
        durable.write_file(tmp_path / "x", b"new one")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_a_failed_fsync_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        durable.write_file(tmp_path / "x", b"new")
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_no_space() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(NoSpace), durable.disk_errors(Path("/dev/full"), 5):
            durable.write_all(descriptor, b"12345")
    finally:
        os.close(descriptor)


def test_a_quota_is_no_space_and_others_are_store_errors() -> None:
    quota = durable.disk_error(OSError(errno.EDQUOT, "Disk quota exceeded"), Path("x"), 10)
    other = durable.disk_error(OSError(errno.EROFS, "Read-only file system"), Path("x"))
    assert isinstance(quota, NoSpace)
    assert "10 more bytes" in quota.message
    assert not isinstance(other, NoSpace)
    assert "Read-only" in other.message


def test_a_link_is_made_where_it_can_be(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"pack")
    target = tmp_path / "channel" / "pack"
    assert durable.link_or_copy(source, target)
    assert target.samefile(source)
    assert durable.link_or_copy(source, target)


def test_a_copy_is_made_where_links_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"pack")

    def fail(_source: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", fail)
    assert not durable.link_or_copy(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"pack"
    assert not (tmp_path / "copy").samefile(source)
    assert not durable.link_or_copy(source, tmp_path / "copy")


def test_a_target_of_another_size_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"pack")
    (tmp_path / "target").write_bytes(b"torn pack, longer")
    assert durable.link_or_copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"pack"


def test_linking_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing"):
        durable.link_or_copy(tmp_path / "missing", tmp_path / "target")


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file"):
        durable.ensure_dir(tmp_path / "file" / "folder")


def test_file_then_name_then_folder_is_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        seen.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")  # noqa: PTH112
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        seen.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    durable.write_file(tmp_path / "x", b"data")
    assert seen == ["file", "name", "folder"]


def _spread(folder: Path, count: int) -> list[tuple[Path, Path]]:
    """Files, and where to link them: into two folders in turn."""
    pairs = []
    for number in range(count):
        source = folder / f"source-{number}"
        source.write_bytes(b"pack %d" % number)
        pairs.append((source, folder / "channel" / str(number % 2) / source.name))
    return pairs


def test_many_files_are_linked_and_each_folder_is_synced_once_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = _spread(tmp_path, 10)
    durable.ensure_dir(tmp_path / "channel" / "0")
    durable.ensure_dir(tmp_path / "channel" / "1")
    linked_when_synced: list[tuple[str, int]] = []
    real = durable.sync_dir

    def counted(folder: Path) -> None:
        linked_when_synced.append((folder.name, sum(target.is_file() for _, target in pairs)))
        real(folder)

    monkeypatch.setattr(durable, "sync_dir", counted)

    assert durable.link_all(pairs) == [True] * 10

    assert all(target.samefile(source) for source, target in pairs)
    assert linked_when_synced == [("0", 10), ("1", 10)]


def test_the_folder_of_a_link_that_was_there_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = _spread(tmp_path, 4)
    durable.link_all(pairs)
    synced: list[str] = []
    monkeypatch.setattr(durable, "sync_dir", lambda folder: synced.append(folder.name))

    durable.link_all(pairs)  # the run before could have been killed before its syncs

    assert synced == ["0", "1"]


def test_many_files_are_copied_durably_where_links_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = _spread(tmp_path, 3)
    synced: list[int] = []
    real = os.fsync

    def fail(_source: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def counted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(os, "fsync", counted)

    assert durable.link_all(pairs) == [False, False, False]

    assert [target.read_bytes() for _, target in pairs] == [source.read_bytes() for source, _ in pairs]
    assert {target.stat().st_ino for _, target in pairs} <= set(synced)


def test_a_link_that_fails_leaves_the_others_and_no_temporary_file(tmp_path: Path) -> None:
    pairs = _spread(tmp_path, 3)
    pairs[1][0].unlink()

    with pytest.raises(StoreError, match="source-1"):
        durable.link_all(pairs)

    assert pairs[0][1].is_file()
    assert not list((tmp_path / "channel").rglob(".tmp-*"))
