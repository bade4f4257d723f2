"""Why a transfer did not work, behind real GridFTP servers: named, paid for once, and nothing of it left.

For each cause, the bytes that moved are those of the directory that GridFTP wrote to and those of the summary.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.channels import Made
from tests.interop.globus_runs import BY_NAME, error_of, fetch, jobs, laid_out_right, put, states
from tests.simulators.globus.state import Fault, TaskFault
from tests.simulators.globus.world import PUBLIC, USERS, World

pytestmark = pytest.mark.interop
MOST_TIMES = 1.05
FALLBACK = "globus+http"


def summary_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    return next(event for event in events if event["type"] == "summary")


def planned(events: list[dict[str, Any]]) -> int:
    return int(next(event for event in events if event["type"] == "plan")["bytes_to_move"])


def notes(events: list[dict[str, Any]]) -> str:
    return "\n".join(str(event.get("message")) for event in events if event["type"] == "note")


def nothing_is_left(world: World) -> None:
    """No task that goes on, no landing folder anywhere, nothing staged."""
    tasks = [*world.state.tasks.values(), *world.state.deletions.values()]
    assert [task.doc["status"] for task in tasks if task.doc["status"] == "ACTIVE"] == []
    assert list(world.root.rglob(".ptm-incoming")) == []
    assert not any(job["state"] in {"submitted", "active", "paused", "landed"} for job in jobs(world.user / "home"))


def test_a_folder_that_the_collection_does_not_show_moves_nothing(world: World, made: Made) -> None:
    put(world, made)
    wrong = world.user / "elsewhere"

    events = fetch(world, made, transport=FALLBACK, code=10, PTMTORRENT_GLOBUS_HERE=f"{USERS}:{wrong}")

    error = error_of(events)
    assert "`globus_here`" in error["message"]
    assert str(wrong / ".ptm-incoming") in error["message"]
    assert "the collection's `/`" in error["hint"]
    assert world.state.tasks == {}, "no byte moved"
    nothing_is_left(world)


def test_a_success_of_which_nothing_landed_is_cleaned_up_and_not_repeated(world: World, made: Made) -> None:
    put(world, made)
    hidden = world.user / "hidden"

    def move_away(landed: list[Path]) -> None:
        (world.user / ".ptm-incoming").rename(hidden)
        assert landed

    world.state.after_copy.append(move_away)

    error = error_of(fetch(world, made, transport=FALLBACK, code=10))

    assert "succeeded, but nothing of it is on this machine" in error["message"]
    assert f"`globus_here` is `{USERS}:{world.user}`" in error["message"]
    assert [task.body["DATA"][0]["path"].split("/")[1] for task in world.state.deletions.values()] == [".ptm-incoming"]
    assert len(world.state.tasks) == 1
    nothing_is_left(world)


@pytest.mark.parametrize(
    ("code", "cause"),
    [("QUOTA_EXCEEDED", "disk quota at the destination is used up"), ("PERMISSION_DENIED", "does not permit")],
)
def test_a_task_that_failed_is_not_made_good_unasked(world: World, made: Made, code: str, cause: str) -> None:
    put(world, made)
    world.state.task_faults.append(TaskFault(code, status="FAILED"))

    events = fetch(world, made, code=40)

    error = error_of(events)
    [task] = world.state.tasks
    assert cause in error["message"]
    assert f"task `{task}` failed" in error["message"]
    assert "--transport globus+http" in error["hint"]
    assert summary_of(events)["bytes_moved"] == 0
    assert f"task `{task}` was submitted" in notes(events)
    nothing_is_left(world)


def test_a_quota_is_named_before_https_is_used_and_needed_bytes_move_once(world: World, made: Made) -> None:
    put(world, made)
    package = min(made.packages)
    needed = planned(fetch(world, made, transport="http", packages=[package]))
    (world.user / "out").rename(world.user / "before")
    world.state.task_faults.append(TaskFault("QUOTA_EXCEEDED", status="FAILED"))

    events = fetch(world, made, transport=FALLBACK, packages=[package], code=0)

    moved = summary_of(events)["bytes_moved"]
    assert "quota" in notes(events)
    assert "are fetched over HTTPS" in notes(events)
    assert 0 < moved <= MOST_TIMES * needed
    assert set(summary_of(events)["sources"]) == {f"https://{world.host}/ptm/channel"}
    nothing_is_left(world)


def test_a_task_that_is_cancelled_on_its_way_is_named_and_leaves_no_file(world: World, made: Made) -> None:
    put(world, made)

    def cancel(targets: list[Path]) -> None:
        if any(path.exists() for path in targets):
            task = world.state.only_task()
            if task.doc["status"] == "ACTIVE":
                task.end("FAILED", "CANCELED")

    world.state.during_copy = cancel

    error = error_of(fetch(world, made, code=40))

    assert "it was cancelled" in error["message"]
    assert states(world.user / "home") == ["failed"]
    nothing_is_left(world)
    world.state.during_copy = lambda _: None
    fetch(world, made)
    laid_out_right(world, made)


def test_a_permission_that_transfers_lack_is_named_before_https_is_used(world: World, made: Made) -> None:
    put(world, made)
    world.state.faults.append(Fault(on="POST /v0.10/transfer", status=403, code="PermissionDenied", times=9))

    strict = error_of(fetch(world, made, code=11))
    events = fetch(world, made, transport=FALLBACK)

    assert "is not permitted to your identity" in strict["message"]
    assert "auth status" in strict["hint"]
    assert "auth login" not in strict["hint"]
    assert "not permitted to your identity" in notes(events)
    assert summary_of(events)["bytes_moved"] <= MOST_TIMES * planned(events)
    laid_out_right(world, made)
    nothing_is_left(world)


def test_a_wrong_secret_is_named(world: World, made: Made) -> None:
    put(world, made)

    events = fetch(world, made, code=11, PTMTORRENT_GLOBUS_CLIENT_SECRET="of another")  # noqa: S106  # of no client

    error = error_of(events)
    assert "its secret is wrong" in error["message"]
    assert "PTMTORRENT_GLOBUS_CLIENT_SECRET" in error["hint"]
    assert "auth login" not in error["hint"]
    nothing_is_left(world)


def test_a_path_without_a_channel_is_named_and_no_login_is_asked_for(world: World, made: Made) -> None:
    put(world, made)
    world.state.collections[PUBLIC].rules = list(BY_NAME)
    place = world.place_with_host.replace("/ptm/channel", "/ptm/chanel")

    error = error_of(fetch(world, made, location=place, code=12))

    assert "/ptm/chanel" in error["message"]
    assert "auth login" not in str(error.get("hint"))
    assert world.state.tasks == {}


def test_a_collection_here_that_globus_does_not_know_is_named(world: World, made: Made) -> None:
    put(world, made)
    unknown = "99999999-9999-4999-8999-999999999999"

    error = error_of(fetch(world, made, code=10, PTMTORRENT_GLOBUS_HERE=f"{unknown}:{world.user}"))

    assert "`globus_here`" in error["message"]
    assert unknown in error["message"]
    nothing_is_left(world)


def test_a_location_as_globus_cli_writes_it_is_fetched(world: World, made: Made) -> None:
    put(world, made)

    fetch(world, made, location=f"{PUBLIC}:/ptm/channel")

    laid_out_right(world, made)
