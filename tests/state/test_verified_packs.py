import os
from pathlib import Path

import pytest

from ptmtorrent.state.verified_packs import VerifiedPacks

DIGEST = "d" * 64


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "x.pack"
    path.write_bytes(b"some bytes")
    return path


def test_a_recorded_pack_is_held_by_another_run(pack: Path, tmp_path: Path) -> None:
    with VerifiedPacks(tmp_path / "rows.sqlite") as known:
        assert not known.holds(pack, pack.stat(), DIGEST)
        known.record(pack, pack.stat(), DIGEST)
    with VerifiedPacks(tmp_path / "rows.sqlite") as known:
        assert known.holds(pack, pack.stat(), DIGEST)
        assert not known.holds(pack, pack.stat(), "e" * 64)
        known.forget(pack)
        assert not known.holds(pack, pack.stat(), DIGEST)


def test_another_time_size_or_inode_is_another_pack(pack: Path) -> None:
    with VerifiedPacks(None) as known:
        before = pack.stat()
        known.record(pack, before, DIGEST)

        os.utime(pack, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert not known.holds(pack, pack.stat(), DIGEST)

        pack.write_bytes(b"more bytes than before")
        os.utime(pack, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert not known.holds(pack, pack.stat(), DIGEST)

        other = pack.with_name("other")
        other.write_bytes(b"some bytes")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(pack)
        assert not known.holds(pack, pack.stat(), DIGEST)


def test_inodes_of_64_bits_are_kept(pack: Path) -> None:
    fields = list(pack.stat())
    fields[1] = (1 << 64) - 5
    found = os.stat_result(fields, {"st_mtime_ns": pack.stat().st_mtime_ns})
    with VerifiedPacks(None) as known:
        known.record(pack, found, DIGEST)
        assert known.holds(pack, found, DIGEST)
