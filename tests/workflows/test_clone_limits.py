"""A clone keeps within the limits of its hub, also where it is begun again and again, and says how long that takes."""

import pytest

from ptmtorrent.demo.hub.faults import Quota
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.errors import Interrupted
from ptmtorrent.model.records import Event, Result
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.clone import CloneRequest
from ptmtorrent.workflows.status import status as read_status
from tests.workflows.cloning import Run, package

QUOTA = Quota(api=5, resolvers=3, window_seconds=60)


def refused(hub: SampleHub) -> int:
    return sum(each.status == 429 for each in hub.log.exchanges())


def test_clone_that_is_begun_again_in_the_same_window_sends_nothing_above_its_quota(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptmtorrent.workflows.clone.capture_loop.BATCH", 1)

    def stop(event: Event) -> None:
        if isinstance(event, Result):
            run.stop.set()

    run.emit = stop
    done = 0
    with SampleHub([package(f"a/{at:02}") for at in range(12)], quota=QUOTA, monotonic=run.time.monotonic) as hub:
        for _ in range(4):
            run.stop = Stop()
            with pytest.raises(Interrupted):
                run(hub)
            done += len(run.results())
        run.stop, run.emit = Stop(), lambda _: None
        run(hub)
        found = refused(hub)

    assert found == 0
    assert done + len(run.results()) == 12


def test_exact_dry_run_says_how_many_hours_the_requests_take(run: Run) -> None:
    quota = Quota(api=500, resolvers=3_000)
    with SampleHub([package(f"a/{at}") for at in range(3)], quota=quota) as hub:
        run(hub, CloneRequest(dry_run=True, exact=True))

    assert run.plan().hours == pytest.approx(3 / 3_000 * 300 / 3600)
    assert not run.home.root.exists()


def test_hub_without_limits_takes_no_hours(run: Run) -> None:
    with SampleHub([package("a/x")]) as hub:
        run(hub, CloneRequest(dry_run=True, exact=True))

    assert run.plan().hours is None


def test_status_says_what_an_unfinished_clone_has_yet_to_do(run: Run) -> None:
    run.emit = lambda event: run.stop.set() if isinstance(event, Result) else None
    quota = Quota(api=500, resolvers=3_000)
    with SampleHub([package(f"a/{at}") for at in range(200)], quota=quota) as hub:
        with pytest.raises(Interrupted):
            run(hub, CloneRequest(jobs=1))
        name = f"clone huggingface {hub.endpoint}"
    found = dict(read_status(run.home))

    requests = found[f"{name} requests"]
    assert isinstance(requests, int)
    assert 0 < requests < 200
    assert found[name] == f"working: {requests} packages left, 0 of them not asked for yet"
    assert found[f"{name} hours"] == "0.0 at 3,000 requests in 300 seconds"
    assert 3 * requests <= int(found[f"{name} bytes"]) <= int(found[f"{name} disk bytes"])
