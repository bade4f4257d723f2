"""Lets a script run in the project's own environment, which is made when it is missing."""

import os
import subprocess
import sys
from pathlib import Path

_TOP = Path(__file__).resolve().parent.parent
_SET_UP = 'source scripts/setup && need_programs "$@" && install_project dev && install_weights'


def enter(*programs: str) -> None:
    """Go on in `.venv`; `programs` of other projects, as `program:package`, are installed where that is possible."""
    environment = _TOP / ".venv"
    if Path(sys.prefix).resolve() == environment.resolve():
        return
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", _SET_UP, "setup", *programs], cwd=_TOP, check=False)
    if done.returncode:
        sys.exit(f"the environment `{environment}` could not be made; see above")
    python = str(environment / "bin" / "python")
    os.execv(python, [python, *sys.argv])  # noqa: S606  # this very script, elsewhere
