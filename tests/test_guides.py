"""Every block of the guides: commands are parsed by the program, those of the sample run, settings and code are read.

What needs an account, a hub, a cluster or another machine is parsed only; `RUN` lists what runs, in order, in one home.
"""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from ptmtorrent.cli.main import app
from ptmtorrent.clusters.description import read_cluster
from tests.in_process import ptmtorrent

TOP = Path(__file__).parent.parent
PAGES = sorted([TOP / "README.md", *TOP.glob("docs/guides/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
GROUPS = ("auth", "config", "keys", "store", "trust")

RUN = (
    "ptmtorrent subsets",
    "ptmtorrent list --subset popular",
    "ptmtorrent fetch --subset popular --dry-run",
    "ptmtorrent fetch --subset popular --to models",
    "ptmtorrent fetch hf:quill-lab/quill-base --to models",
    "ptmtorrent verify models",
)
"""Commands that need the sample channel alone; the others need a channel, hub, key or account that their page names."""

OTHERS = {"cp", "export", "git", "pip", "pytest", "rclone", "rsync", "scripts/demo", "scripts/test"}
"""Programs of other projects, and scripts that set up a machine: they run in tests of their own, or need a network."""


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def commands(page: Path) -> list[str]:
    """The commands of a page, without comments and without what they are piped into."""
    lines = [line for _, text in blocks(page) for line in text.splitlines() if line.startswith("$ ")]
    return [shlex.join(shlex.split(line[2:].partition(" | ")[0], comments=True)) for line in lines]


def ours() -> list[tuple[str, str]]:
    return [(page.name, line) for page in PAGES for line in commands(page) if line.startswith("ptmtorrent ")]


@pytest.mark.parametrize(("page", "line"), ours())
def test_the_program_accepts_every_command(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    words = words[2:] if words[0] == "--format" else words
    command = typer.main.get_command(app).commands[words[0]]
    if words[0] in GROUPS:
        words = words[1:]
        command = command.commands[words[0]]

    context = command.make_context(page, words[1:])

    assert context.params is not None


def test_other_programs_are_known() -> None:
    found = {shlex.split(line)[0] for page in PAGES for line in commands(page)}
    assert found - {"ptmtorrent"} <= OTHERS


def test_commands_of_the_sample_run_in_the_order_of_the_guides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = {line for _, line in ours()}
    assert set(RUN) <= written

    for line in RUN:
        assert ptmtorrent(tmp_path / "home", *shlex.split(line)[1:]), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_and_settings_can_be_read(page: Path) -> None:
    for kind, text in blocks(page):
        if kind == "python":
            ast.parse(text)
        if kind == "toml":
            tomllib.loads(text)


def test_the_cluster_of_the_guide_is_one(tmp_path: Path) -> None:
    [text] = [text for kind, text in blocks(TOP / "docs/guides/clusters.md") if kind == "toml"]
    (tmp_path / "cluster.toml").write_text(text)

    assert read_cluster(tmp_path / "cluster.toml").slurm.partition == "io"


def test_the_exit_codes_of_globus_are_those_of_its_errors() -> None:
    from ptmtorrent.errors import AuthError, ConfigError
    from ptmtorrent.transports.globus.causes import NotPermitted, TaskEnded

    rows = (TOP / "docs/guides/globus.md").read_text().splitlines()
    of = {row.split(" | ")[0].removeprefix("| "): row.split(" | ")[1] for row in rows if row.startswith("| ")}
    assert of["the task FAILED, was cancelled, or makes no progress"] == f"{TaskEnded.code}*"
    assert of["a permission is missing at submission"] == f"{NotPermitted.code}*"
    assert of["a consent is missing at submission"].startswith(f"{AuthError.code},")
    assert of["no client id, or `globus_here` is wrong or not set"].startswith(f"{ConfigError.code},")
