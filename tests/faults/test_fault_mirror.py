"""A hostile mirror: no wrong byte is laid out, memory and time are bounded, and a SIGINT is heard."""

import pytest

from tests.faults.hostile_mirror import FILES, LIES, MIRROR_FAULTS, SLOW, all_cases, run_case, true_files

HEARD_SECONDS = 5.0
"""A second on a machine of its own; the tests share theirs, and the program is one of many processes."""

SHORT = [
    ("timestamp", "headers", False),
    ("release", "parts", False),
    ("placement", "largest", False),
    ("content", "redirect inside", False),
    ("packs", "drip", False),
    ("packs", "flipped", False),
    ("packs", "stall", True),
    ("release", "drip", True),
]


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    return true_files()


@pytest.mark.parametrize(("file", "fault", "interrupt"), SHORT)
def test_hostile_mirror_harms_nothing(file: str, fault: str, interrupt: bool, truth: dict[str, str]) -> None:
    outcome = run_case(file, fault, truth, interrupt=interrupt)

    assert not outcome.problems(HEARD_SECONDS), outcome
    assert fault == "flipped" or outcome.code != 0, outcome


def test_sweep_has_every_file_with_every_fault() -> None:
    cases = all_cases()

    assert set(SHORT) <= set(cases)
    assert len(cases) == len(FILES) * (len(MIRROR_FAULTS) + len(SLOW)) + len(LIES)
