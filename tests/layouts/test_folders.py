from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError
from ptmtorrent.layouts.folders import ensure_real_dir, ignores_case


def test_missing_folders_are_made(tmp_path: Path) -> None:
    ensure_real_dir(tmp_path / "root", tmp_path / "root" / "a" / "b")
    assert (tmp_path / "root" / "a" / "b").is_dir()


def test_a_link_below_the_root_is_refused_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="is a link, and a package needs a folder there"):
        ensure_real_dir(tmp_path / "root", tmp_path / "root" / "a" / "b")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(StoreError, match=r"/a` is not a folder"):
        ensure_real_dir(tmp_path, tmp_path / "a" / "b")


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    ensure_real_dir(tmp_path / "root", tmp_path / "root" / "a")
    assert (tmp_path / "real" / "a").is_dir()


def test_this_disk_distinguishes_case_and_the_probe_is_removed(tmp_path: Path) -> None:
    (tmp_path / "Probe").touch()
    assert ignores_case(tmp_path) is (tmp_path / "probe").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["Probe"]
