"""A release that carries over what is unchanged is the release that is made from nothing, whatever came before."""

from pathlib import Path

import pytest

from ptmtorrent.model import levels
from ptmtorrent.workflows.release import index
from tests.workflows.histories import check_release, new_history

OPERATIONS = {"add": 5, "change": 3, "recount": 2, "close": 2, "exclude": 1, "repack": 1, "rebuild": 1}


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
