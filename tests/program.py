"""Runs `ptmtorrent` as its users do: as a process of its own, with a home of its own."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.warm import Running, run_program, start_program

DEADLINE_SECONDS = 300


def environment(**extra: str) -> dict[str, str]:
    """The environment without settings of ours or of a hub's client, plus `extra`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PTMTORRENT_", "HF_"))}
    return {**kept, **extra}


def ptmtorrent(
    home: Path, *arguments: object, code: int = 0, env: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Run a verb with `--format json`, check its exit code and return the events it printed."""
    done = run_program(
        ["--home", str(home), "--format", "json", *map(str, arguments)],
        env=env or environment(),
        cwd=home.parent,
        timeout=DEADLINE_SECONDS,
    )
    said = done.stdout.decode()
    assert done.returncode == code, (
        f"{arguments} ended {done.returncode}\n{said[-3000:]}\n{done.stderr.decode()[-3000:]}"
    )
    return [json.loads(line) for line in said.splitlines()]


@contextmanager
def seeding(home: Path, channel: Path) -> Iterator[str]:
    """Seed `channel` from a process of its own; yields the seeder's `HOST:PORT`."""
    words = ["--home", str(home), "--format", "json", "seed", "--channel", str(channel), "--listen", "127.0.0.1:0"]
    read, write = os.pipe()
    with open(read, encoding="utf-8") as said:  # noqa: PTH123
        with open(write, "wb") as out:  # noqa: PTH123
            process = start_program(words, env=environment(), out=out)
        try:
            yield _address(process, said)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _address(process: Running, said: IO[str]) -> str:
    for line in said:
        event = json.loads(line)
        if event["type"] == "listening":
            return str(event["address"])
    raise AssertionError(f"the seeder ended {process.wait()} before it listened")
