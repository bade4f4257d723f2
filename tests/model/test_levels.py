import random

import pytest

from ptmtorrent.model.levels import LEVEL_ROWS, LEVEL_WIDTH, Merge, RunState, level_for, plan_merge


def run(level: int = 0, rows: int = 100, newest: int | None = None, *, refused: bool = False) -> RunState:
    return RunState(level=level, rows=rows, newest=rows if newest is None else newest, refused=refused)


@pytest.mark.parametrize(
    ("rows", "level"), [(1, 0), (LEVEL_ROWS, 0), (LEVEL_ROWS + 1, 1), (8 * LEVEL_ROWS, 1), (281_638, 3)]
)
def test_the_level_of_a_run_follows_from_its_rows(rows: int, level: int) -> None:
    assert level_for(rows) == level


def test_nothing_new_replaces_nothing() -> None:
    assert plan_merge([run(1), run()], 0) == Merge(replaced=frozenset(), level=None)


def test_the_eighth_run_of_a_level_replaces_the_others() -> None:
    assert plan_merge([run(2), *[run()] * 6], 1) == Merge(replaced=frozenset(), level=0)
    assert plan_merge([run(2), *[run()] * 7], 1) == Merge(replaced=frozenset(range(1, 8)), level=1)


def test_a_merge_that_fills_the_next_level_merges_that_too() -> None:
    runs = [run(2), *[run(1)] * 7, *[run()] * 7]
    assert plan_merge(runs, 1) == Merge(replaced=frozenset(range(1, 15)), level=2)


def test_a_large_run_replaces_those_of_lower_levels() -> None:
    assert plan_merge([run(2), run(1), run(0)], 5 * LEVEL_ROWS) == Merge(replaced=frozenset({2}), level=1)


def test_runs_with_refused_rows_and_runs_of_which_little_is_left_are_rewritten() -> None:
    assert plan_merge([run(2, refused=True), run(1)], 0) == Merge(replaced=frozenset({0}), level=0)
    assert plan_merge([run(2), run(1, 100, 49)], 0) == Merge(replaced=frozenset({1}), level=0)
    assert plan_merge([run(2), run(1, 100, 50)], 0) == Merge(replaced=frozenset(), level=None)
    assert plan_merge([run(2), run(1, 100, 0)], 0) == Merge(replaced=frozenset({1}), level=None)


@pytest.mark.parametrize("seed", range(20))
def test_levels_fall_and_none_has_eight_runs(seed: int) -> None:
    source = random.Random(seed)
    runs: list[RunState] = []
    for _ in range(300):
        changed = source.choice([0, 1, 50, 5_000, 40_000])
        merge = plan_merge(runs, changed)
        taken = sum(runs[number].newest for number in merge.replaced)
        runs = [each for number, each in enumerate(runs) if number not in merge.replaced]
        if merge.level is not None:
            runs.append(run(merge.level, changed + taken))
        levels = [each.level for each in runs]
        assert levels == sorted(levels, reverse=True)
        assert all(levels.count(level) < LEVEL_WIDTH for level in levels)
        runs = [run(each.level, each.rows, source.randrange(each.newest // 2, each.newest + 1)) for each in runs]
