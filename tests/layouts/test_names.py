"""What a platform cannot write is found out name by name, before anything is written."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from ptmtorrent.layouts.folders import NAMES, Names


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Names]:
    with Names(tmp_path) as opened:
        yield opened
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["a", "a/b.json", ".gitignore", "a\\b", ".:", "a\nb", "Icon\r", "a\udcff", "-", "é/è"])
def test_this_disk_takes_any_name(names: Names, path: str) -> None:
    assert names.refusal(path) is None


def test_name_that_the_disk_refuses_is_named_with_its_reason(names: Names) -> None:
    assert (
        names.refusal("a/b/" + "é" * 128) == f"`{'é' * 128}` is a name that the disk does not take: File name too long"
    )


@contextmanager
def disk(change: Callable[[str], str] = str) -> Iterator[list[str]]:
    """A disk that changes names when it creates files; yields the names that were asked for."""
    asked: list[str] = []
    real = os.open

    def create(path: bytes, *more: int) -> int:
        place = Path(os.fsdecode(path))
        asked.append(place.name)
        return real(place.with_name(change(place.name)), *more)

    with mock.patch("os.open", create):
        yield asked


def test_each_name_is_tried_once(names: Names) -> None:
    with disk() as asked:
        for path in ("plain/a b", "a b/plain", "x/a b", "plain"):
            assert names.refusal(path) is None

    assert asked == ["a b"]


@pytest.mark.parametrize(("typed", "kept"), [("name. ", "name"), ("a:b", "a"), ("é\u0301x", "ex")])
def test_name_that_the_disk_changes_is_refused(names: Names, typed: str, kept: str) -> None:
    with disk(lambda _: kept):
        assert names.refusal(typed) == f"`{typed}` is a name that the disk changes to '{kept}'"


def test_name_whose_accents_the_disk_decomposes_is_taken(names: Names) -> None:
    with disk(lambda _: "e\u0301 x"):
        assert names.refusal("é x") is None


@pytest.mark.parametrize(
    "path", ["a\\b", "..\\x", "C:", "a/b:c", "a\nb", "x*", "what?", "a.", "a ", "aux", "x/NUL.txt"]
)
def test_windows_takes_no_name_that_would_be_another_place(path: str) -> None:
    with Names(None, windows=True) as names:
        assert names.refusal(path) is not None
        assert names.refusal("a/.b c/auxiliary.txt") is None


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / NAMES).mkdir()
    (tmp_path / NAMES / "a b").touch()

    with Names(tmp_path) as names:
        assert names.refusal("a b") is None
    assert list(tmp_path.iterdir()) == []
