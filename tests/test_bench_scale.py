"""One run of the benchmark of scale on few packages. Nothing is timed, and no figure is judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent / "scripts" / "bench-scale"


@pytest.mark.slow
def test_plans_are_measured_at_two_sizes_and_every_figure_is_written(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    words = ["--only", "tiny: plan of one", "mixed: plan"]
    command = [
        sys.executable,
        str(PROGRAM),
        "--packages",
        "32",
        *words,
        "--json",
        str(figures),
        "--markdown",
        str(page),
    ]

    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())
    assert [(row["shape"], row["packages"], row["operation"]) for row in rows] == [
        ("tiny", 8, "plan of one package"),
        ("tiny", 32, "plan of one package"),
        ("mixed", 4, "plan of `popular`"),
        ("mixed", 16, "plan of `popular`"),
    ]
    assert all(row["cost"][metric] > 0 for row in rows for metric in ("cpu", "peak", "read", "requests", "received"))
    assert rows[3]["cost"]["received"] > rows[2]["cost"]["received"]
    assert "| plan of one package | 8 |" in page.read_text()
    assert page.read_text().count("| exponent |") == 2
