"""Prose is plain technical English: these words are not used in code, documentation or help."""

import re
from pathlib import Path

import pytest
import typer.main

from ptmtorrent.cli.main import app

TOP = Path(__file__).parent.parent
WORDS = re.compile(
    r"(?i:\b(?:nobody|somebody|whoever|let(?:s|ting)? go|(?:is|are|was|were) told|so many)\b)|\b_?(?:MOST|LEAST)_[A-Z]"
)
TEXTS = sorted(
    path
    for pattern in ("ptmtorrent/**/*.py", "ptmtorrent/**/*.c", "docs/**/*.md", "scripts/**/*", "*.md")
    for path in TOP.glob(pattern)
    if path.is_file() and path.suffix != ".pyc"
)


def help_pages(command: typer.main.TyperCommand, words: tuple[str, ...] = ("ptmtorrent",)) -> list[str]:
    context = command.make_context(words[-1], [], resilient_parsing=True)
    inner = getattr(command, "commands", {})
    return [
        command.get_help(context),
        *(page for name, child in inner.items() for page in help_pages(child, (*words, name))),
    ]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(TOP)))
def test_no_odd_word_is_in_a_file(path: Path) -> None:
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    assert [f"{number}: {line.strip()}" for number, line in lines if WORDS.search(line)] == []


def test_no_odd_word_is_in_the_help() -> None:
    pages = help_pages(typer.main.get_command(app))
    assert len(pages) > 20
    assert [line for page in pages for line in page.splitlines() if WORDS.search(line)] == []
