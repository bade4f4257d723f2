"""Every verb that reads a channel hears the first SIGINT or SIGTERM while a server keeps it waiting."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import environment

PIN = f"b3:{'0' * 64}"
VERBS = {
    "fetch": ("fetch", "hf:a/b", "--release", PIN, "--channel"),
    "list": ("list", "--release", PIN, "--channel"),
    "show": ("show", "hf:a/b", "--release", PIN, "--channel"),
    "subsets": ("subsets", "--release", PIN, "--channel"),
    "trust add": ("trust", "add", "--fingerprint", PIN),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_waits_for_a_channel_stops_at_the_first_signal(
    tmp_path: Path, verb: str, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        place = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        command = [sys.executable, "-m", "ptmtorrent", "--home", str(tmp_path / "home"), *VERBS[verb], place]
        started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment())
        with started, silent.accept()[0] as connection:
            assert connection.recv(1 << 16).startswith(b"GET ")
            started.send_signal(number)
            try:
                _, said = started.communicate(timeout=30)
            finally:
                started.kill()
    assert started.returncode == 130, said
    assert "stopping; press Ctrl-C again" in said
    assert "was interrupted" in said
