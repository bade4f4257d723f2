import secrets
from pathlib import Path

from ptmtorrent.hubs.spool import SYNC_BYTES
from tests.faults.clone_kills import Sweep, snapshots


def test_clone_killed_at_random_moments_ends_identical(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    sweep = Sweep(tmp_path, packages=3, file_bytes=22 << 20, kills=5, seed=seed)
    sweep.run()

    assert len(sweep.done) >= 2
    assert all(kill.worst <= SYNC_BYTES for kill in sweep.done), sweep.done
    assert len(snapshots(sweep.home)) == 3
    assert snapshots(sweep.home) == snapshots(sweep.reference)
    assert list((sweep.home / "spool").glob("*.part")) == []
