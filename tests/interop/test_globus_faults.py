"""Faults of the Globus service and stopped runs, behind real GridFTP and HTTPS servers."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.channels import RELEASE, Made
from tests.interop.globus_runs import error_of, fetch, jobs, laid_out_right, publish, put, states, tree, user_home
from tests.program import ptmtorrent
from tests.simulators.globus.state import MAPPED, Fault, TaskFault
from tests.simulators.globus.world import (
    MAINTAINER,
    MAINTAINERS,
    PUBLIC,
    USER,
    USERS,
    World,
)

pytestmark = pytest.mark.interop


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(on="POST /v0.10/transfer", status=503),
            Fault(on="POST /v0.10/transfer", status=429, retry_after=1, code="TooManyRequests"),
            Fault(on="POST /v0.10/transfer", lost=True),
        ],
        ids=["503", "429", "lost reply"],
    )
    def test_what_passes_is_waited_for_and_makes_one_task(self, world: World, made: Made, fault: Fault) -> None:
        put(world, made)
        world.state.faults.append(Fault(**vars(fault)))

        fetch(world, made)

        laid_out_right(world, made)
        assert len(world.state.tasks) == 1
        assert len([request for request, _ in world.state.asked if request.endswith("/transfer")]) == 2

    @pytest.mark.parametrize(
        "rubbish",
        [{}, {"task_id": None}, {"task_id": "../../v0.10/task"}, {"task_id": "$(reboot)"}, {"task_id": ["x"]}],
        ids=["none", "null", "path", "shell", "list"],
    )
    def test_a_rubbish_answer_is_no_task(self, world: World, made: Made, rubbish: dict[str, Any]) -> None:
        put(world, made)
        world.state.faults.append(Fault(on="POST /v0.10/transfer", status=200, extra=rubbish))

        error = error_of(fetch(world, made, code=40))

        assert "sent an unexpected reply" in error["message"]
        assert states(world.user / "home") == ["prepared"]

    def test_a_missing_consent_names_the_command_and_keeps_the_submission(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].entity_type = MAPPED
        error = error_of(fetch(world, made, code=11))
        [before] = jobs(world.user / "home")
        scope = error["hint"].split("--scope ")[1].strip("'")

        env = world.environment(USER, USERS)
        ptmtorrent(world.user / "home", "auth", "login", "globus", "--scope", scope, env=env)
        fetch(world, made)

        [after] = jobs(world.user / "home")
        assert (before["state"], after["state"]) == ("prepared", "installed")
        assert before["submission_id"] == after["submission_id"] == world.state.only_task().body["submission_id"]
        laid_out_right(world, made)

    def test_a_submission_that_is_not_permitted_is_kept(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.faults.append(Fault(on="POST /v0.10/transfer", status=403, code="PermissionDenied"))

        error = error_of(fetch(world, made, code=11))

        assert "PermissionDenied" in error["message"]
        assert states(world.user / "home") == ["prepared"]

    def test_an_inactive_task_is_no_success(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.task_faults.append(TaskFault("CREDENTIAL_EXPIRED", status="INACTIVE"))

        error = error_of(fetch(world, made, code=11))

        assert "waits for a login" in error["message"]
        assert states(world.user / "home") == ["paused"]

    def test_a_failed_task_is_made_good_over_https(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.task_faults.append(TaskFault("ENDPOINT_ERROR", status="FAILED"))

        fetch(world, made, transport="globus+http")

        laid_out_right(world, made)
        assert states(world.user / "home") == ["failed"]

    def test_a_task_that_only_meets_faults_is_cancelled_and_made_good_over_https(
        self, world: World, made: Made
    ) -> None:
        put(world, made)
        world.state.task_faults.append(TaskFault("PERMISSION_DENIED", times=1 << 30))

        fetch(world, made, transport="globus+http", PTMTORRENT_GLOBUS_PATIENCE="1")

        laid_out_right(world, made)
        [job] = jobs(world.user / "home")
        assert job["state"] == "cancelled"
        assert "permission denied" in job["reason"]
        assert world.state.only_task().doc["fatal_error"]["code"] == "CANCELED"

    def test_a_failed_task_publishes_nothing(self, world: World, made: Made) -> None:
        world.state.task_faults.append(TaskFault("ENDPOINT_ERROR", status="FAILED"))

        publish(world, made, code=40)

        assert tree(world.public) == {}
        publish(world, made)
        assert tree(world.channel) == tree(made.folder)

    def test_a_server_killed_in_the_middle_of_a_file_leaves_no_holes(self, world: World, made: Made) -> None:
        put(world, made)
        killed: list[Path] = []

        def kill_once(targets: list[Path]) -> None:
            if not killed and any(path.exists() for path in targets):
                killed.extend(targets)
                world.site.kill()
                world.site.start()

        world.state.during_copy = kill_once

        fetch(world, made)

        assert killed
        laid_out_right(world, made)

    def test_a_pack_that_landed_wrong_is_not_installed_but_fetched_alone(self, world: World, made: Made) -> None:
        put(world, made)

        sizes = []

        def spoil(landed: list[Path]) -> None:
            sizes.append(landed[0].stat().st_size)
            with landed[0].open("r+b") as file:
                file.seek(1 << 10)
                file.write(bytes(1 << 10))

        world.state.after_copy.append(spoil)

        events = fetch(world, made, transport="globus+http")

        laid_out_right(world, made)
        moved = next(event for event in events if event["type"] == "summary")["sources"]
        assert set(moved) == {f"globus:{PUBLIC}", f"https://{world.host}/ptm/channel"}
        assert [moved[f"https://{world.host}/ptm/channel"]] == sizes

    def test_a_pack_that_landed_wrong_is_not_published(self, world: World, made: Made) -> None:
        def spoil(landed: list[Path]) -> None:
            for path in landed:
                data = path.read_bytes()
                path.write_bytes(bytes(len(data)))

        world.state.after_copy.append(spoil)

        publish(world, made, code=50)

        assert tree(world.channel) == {}
        assert states(made.home.root) == ["failed"]


class TestStopping:
    @pytest.mark.parametrize("verb", ["fetch", "publish"])
    def test_ctrl_c_says_which_task_goes_on_and_how_to_end_it(self, world: World, made: Made, verb: str) -> None:
        world.state.task_faults.append(TaskFault("ENDPOINT_BUSY", times=1 << 30))
        words, home, env = ["publish", RELEASE, "--to", world.place], made.home, (MAINTAINER, MAINTAINERS)
        if verb == "fetch":
            put(world, made)
            home, env = user_home(world, made, world.place_with_host), (USER, USERS)
            words = ["fetch", *made.packages, "--transport", "globus", "--channel", world.place_with_host]
            words += ["--to", str(world.user / "out")]
        command = [sys.executable, "-m", "ptmtorrent", "--home", str(home.root), "--format", "json", *words]
        process = subprocess.Popen(command, env=world.environment(*env), stdout=subprocess.PIPE, text=True)
        world.state.wait_until(lambda: states(home.root) == ["active"])

        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)

        task = world.state.only_task()
        assert process.returncode == 130, said
        assert f"globus task cancel {task.id}" in said
        assert (task.doc["status"], states(home.root)) == ("ACTIVE", ["active"])
