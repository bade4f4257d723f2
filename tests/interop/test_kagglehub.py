"""The unmodified kagglehub gets from the Kaggle simulator the bytes it serves.

It is no dependency of ours, and lives in an environment of its own, which scripts/test makes; `PTMTORRENT_KAGGLEHUB`
may name another Python that has it. It speaks to port 7777 alone: one that stays taken skips this.
"""

import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.hubs.kaggle.samples import fill
from tests.simulators.kaggle import Kaggle, serve_kaggle

pytestmark = pytest.mark.interop

OWN = Path(__file__).resolve().parents[2] / ".venv-kagglehub" / "bin" / "python"
PYTHON = os.environ.get("PTMTORRENT_KAGGLEHUB") or (str(OWN) if OWN.exists() else None)
PORT = 7777
DEADLINE_SECONDS = 30


@pytest.mark.skipif(PYTHON is None, reason="kagglehub is not installed: scripts/test does that")
def test_kagglehub_gets_the_bytes_that_are_served(tmp_path: Path) -> None:
    with ExitStack() as stack:
        kaggle = serve_when_free(stack)
        fill(kaggle)
        program = "import kagglehub, sys; print(kagglehub.model_download(sys.argv[1]))"
        for name, files in kaggle.models.items():
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KAGGLE_API_ENVIRONMENT": "TEST",
                "KAGGLEHUB_CACHE": str(tmp_path / "kept"),
                "DISABLE_KAGGLE_CACHE": "true",
            }
            order = [PYTHON or "", "-c", program, name]
            done = subprocess.run(order, env=environment, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            folder = Path(done.stdout.strip().splitlines()[-1])
            theirs = {
                path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
            }
            assert theirs == files


def serve_when_free(stack: ExitStack) -> Kaggle:
    """Another run of this test may have the port: wait for it to end."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return stack.enter_context(serve_kaggle(PORT))
        except OSError:
            if time.monotonic() > until:
                pytest.skip(f"port {PORT}, the only one kagglehub speaks to, is taken")
            time.sleep(0.2)
