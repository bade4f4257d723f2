"""Folders of one name at two places are two packages, named with `--as`; nothing becomes a revision by chance."""

import os
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.model.ids import PackageName
from ptmtorrent.state.places import Places
from tests.in_process import ptmtorrent


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def folder(place: Path, text: str = "x") -> Path:
    """Make a folder with a file, which nothing writes any more."""
    place.mkdir(parents=True, exist_ok=True)
    file = place / "config.json"
    file.write_text(f'{{"name": "{text}"}}')
    os.utime(file, (1, 1))
    return place


def clone(home: Path, place: Path, *more: str, code: int = 0) -> list[dict[str, Any]]:
    return ptmtorrent(home, "clone", "dir", "--endpoint", place, *more, code=code)


def results(events: list[dict[str, Any]]) -> dict[str, str]:
    return {event["id"]: event["status"] for event in events if event["type"] == "result"}


def captured(home: Path) -> set[str]:
    return {event["package"] for event in ptmtorrent(home, "captured")}


@pytest.mark.parametrize("more", [(), ("--id", "m"), ("--dry-run",), ("--dry-run", "--exact")], ids=" ".join)
def test_folder_of_a_captured_name_elsewhere_is_refused(home: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    first, second = folder(tmp_path / "a" / "m", "one"), folder(tmp_path / "b" / "m", "two")
    clone(home, first)
    before = ptmtorrent(home, "captured")
    error = clone(home, second, *more, code=2)[-1]

    assert str(first) in error["message"]
    assert str(second) in error["message"]
    assert "--as NAME" in error["hint"]
    assert ptmtorrent(home, "captured") == before


def test_folder_with_a_name_of_its_own_is_another_package(home: Path, tmp_path: Path) -> None:
    first, second = folder(tmp_path / "a" / "m", "one"), folder(tmp_path / "b" / "m", "two")
    clone(home, first)
    assert results(clone(home, second, "--as", "other")) == {"dir:other": "ok"}
    assert captured(home) == {"dir:m", "dir:other"}

    events = clone(home, first), clone(home, second, "--as", "other")
    assert [results(each) for each in events] == [{"dir:m": "notneeded"}, {"dir:other": "notneeded"}]


def test_folder_by_two_names_is_two_packages(home: Path, tmp_path: Path) -> None:
    """Neither counts as withdrawn because the listing with the other name lacks it."""
    place = folder(tmp_path / "m")
    clone(home, place)
    events = clone(home, place, "--as", "other")

    assert results(events) == {"dir:other": "ok"}
    assert [event for event in events if event["type"] == "note"] == []
    assert "withdrawn" not in {event["what"] for event in ptmtorrent(home, "status")}


def test_name_begins_the_names_of_packages_in_the_folder(home: Path, tmp_path: Path) -> None:
    for top in ("a", "b"):
        folder(tmp_path / top / "team" / "m", top)
        folder(tmp_path / top / "n", top)
    clone(home, tmp_path / "a")
    clone(home, tmp_path / "b", code=2)
    clone(home, tmp_path / "b", "--as", "lab/b", "--id", "lab/b/n")
    clone(home, tmp_path / "b", "--as", "lab/b", "--id", "n", code=12)
    assert captured(home) == {"dir:team/m", "dir:n", "dir:lab/b/n"}

    clone(home, tmp_path / "b", "--as", "lab/b")
    assert captured(home) == {"dir:team/m", "dir:n", "dir:lab/b/team/m", "dir:lab/b/n"}


def test_folder_that_moved_goes_on_when_it_is_named(home: Path, tmp_path: Path) -> None:
    first = folder(tmp_path / "a" / "m", "one")
    clone(home, first)
    second = first.rename(tmp_path / "m")
    clone(home, second, code=2)
    events = clone(home, second, "--as", "m")

    assert results(events) == {"dir:m": "notneeded"}
    [warning] = [event["message"] for event in events if event["type"] == "note"]
    assert str(first) in warning
    assert str(second) in warning
    assert [event for event in clone(home, second) if event["type"] == "note"] == []


def test_folder_by_a_link_is_the_same(home: Path, tmp_path: Path) -> None:
    clone(home, folder(tmp_path / "a" / "m"))
    (tmp_path / "link").symlink_to("a")

    assert results(clone(home, tmp_path / "link" / "m")) == {"dir:m": "notneeded"}
    assert results(clone(home, tmp_path / "a")) == {"dir:m": "notneeded"}


def test_name_that_was_never_captured_is_free(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    with Places(home / "places.sqlite") as places:
        places.put([(PackageName("dir:m"), "/elsewhere/m")])  # by a run that ended before it captured

    assert results(clone(home, folder(tmp_path / "b" / "m"))) == {"dir:m": "ok"}


def test_several_folders_at_once_are_refused(home: Path, tmp_path: Path) -> None:
    first, second = folder(tmp_path / "a" / "m"), folder(tmp_path / "b" / "m")
    error = clone(home, first, "--endpoint", str(second), code=2)[-1]

    assert f"`{first}` and `{second}`" in error["message"]
    assert "--as NAME" in error["hint"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("dir", "--endpoint", ".", "--as", "../m"),
        ("dir", "--endpoint", ".", "--as", ""),
        ("huggingface", "--as", "m"),
    ],
)
def test_names_that_cannot_be_given(home: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    del tmp_path
    assert "--as" in ptmtorrent(home, "clone", *arguments, code=2)[-1]["message"]
