import secrets
from pathlib import Path

from ptmtorrent.demo.hub.faults import Quota
from ptmtorrent.disk.partial import STEP_BYTES
from tests.faults.clone_kills import Sweep, snapshots
from tests.simulators.stormy_hub import StormyHub


def test_clone_killed_at_random_moments_ends_identical(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    sweep = Sweep(tmp_path, packages=3, file_bytes=22 << 20, kills=5, seed=seed)
    sweep.run()

    assert len(sweep.done) >= 2
    assert all(kill.worst <= STEP_BYTES for kill in sweep.done), sweep.done
    assert len(snapshots(sweep.home)) == 3
    assert snapshots(sweep.home) == snapshots(sweep.reference)
    assert list((sweep.home / "spool").glob("*.part")) == []


def test_clone_killed_in_a_storm_of_refusals_sends_nothing_above_the_quota(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    quota = Quota(api=20, resolvers=20, window_seconds=2)
    sweep = Sweep(tmp_path, packages=8, file_bytes=2 << 20, kills=3, seed=seed, quota=quota)
    sweep.run()

    assert isinstance(sweep.hub, StormyHub)
    assert sweep.hub.over_quota == 0
    assert all(kill.worst <= STEP_BYTES for kill in sweep.done), sweep.done
    assert len(snapshots(sweep.home)) == 8
    assert snapshots(sweep.home) == snapshots(sweep.reference)
