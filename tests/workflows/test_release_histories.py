"""A release that carries over what is unchanged is the release that is made from nothing, whatever came before."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.model import levels
from ptmtorrent.paths import Home
from ptmtorrent.workflows.release import index
from ptmtorrent.workflows.release import release as workflow
from ptmtorrent.workflows.release.recall import remember
from tests.workflows.captured import TickingClock
from tests.workflows.histories import check_release, new_history

OPERATIONS = {"add": 5, "change": 3, "recount": 2, "close": 2, "exclude": 1, "repack": 1, "rebuild": 1}

NEW = {"add": 6, "change": 4, "recount": 2, "close": 1, "repack": 1}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels of few rows and runs, and shards of few rows, so that a short history has all of them."""
    monkeypatch.setattr(levels, "LEVEL_ROWS", 2)
    monkeypatch.setattr(levels, "LEVEL_WIDTH", 3)
    monkeypatch.setattr(index, "MAX_RUN_FILES", 3)
    monkeypatch.setattr(index, "bucket_bits_for", lambda members: min(4, max(0, (members - 1).bit_length() - 1)))
    monkeypatch.setattr(index, "shard_bits_for", lambda rows: min(3, max(0, (rows - 1).bit_length() - 2)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("small")
def test_a_release_after_a_random_history_equals_a_full_one(tmp_path: Path, seed: int) -> None:
    history = new_history(tmp_path, seed)
    for _ in range(8):
        check_release(history, history.release())
        for _ in range(history.random.randrange(3)):
            history.step(OPERATIONS)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.usefixtures("small")
def test_a_package_that_was_not_complete_is_removed_and_comes_back(tmp_path: Path, seed: int) -> None:
    history = new_history(tmp_path, seed)
    made = [history.release()]
    for _ in range(3):
        for _ in range(2):
            history.step(OPERATIONS)
        with history.without_a_pack():
            made.append(history.release())
            check_release(history, made[-1])
        made.append(history.release())
        check_release(history, made[-1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("small")
def test_what_is_known_of_the_previous_release_changes_no_byte(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, recalled = new_history(tmp_path, seed), Recalls(monkeypatch)
    history.release()
    for _ in range(7):
        for _ in range(history.random.randrange(3)):
            history.step(NEW)
        without = replace(history, home=copy_home(history.home, tmp_path / "without"), clock=TickingClock())
        without.home.release_state.unlink(missing_ok=True)
        number = next(history.number)

        made, heard = history.hear(number)
        other, also_heard = without.hear(number)

        assert made == other
        assert recalled.outcomes[-1] is False
        assert heard == also_heard
        for ref in made.listed:
            assert (history.home.channel / ref.path).read_bytes() == (without.home.channel / ref.path).read_bytes()
        shutil.rmtree(without.home.root)
    assert recalled.outcomes.count(True) >= 4


class Recalls:
    """Counts the releases that were made with what is known of the previous one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.outcomes: list[bool] = []
        patch.setattr(workflow, "remember", self._remember)

    def _remember(self, *arguments: Any) -> None:
        self.outcomes.append(arguments[-1] is not None)
        remember(*arguments)


def copy_home(home: Home, target: Path) -> Home:
    """Copy a home; packs are links, because they never change."""
    shutil.copytree(home.root, target, copy_function=_copy)
    return Home(target)


def _copy(source: str, target: str) -> None:
    (os.link if source.endswith(".pack") else shutil.copy2)(source, target)
