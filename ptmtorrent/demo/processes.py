"""Runs verbs of the program as subprocesses, each with its own home.

The processes ignore the settings of the calling user, and do not receive the user's tokens.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ptmtorrent.errors import Interrupted, PtmError

DEADLINE_SECONDS = 600
STOP_SECONDS = 30
LOG_NAME = "beside.log"
"""The stderr of the hub and the seeder, in the working folder."""

Event = dict[str, Any]


def run_verb(home: Path, *arguments: str, accept: frozenset[int] = frozenset({0})) -> list[Event]:
    """Run a verb with `--format json` and return the events it printed.

    Raises:
        PtmError: it exited with a code that is not in `accept`; the message includes its own.
        Interrupted: it was interrupted.
    """
    try:
        done = subprocess.run(
            _command(home, arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
            cwd=home.parent,
            env=_environment(home.parent),
        )
    except subprocess.TimeoutExpired as error:
        raise PtmError(f"`ptmtorrent {arguments[0]}` did not exit within {DEADLINE_SECONDS} seconds") from error
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode == Interrupted.code:
        raise Interrupted(f"`ptmtorrent {arguments[0]}` was interrupted")
    if done.returncode not in accept:
        raise PtmError(
            f"`ptmtorrent {' '.join(arguments)}` exited with code {done.returncode}: "
            f"{_last_message(events, done.stderr)}"
        )
    return events


@contextmanager
def running_verb(home: Path, *arguments: str, ready: str) -> Iterator[Event]:
    """Run a verb in the background during the block; yield its first event of type `ready`."""
    with _running(_command(home, arguments), home.parent) as lines:
        for line in lines:
            event: Event = json.loads(line)
            if event["type"] == ready:
                yield event
                return
        raise PtmError(f"`ptmtorrent {arguments[0]}` exited before it was ready", hint=_log_hint(home.parent))


@contextmanager
def running_hub(workdir: Path) -> Iterator[str]:
    """Run the sample hub in the background during the block; yield its endpoint."""
    with _running([sys.executable, "-m", "ptmtorrent.demo.sample_hub"], workdir) as lines:
        endpoint = lines.readline().strip()
        if not endpoint:
            raise PtmError("the sample hub exited before it was ready", hint=_log_hint(workdir))
        yield endpoint


def _log_hint(folder: Path) -> str:
    return f"its output is in `{folder / LOG_NAME}`"


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[IO[str]]:
    with (folder / LOG_NAME).open("ab") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder, env=_environment(folder)
        )
    out = process.stdout
    if out is None:
        raise PtmError(f"the output of `{command[0]}` cannot be read")
    try:
        yield out
    finally:
        drain = threading.Thread(target=out.read)  # a full pipe would keep the process from ending
        drain.start()
        process.terminate()
        _end(process)
        drain.join()
        out.close()


def _end(process: "subprocess.Popen[str]") -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(home: Path, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "ptmtorrent", "--home", str(home), "--format", "json", *arguments]


def _environment(folder: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PTMTORRENT_", "HF_"))}
    return {**kept, "XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data")}


def _last_message(events: Sequence[Event], log: str) -> str:
    messages = [str(event["message"]) for event in events if event["type"] == "error"]
    return messages[-1] if messages else log.strip()[-2000:]
