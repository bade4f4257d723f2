"""Runs verbs in this process, for tests of what they say: without the start of a process, and so in milliseconds.

What a process of its own can show alone (its exit, signals, standard streams, limits) is run by `tests.program`.
"""

import io
import json
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from ptmtorrent.cli.main import run
from tests.program import environment


def ptmtorrent(
    home: Path, *arguments: object, code: int = 0, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Run a verb with `--format json`, check its exit code and return the events it printed."""
    typed = ["--home", str(home), "--format", "json", *map(str, arguments)]
    ended, out, err = run_verb(*typed, cwd=home.parent if cwd is None else cwd, env=env)
    assert ended == code, f"{arguments} ended {ended}\n{out[-3000:]}\n{err[-3000:]}"
    return [json.loads(line) for line in out.split("\n") if line]


def run_verb(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Return the exit code of `ptmtorrent` on `arguments`, and what it printed to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    given = dict(environment() if env is None else env)
    with mock.patch.dict("os.environ", given, clear=True), chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        try:
            ended = run(arguments)
        except SystemExit as leaving:  # completion leaves so
            ended = leaving.code if isinstance(leaving.code, int) else 0
    return ended, out.getvalue(), err.getvalue()
