import shutil
from collections.abc import Iterator

import pytest

from tests.channels import Made, make_channel
from tests.interop.globus_runs import OPENLY
from tests.simulators.globus.state import GUEST
from tests.simulators.globus.world import (
    PUBLIC,
    World,
    globus_world,
    require_programs,
)


@pytest.fixture(scope="module")
def small_globus() -> Iterator[tuple[World, Made]]:
    require_programs()
    with globus_world() as world:
        made = make_channel(world.maintainer)
        made.home.root.chmod(0o755)  # the account of the collection reads it
        yield world, made


@pytest.fixture
def world(small_globus: tuple[World, Made]) -> Iterator[World]:
    world, _ = small_globus
    state = world.state
    public = state.collections[PUBLIC]
    public.rules, public.entity_type, public.rename_replaces = list(OPENLY), GUEST, True
    for kept in (
        state.tasks,
        state.deletions,
        state.by_submission,
        state.faults,
        state.task_faults,
        state.after_copy,
        state.asked,
    ):
        kept.clear()
    state.during_copy = lambda _: None
    state.tokens_seen.clear()
    yield world
    for task in state.tasks.values():
        if task.doc["status"] != "SUCCEEDED":
            task.end("FAILED", "CANCELED")
    for folder in (world.public / "ptm", world.user, world.maintainer / "maintainer" / "globus"):
        shutil.rmtree(folder, ignore_errors=True)
    world.user.mkdir()
    world.user.chmod(0o777)


@pytest.fixture
def made(small_globus: tuple[World, Made]) -> Made:
    return small_globus[1]
