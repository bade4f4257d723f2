"""Kill a fetch from, or a publish into, a Globus collection; run it again; look at what came of it."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any, Literal

from ptmtorrent.paths import Home
from tests.channels import RELEASE, Made, check_laid_out
from tests.simulators.globus.state import TaskFault
from tests.simulators.globus.world import MAINTAINER, MAINTAINERS, PUBLIC, USER, USERS, World
from tests.warm import Running, start_program

Verb = Literal["fetch", "publish"]
FETCH_STEPS = ("planned", "prepared", "posted", "submitted", "active", "mid-file", "landed", "verified", "installed")
PUBLISH_STEPS = (*FETCH_STEPS[:-1], "renamed", "installed")
ROUND_SECONDS = 120


def steps_of(verb: Verb) -> tuple[str, ...]:
    return FETCH_STEPS if verb == "fetch" else PUBLISH_STEPS


def kill_and_finish(world: World, made: Made, verb: Verb, step: str) -> None:
    """Kill `verb` at `step`, run it again, and check: one task, the same bytes, nothing left to do.

    Raises:
        AssertionError: that does not hold.
    """
    _prepare(world, made, verb)
    process = _start(world, made, verb, step)
    if step == "active":
        world.state.task_faults.append(TaskFault("ENDPOINT_BUSY", times=3))
    if step == "mid-file":
        _kill_in_the_middle(world, process)
    code = process.wait(timeout=ROUND_SECONDS)
    assert code == -signal.SIGKILL, f"{verb} ended {code} and was not killed at `{step}`"
    if verb == "publish" and step not in {"renamed", "installed"}:
        assert not (world.channel / "metadata").exists(), "a release that is not whole is visible"
    world.state.during_copy = lambda _: None
    assert _start(world, made, verb, "never").wait(timeout=ROUND_SECONDS) == 0
    jobs = 1 if verb == "fetch" else 2  # the timestamp of a channel goes by a job of its own
    assert len(world.state.tasks) == jobs, f"{len(world.state.tasks)} tasks for {jobs} jobs"
    sent = [item["destination_path"] for task in world.state.tasks.values() for item in task.body["DATA"]]
    assert len(sent) == len(set(sent)), "a file was sent twice"
    if verb == "fetch":
        check_laid_out(world.user / "out", made.packages)
    else:
        assert tree(world.channel) == tree(made.folder)


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a channel, without what waits to be published."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".ptm-staging" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _prepare(world: World, made: Made, verb: Verb) -> None:
    state = world.state
    for kept in (state.tasks, state.by_submission, state.faults, state.task_faults, state.after_copy, state.asked):
        kept.clear()
    rule = {"id": "x", "path": "/", "permissions": "r", "principal": "", "principal_type": "anonymous"}
    state.collections[PUBLIC].rules = [rule]
    for folder in (world.public / "ptm", world.user, made.home.globus):
        shutil.rmtree(folder, ignore_errors=True)
    world.user.mkdir()
    world.user.chmod(0o777)
    if verb == "fetch":
        shutil.copytree(made.folder, world.channel)
        made.trusted_by(Home(world.user / "home"), world.place)


def _start(world: World, made: Made, verb: Verb, step: str) -> Running:
    if verb == "fetch":
        home, who, here = world.user / "home", USER, USERS
        words: list[Any] = ["fetch", *made.packages, "--transport", "globus", "--channel", world.place]
        words += ["--to", world.user / "out"]
    else:
        home, who, here = made.home.root, MAINTAINER, MAINTAINERS
        words = ["publish", RELEASE, "--to", world.place]
    arguments = map(str, [step, "--home", home, "--format", "json", *words])
    return start_program([*arguments], env=world.environment(who, here), main="tests.faults.globus_child")


def _kill_in_the_middle(world: World, process: Running) -> None:
    """Kill the program, and the server that sends, while a file is being copied."""
    done: list[bool] = []

    def strike(targets: list[Path]) -> None:
        if not done and any(path.exists() for path in targets):
            done.append(True)
            os.kill(process.pid, signal.SIGKILL)
            world.site.kill()
            world.site.start()

    world.state.during_copy = strike
