"""One run of the benchmark of clones on little data. Nothing is timed, and no figure is judged."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

PROGRAM = Path(__file__).parent.parent / "scripts" / "bench-clone"


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_every_client_gets_the_package_and_every_figure_is_written(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text("# Benchmarks\n")

    command = [
        sys.executable,
        str(PROGRAM),
        "--quick",
        "--rounds",
        "1",
        "--json",
        str(figures),
        "--markdown",
        str(page),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())
    assert len(rows) == 16
    assert {row["system"] for row in rows} == {"ours", "git clone, git lfs pull", "hf download"}
    assert all(row["value"] > 0 for row in rows)
    assert page.read_text().startswith("# Benchmarks\n")
    assert page.read_text().count("## Cloning one package") == 2
