"""Imports go downwards only, and every outside library lives in its room (DESIGN section 4)."""

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent


def test_every_import_contract_is_kept() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "0 broken" in done.stdout
