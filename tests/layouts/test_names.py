"""What a platform cannot write is found out name by name, before anything is written."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptmtorrent.layouts.names import FOLDER, Names


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


def test_each_name_is_tried_once(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []
    real = os.open

    def note(path: bytes, *more: int) -> int:
        opened.append(path)
        return real(path, *more)

    monkeypatch.setattr(os, "open", note)
    for path in ("plain/a b", "a b/plain", "x/a b", "plain"):
        assert names.refusal(path) is None

    assert [Path(os.fsdecode(path)).name for path in opened] == ["a b"]


@pytest.mark.parametrize(("typed", "kept"), [("name. ", "name"), ("a:b", "a"), ("é\u0301x", "ex")])
def test_name_that_the_disk_changes_is_refused(
    names: Names, monkeypatch: pytest.MonkeyPatch, typed: str, kept: str
) -> None:
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *more: real(os.path.join(os.path.dirname(path), kept.encode()), *more))

    assert names.refusal(typed) == f"`{typed}` is a name that the disk changes to '{kept}'"


def test_name_whose_accents_the_disk_decomposes_is_taken(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open
    decomposed = "e\u0301 x".encode()
    monkeypatch.setattr(os, "open", lambda path, *more: real(os.path.join(os.path.dirname(path), decomposed), *more))

    assert names.refusal("é x") is None


@pytest.mark.parametrize(
    "path", ["a\\b", "..\\x", "C:", "a/b:c", "a\nb", "x*", "what?", "a.", "a ", "aux", "x/NUL.txt"]
)
def test_windows_takes_no_name_that_would_be_another_place(path: str) -> None:
    with Names(None, windows=True) as names:
        assert names.refusal(path) is not None
        assert names.refusal("a/.b c/auxiliary.txt") is None


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "a b").touch()

    with Names(tmp_path) as names:
        assert names.refusal("a b") is None
    assert list(tmp_path.iterdir()) == []
