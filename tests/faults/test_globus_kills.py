"""A kill at any step of a Globus job makes one task and the right bytes; `scripts/fault-globus` does each 25 times."""

from collections.abc import Iterator

import pytest

from tests.channels import Made, make_channel
from tests.faults.globus_kills import Verb, kill_and_finish, steps_of
from tests.simulators.globus.world import World, globus_world, require_programs

pytestmark = pytest.mark.interop
CASES = [(verb, step) for verb in ("fetch", "publish") for step in steps_of(verb)]


@pytest.fixture(scope="module")
def small_globus() -> Iterator[tuple[World, Made]]:
    require_programs()
    with globus_world() as world:
        made = make_channel(world.maintainer)
        made.home.root.chmod(0o755)  # the account of the collection reads it
        yield world, made


@pytest.mark.parametrize(("verb", "step"), CASES)
def test_a_kill_makes_one_task_and_the_right_bytes(small_globus: tuple[World, Made], verb: Verb, step: str) -> None:
    world, made = small_globus

    kill_and_finish(world, made, verb, step)

    assert len({number for _, number in world.state.by_submission.items()}) == (1 if verb == "fetch" else 2)
