"""A hostile hub: no wrong byte is captured, memory and time are bounded, and a SIGINT is heard."""

import pytest

from tests.faults.hostile_hub import Case, all_cases, run_case, standing
from tests.faults.hostile_worlds import PLACES

HEARD_SECONDS = 5.0
"""A second on a machine of its own; the tests share theirs, and the program is one of many processes."""

SHORT = {
    "huggingface": [
        Case("huggingface", "tree", "paths upwards"),
        Case("huggingface", "listing", "silent", interrupt=True),
    ],
    "xet": [
        Case("xet", "reconstruction", "addresses inside"),
        Case("xet", "xorbs", "silent", interrupt=True),
    ],
    "git": [
        Case("git", "refs", "redirect inside"),
        Case("git", "objects", "cut, changing"),
    ],
}
WHOLE_ANYWAY = {"addresses inside"}
"""What Xet storage does not give comes over plain HTTP."""


@pytest.mark.parametrize("world", SHORT)
def test_hostile_hub_harms_nothing(world: str) -> None:
    with standing(world) as hub:
        for case in SHORT[world]:
            outcome = run_case(hub, case)

            assert not outcome.problems(HEARD_SECONDS), outcome
            assert (outcome.code == 0) == (case.fault in WHOLE_ANYWAY), outcome


def test_sweep_has_every_place_of_every_hub_with_every_fault() -> None:
    cases = all_cases()

    assert {case for short in SHORT.values() for case in short} <= set(cases)
    assert {(case.world, case.place) for case in cases} == {(world, at) for world in PLACES for at in PLACES[world]}
    assert len(set(cases)) == len(cases) > 900
