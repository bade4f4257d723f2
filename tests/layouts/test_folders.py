import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ptmtorrent.errors import NoSpace, StoreError
from ptmtorrent.layouts.folders import ensure_real_dir, refuse_links
from ptmtorrent.workflows.fetch.disk_space import holds_links, ignores_case


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


def test_a_path_of_folders_is_told_from_one_that_ends_before(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert refuse_links(tmp_path, tmp_path / "a" / "b")
    assert refuse_links(tmp_path, tmp_path)
    assert not refuse_links(tmp_path, tmp_path / "a" / "c" / "d")
    assert refuse_links(Path("/"), tmp_path / "a")
    assert not (tmp_path / "a" / "c").exists()


@pytest.mark.parametrize(
    ("kind", "reason"), [("link", "is a link"), ("dangling", "is a link"), ("file", "is not a folder")]
)
@pytest.mark.parametrize("below", ["x", "x/y"])
def test_a_path_through_what_is_no_folder_is_refused_naming_it(
    tmp_path: Path, kind: str, reason: str, below: str
) -> None:
    (tmp_path / "outside" / "y").mkdir(parents=True)
    place = tmp_path / "root" / "x"
    place.parent.mkdir()
    if kind == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path / ("outside" if kind == "link" else "nothing"))
    with pytest.raises(StoreError, match=f"`{place}` {reason}, and a package needs a folder there"):
        refuse_links(tmp_path / "root", tmp_path / "root" / below)


def test_this_disk_has_links_and_the_probe_is_removed(tmp_path: Path) -> None:
    assert holds_links(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_that_refuses_links_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(Path, "symlink_to", failing_with(number))
    assert not holds_links(tmp_path)


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, NoSpace), (errno.EACCES, StoreError)])
def test_a_disk_that_fails_says_nothing_about_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[StoreError]
) -> None:
    monkeypatch.setattr(Path, "symlink_to", failing_with(number))
    with pytest.raises(error) as caught:
        holds_links(tmp_path)
    assert type(caught.value) is error


def failing_with(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail
