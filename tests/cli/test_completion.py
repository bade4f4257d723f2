"""Completion offers hubs, kinds, subsets and packages, and is silent where there is nothing to offer."""

import os
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from tests.channels import Made, make_channel
from tests.in_process import run_verb
from tests.program import environment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


def complete(*words: str) -> list[str]:
    """Return what bash would offer for the last word."""
    typed = {"COMP_WORDS": "\n".join(["ptmtorrent", *words]), "COMP_CWORD": str(len(words))}
    env = environment(_PTMTORRENT_COMPLETE="complete_bash", **typed)
    _, offered, errors = run_verb(cwd=Path.cwd(), env=env)
    assert errors == ""
    return offered.split()


def test_hubs_and_kinds_are_completed() -> None:
    assert complete("clone", "hug") == ["huggingface"]
    assert complete("fetch", "--only", "con") == ["config"]
    assert complete("fetch", "--only", "docs,w") == ["docs,weights"]


def test_subsets_and_packages_are_completed_from_the_channel(made: Made, tmp_path: Path) -> None:
    made.trusted_by(Home(tmp_path), str(made.folder))
    where = ("--home", str(tmp_path), "--channel", str(made.folder))
    assert complete("fetch", *where, "--subset", "pop") == ["popular"]
    assert complete("list", *where, "--subset", "") == ["all", "metadata", "popular"]
    assert "hf:solo" in complete("show", *where, "hf:s")


def test_a_channel_that_cannot_be_opened_completes_to_nothing(tmp_path: Path) -> None:
    assert complete("fetch", "--home", str(tmp_path), "--channel", os.devnull, "--subset", "p") == []
