import os
import tracemalloc
from contextlib import nullcontext
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import check_file_path, check_path, check_paths, may_be_written

components = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
paths = st.lists(st.one_of(components, st.sampled_from(["..", ".", "", "C:", "a\\b"])), max_size=5).map("/".join)


def accepted(path: str) -> bool:
    try:
        check_path(path)
    except IntegrityError:
        return False
    return True


def stays_inside(path: str) -> bool:
    windows = PureWindowsPath(path)
    return (
        not PurePosixPath(path).is_absolute()
        and not (windows.is_absolute() or windows.drive or windows.root)
        and os.path.normpath(f"/root/{path}") == f"/root/{path}"
    )


@given(paths)
def test_an_accepted_path_stays_inside_its_folder_on_posix_and_windows(path: str) -> None:
    assert stays_inside(path) or not accepted(path)


@given(st.lists(st.text("abcé日0-_ ", min_size=1, max_size=8), min_size=1, max_size=5).map("/".join))
def test_ordinary_paths_are_accepted(path: str) -> None:
    assert accepted(path)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "../x", "a/../b", "a/./b", "./a", "a//b", "a/"),
        *("a\0b", "a\nb", "a\x7f", "C:/x", "c:x", "1:", "a\\b", "\ud800", "\udcff"),
        *("x" * 256, "é" * 128, "/".join(["x" * 200] * 21)),
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="is refused"):
        check_path(path)


@pytest.mark.parametrize("path", ["x" * 255, "a b/ç.json", "...", "..a", "a..", "-rf", "~", "ab:c"])
def test_a_path_that_is_only_unusual_is_accepted(path: str) -> None:
    assert accepted(path)


def test_deep_paths_take_little_memory() -> None:
    deep = ["/".join([str(number), *["a"] * 2000]) for number in range(50)]
    tracemalloc.start()
    check_paths(deep)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


@given(st.lists(st.lists(st.sampled_from(["a", "b", "a-", "a "]), min_size=1, max_size=3), max_size=6))
def test_paths_collide_when_one_is_another_or_a_folder_of_it(parts: list[list[str]]) -> None:
    chosen = ["/".join(part) for part in parts]
    folders = {"/".join(part[:depth]) for part in parts for depth in range(1, len(part))}
    collide = len(set(chosen)) < len(chosen) or bool(folders & set(chosen))
    with pytest.raises(IntegrityError) if collide else nullcontext():
        check_paths(chosen)


@pytest.mark.parametrize("pair", [("a", "a"), ("a", "a/b"), ("a/b/c", "a/b"), ("a/b/c", "a")])
def test_two_paths_that_want_the_same_place_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(IntegrityError):
        check_paths(pair)


def test_names_that_differ_in_case_only_are_two_files() -> None:
    check_paths(["README.md", "readme.md", "a/b", "a/c"])

    assert accepted("README.md")


def test_bytes_that_are_not_utf8_may_stand_in_a_list_of_paths() -> None:
    check_paths(["caf\udce9.txt"])

    with pytest.raises(IntegrityError, match="NUL"):
        check_paths(["caf\udce9\0"])


@given(st.lists(st.binary(min_size=1, max_size=6).filter(lambda name: not {0, 0x2F} & {*name}), min_size=1))
def test_names_of_any_bytes_but_nul_and_slash_are_kept(names: list[bytes]) -> None:
    path = b"/".join(names).decode(errors="surrogateescape")
    leads_elsewhere = any(name in {b".", b".."} or name.lower() in {b".git", b"git~1"} for name in names)

    with pytest.raises(IntegrityError) if leads_elsewhere else nullcontext():
        check_paths([path])


@pytest.mark.parametrize(
    "path", [".:", "C:/x", "a\\b", "..\\x", "a\rb", "a\nb", "Icon\r", "\x7f", "a\tb", " ", "aux.h"]
)
def test_a_name_that_is_odd_on_other_platforms_is_that_of_a_file_and_of_no_package(path: str) -> None:
    check_file_path(path)

    assert path in {" ", "aux.h"} or not accepted(path)


@pytest.mark.parametrize("path", ["", "/x", "../x", "a/../b", "a//b", "a/", "a\0b", ".git/config", "x" * 256, "\udcff"])
def test_a_file_that_could_lie_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="is refused"):
        check_file_path(path)


@pytest.mark.parametrize("path", [".git", ".git/config", "a/.GIT/hooks/x", "a/git~1/config", ".Git"])
def test_settings_of_git_are_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="git would obey"):
        check_path(path)


@pytest.mark.parametrize("path", [".gitignore", ".github/x", "a.git/x", "git/config", ".gitattributes"])
def test_names_that_only_look_like_those_of_git_are_fine(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize("path", [".git/config", "a/GIT~1", "x" * 256, "a/" + "x" * 300 + "/b"])
def test_what_was_not_captured_may_have_a_name_that_is_not_written(path: str) -> None:
    check_paths(["a.txt"], [path])

    assert not may_be_written(path)
    with pytest.raises(IntegrityError, match="is refused"):
        check_paths([path])


@pytest.mark.parametrize("path", ["", "/x", "../x", "a//b", "a\0b", ".", "x/" * 2048 + "x"])
def test_what_was_not_captured_is_below_its_package_too(path: str) -> None:
    assert may_be_written(path), "it is refused like any other"
    with pytest.raises(IntegrityError, match="is refused"):
        check_paths([], [path])


def test_what_was_not_captured_collides_with_nothing() -> None:
    with pytest.raises(IntegrityError, match="a file and a folder at once"):
        check_paths(["a/b"], ["a"])
