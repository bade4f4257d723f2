"""Tables in a real terminal: no row is wider than it, ids stay whole, and a pipe gets tabs."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ptmtorrent.cli._tables import aligned
from tests.channels import Made, make_channel
from tests.program import DEADLINE_SECONDS, environment
from tests.warm import run_program

WIDTHS = (80, 100, 120, 200)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def home(made: Made) -> Path:
    made.trusted_by(made.home, str(made.folder))
    return made.home.root


def in_terminal(width: int, *arguments: str) -> list[str]:
    """Run a verb with stdout in a terminal of `width` columns; return the lines it printed there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    env = {name: value for name, value in environment(TERM="xterm").items() if name not in {"COLUMNS", "LINES"}}
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_read_all, ours)
        try:
            done = run_program(arguments, env=env, cwd=Path.cwd(), timeout=DEADLINE_SECONDS, terminal=theirs)
        finally:
            os.close(theirs)
        printed = reading.result()
    assert done.returncode == 0
    return CONTROL.sub("", printed.decode()).replace("\r", "").splitlines()


def _read_all(terminal: int) -> bytes:
    printed = b""
    try:
        while block := os.read(terminal, 65536):
            printed += block
    except OSError:  # EIO: the program has ended and the terminal has no other writer
        pass
    finally:
        os.close(terminal)
    return printed


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "verb",
    [["list"], ["show", "hf:solo"], ["subsets"], ["status"], ["store", "info"], ["doctor"]],
    ids="-".join,
)
def test_no_row_is_wider_than_the_terminal(made: Made, home: Path, width: int, verb: list[str]) -> None:
    channel = ["--channel", str(made.folder)] if verb[0] in {"list", "show", "subsets"} else []
    lines = in_terminal(width, *verb, "--home", str(home), *channel)
    assert lines
    assert [line for line in lines if len(line) > width] == []
    if verb == ["list"]:
        assert {line.split()[0] for line in lines[1:]} == set(made.packages)


def test_a_pipe_gets_tabs_and_whole_cells(made: Made, home: Path) -> None:
    command = [sys.executable, "-m", "ptmtorrent", "list", "--home", str(home), "--channel", str(made.folder)]
    done = subprocess.run(["sh", "-c", '"$@" | cat', "sh", *command], env=environment(), capture_output=True, text=True)  # noqa: PLW1510  # the exit code is that of `cat`
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == set(made.packages)
    assert {len(row) for row in rows} == {9}
    assert all(re.fullmatch("[0-9a-f]{64}", row[-1]) for row in rows)


ROWS = [
    {
        "package": f"hf:organisation/model-{number}-{'x' * 20}",
        "files": number,
        "downloads": 10**9,
        "task": "a task with a long name that can be cut",
        "flags": None,
        "snapshot": "0123456789abcdef" * 4,
    }
    for number in range(3)
]


@pytest.mark.parametrize("width", [44, 50, 60, *WIDTHS])
def test_ids_stay_whole_and_the_least_important_columns_go_first(width: int) -> None:
    table = aligned(ROWS, width)
    assert table.left_out == 0
    assert max(map(len, table.lines)) <= width
    assert [line.split()[0] for line in table.lines[1:]] == [row["package"] for row in ROWS]
    assert ("snapshot" in table.lines[0]) <= ("task" in table.lines[0]) <= ("downloads" in table.lines[0] or width < 60)


def test_hashes_and_kinds_are_dropped_before_a_file_name_is_cut() -> None:
    rows = [{"file": f"{'a/' * 20}weights.bin", "bytes": 10**9, "kind": "weights", "sha256": "0123456789abcdef" * 4}]
    assert aligned(rows, 80).lines[1].split()[0] == rows[0]["file"]
    assert aligned(rows, 40).lines[1].split()[0].endswith("…")
    assert [len(line) <= 40 for line in aligned(rows, 40).lines] == [True, True]


def test_a_row_whose_id_does_not_fit_is_left_out_and_counted() -> None:
    rows = [{"package": "hf:a/b"}, {"package": f"hf:a/{'b' * 90}"}]
    table = aligned(rows, 80)
    assert (table.lines, table.left_out) == (["package", "hf:a/b"], 1)
