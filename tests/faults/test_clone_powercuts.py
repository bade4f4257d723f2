"""A power cut between any two syncs of a clone that commits in groups, on a disk that keeps only what was synced."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent.parent / "scripts" / "fault-clone"


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_power_cut_between_any_two_syncs_loses_no_package_that_was_reported(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(PROGRAM), "--quick", "--only", "power", "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["metric"]: row["value"] for row in json.loads(figures.read_text())}
    assert found["cuts"] > 40
    assert (found["bad"], found["lost"], found["captured twice"]) == (0, 0, 0)
