"""Git waits for no server without end, whatever the protocol: a least rate, a deadline, and a stop that is heard."""

import os
import socket
import sys
import time
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import Interrupted
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.git import process
from ptmtorrent.hubs.git.addresses import NAMED
from ptmtorrent.hubs.git.process import Git
from tests.test_network import Habit, serving, silent

QUICK = msgspec.structs.replace(process.PACE, window=1.0)
ENOUGH_SECONDS = 10.0
COMMIT = "1" * 40


def dripping_line(connection: socket.socket) -> None:
    """Begin a packet line of the git protocol, and send it a byte at a time."""
    connection.sendall(b"fff0")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def dripping_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n")
    dripping_line(connection)


def git_by(ssh: str = "") -> Git:
    environment = {**os.environ, **({"GIT_SSH_COMMAND": ssh} if ssh else {})}
    return Git(environment, protocols=":".join(NAMED), pace=QUICK)


@pytest.mark.parametrize(
    ("scheme", "habit"),
    [("git", silent), ("git", dripping_line), ("http", silent), ("http", dripping_body), ("https", silent)],
)
def test_server_that_does_not_keep_the_pace_is_unreachable(scheme: str, habit: Habit) -> None:
    began = time.monotonic()
    with serving(habit) as url, pytest.raises(Unreachable, match="bytes a second"):
        git_by().head(url.replace("http", scheme) + "/x", "`m`")
    assert time.monotonic() - began < ENOUGH_SECONDS


DRIP = """
import sys, time
for x in 'fff0' * 1000:
    sys.stdout.write(x)
    sys.stdout.flush()
    time.sleep(0.05)
"""


@pytest.mark.parametrize("ssh", ["sleep 60 #", f'{sys.executable} -S -c "{DRIP}" #'])
def test_ssh_that_does_not_keep_the_pace_is_unreachable(ssh: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="bytes a second"):
        git_by(ssh).head("git@host.invalid:x", "`m`")
    assert time.monotonic() - began < ENOUGH_SECONDS


def test_fetch_keeps_the_pace_too(tmp_path: Path) -> None:
    with serving(silent) as url, pytest.raises(Unreachable, match="bytes a second"):
        git_by().fetch(url.replace("http", "git") + "/x", COMMIT, tmp_path / "bare", "`m`")


@pytest.mark.parametrize("ssh", ["", "sleep 60 #"])
def test_stop_is_heard_while_a_remote_is_waited_for(ssh: str) -> None:
    began = time.monotonic()
    git = git_by(ssh)
    git.pace = process.PACE
    git.stopped = lambda: time.monotonic() > began + 0.5
    with serving(silent) as url, pytest.raises(Interrupted):
        git.head("git@host.invalid:x" if ssh else url.replace("http", "git") + "/x", "`m`")
    assert time.monotonic() - began < 0.5 + 1


def test_deadline_holds_for_a_server_that_keeps_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MAX_SECONDS", 1.0)
    git = git_by()
    git.pace = process.PACE
    with serving(silent) as url, pytest.raises(process.HubError, match="too long"):
        git.head(url.replace("http", "git") + "/x", "`m`")


def test_git_that_computes_is_not_taken_for_a_stalled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "git"
    script.write_text(
        f"#!{sys.executable} -S\nimport time\nend = time.monotonic() + 2.5\nwhile time.monotonic() < end: pass\n"
    )
    script.chmod(0o755)
    git = git_by()
    git.environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    monkeypatch.setenv("PATH", git.environment["PATH"])
    assert git.run(["version"], "`m`") == b""
