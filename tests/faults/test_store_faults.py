"""Short forms of `scripts/fault-store`, which disturbs every operation on a store at every point."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fault-store"
DEADLINE_SECONDS = 300
COMES_ALONG = "write_file < store.stamp_version"
"""The name of `version.json` is synced because all small files are; making the index does it again."""

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def disturb(tmp_path: Path, kind: str, operations: Sequence[str], points: int) -> dict[str, dict[str, int]]:
    """Run the script; return the figures of each case."""
    figures = tmp_path / "figures.json"
    command = [sys.executable, SCRIPT, "--only", kind, "--operation", *operations]
    command += ["--points", points, "--json", figures]
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    if "skipped" in done.stdout:
        pytest.skip(done.stdout.strip().splitlines()[0])
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, dict[str, int]] = {}
    for figure in json.loads(figures.read_text()):
        found.setdefault(figure["case"], {})[figure["metric"]] = figure["value"]
    return found


def assert_none_bad(found: dict[str, dict[str, int]], least: int) -> None:
    assert all(figures["bad"] == figures["lost"] == 0 for figures in found.values()), found
    assert sum(figures["runs"] for figures in found.values()) >= least, found


@needs_strace
def test_a_kill_at_any_call_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    found = disturb(tmp_path, "kill", ["ingest", "seal", "merge", "fold", "heal", "gc", "rewrite"], 1)
    assert_none_bad(found, 30)


@needs_strace
def test_a_failing_call_ends_in_an_error_of_ours_and_the_next_run_goes_on(tmp_path: Path) -> None:
    assert_none_bad(disturb(tmp_path, "error", ["ingest"], 1), 40)


@needs_compiler
def test_nobody_notices_writes_that_end_early(tmp_path: Path) -> None:
    assert_none_bad(disturb(tmp_path, "short", ["ingest", "seal", "adopt"], 3), 15)


@needs_compiler
def test_what_was_reported_is_there_on_a_disk_that_keeps_what_was_synced_alone(tmp_path: Path) -> None:
    assert_none_bad(
        disturb(tmp_path, "strict", ["init", "ingest", "seal", "merge", "fold", "gc", "rewrite", "adopt"], 5), 35
    )


@needs_compiler
@needs_strace
def test_what_a_killed_process_left_is_made_durable_by_the_next(tmp_path: Path) -> None:
    assert_none_bad(disturb(tmp_path, "double", ["ingest", "seal"], 2), 20)


@needs_compiler
@needs_strace
def test_every_sync_of_an_ingest_is_needed(tmp_path: Path) -> None:
    found = disturb(tmp_path, "sites", ["init", "ingest"], 5)
    unneeded = [case for case, figures in found.items() if not figures["shown"]]
    assert len(found) >= 7
    assert all(case.endswith(COMES_ALONG) for case in unneeded)


@pytest.mark.needs_root
def test_a_full_disk_keeps_what_was_committed(tmp_path: Path) -> None:
    assert_none_bad(disturb(tmp_path, "full", ["ingest", "seal"], 1), 10)


@needs_strace
@pytest.mark.needs_root
def test_a_power_cut_on_ext4_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    assert_none_bad(disturb(tmp_path, "ext4", ["ingest"], 1), 12)


@pytest.mark.needs_root
def test_a_power_cut_while_two_processes_ingest_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    assert_none_bad(disturb(tmp_path, "writers", ["ingest"], 4), 4)
