import os
from pathlib import Path

import pytest
from blake3 import blake3

from ptmtorrent.state import verified_files
from ptmtorrent.state.verified_files import VerifiedFiles

DIGEST = "d" * 64


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "x.pack"
    path.write_bytes(b"some bytes")
    return path


def test_a_recorded_pack_is_held_by_another_run(pack: Path, tmp_path: Path) -> None:
    with VerifiedFiles(tmp_path / "rows.sqlite") as known:
        assert not known.holds(pack.stat(), DIGEST)
        known.record(pack.stat(), DIGEST)
    with VerifiedFiles(tmp_path / "rows.sqlite") as known:
        assert known.holds(pack.stat(), DIGEST)
        assert not known.holds(pack.stat(), "e" * 64)
        known.forget(pack)
        assert not known.holds(pack.stat(), DIGEST)


def test_another_time_size_or_inode_is_another_pack(pack: Path) -> None:
    with VerifiedFiles(None) as known:
        before = pack.stat()
        known.record(before, DIGEST)

        os.utime(pack, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert not known.holds(pack.stat(), DIGEST)

        pack.write_bytes(b"more bytes than before")
        os.utime(pack, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert not known.holds(pack.stat(), DIGEST)

        other = pack.with_name("other")
        other.write_bytes(b"some bytes")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(pack)
        assert not known.holds(pack.stat(), DIGEST)


def test_hard_links_share_what_is_known_and_two_digests_stand_beside_each_other(pack: Path) -> None:
    other = pack.with_name("other")
    other.hardlink_to(pack)
    with VerifiedFiles(None) as known:
        known.record(pack.stat(), DIGEST)
        known.record(pack.stat(), "e" * 64)
        assert known.holds(other.stat(), DIGEST)
        assert known.holds(other.stat(), "e" * 64)


def test_a_file_is_read_once_for_its_digest(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = blake3(b"some bytes").hexdigest()
    with VerifiedFiles(None) as known:
        assert not known.proves(pack, DIGEST)
        assert known.proves(pack, right)
        monkeypatch.setattr(verified_files, "read_whole", None)
        assert known.proves(pack, right)
        with pytest.raises(FileNotFoundError):
            known.proves(pack.with_name("gone"), right)


def test_a_file_that_changes_while_it_is_read_is_not_recorded(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Changing:
        def __init__(self) -> None:
            self.real = blake3()

        def update(self, data: bytes) -> None:
            self.real.update(data)
            pack.write_bytes(b"other bytes")

        def hexdigest(self) -> str:
            return self.real.hexdigest()

    right = blake3(b"some bytes").hexdigest()
    monkeypatch.setattr(verified_files, "blake3", Changing)
    with VerifiedFiles(None) as known:
        assert not known.proves(pack, right)
        assert not known.holds(pack.stat(), right)


def test_inodes_of_64_bits_are_kept(pack: Path) -> None:
    fields = list(pack.stat())
    fields[1] = (1 << 64) - 5
    found = os.stat_result(fields, {"st_mtime_ns": pack.stat().st_mtime_ns})
    with VerifiedFiles(None) as known:
        known.record(found, DIGEST)
        assert known.holds(found, DIGEST)
