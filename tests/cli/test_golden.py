"""Wording is reviewed as text: help, messages and the schema of records are golden files."""

from pathlib import Path

import pytest

from tests.texts import TEXTS


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_the_golden_file_is_what_the_code_gives(path: Path) -> None:
    """After a change that is meant, run `scripts/update-golden` and review the difference."""
    assert path.read_text(encoding="utf-8") == TEXTS[path]()
