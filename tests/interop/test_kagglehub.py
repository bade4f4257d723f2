"""The unmodified kagglehub gets from the Kaggle simulator the bytes it serves.

It is no dependency of ours: `PTMTORRENT_KAGGLEHUB` names a Python that has it. It speaks to port 7777 alone, so that
a taken port skips this.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.hubs.kaggle_samples import fill
from tests.simulators.kaggle import serve_kaggle

pytestmark = pytest.mark.interop

PYTHON = os.environ.get("PTMTORRENT_KAGGLEHUB")
PORT = 7777


@pytest.mark.skipif(PYTHON is None, reason="PTMTORRENT_KAGGLEHUB names no Python that has kagglehub")
def test_kagglehub_gets_the_bytes_that_are_served(tmp_path: Path) -> None:
    try:
        serving = serve_kaggle(PORT)
        kaggle = serving.__enter__()
    except OSError:
        pytest.skip(f"port {PORT}, the only one kagglehub speaks to, is taken")
    try:
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
    finally:
        serving.__exit__(None, None, None)
