"""Scripts are run by hand: what they import must be there, whatever was renamed since."""

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
OWN = ("ptmtorrent", "tests")


def is_python(path: Path) -> bool:
    return path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/env python")


def is_there(module: str, name: str) -> bool:
    """Return whether a module has something of that name, or a module below it has the name."""
    return hasattr(importlib.import_module(module), name) or find_spec(f"{module}.{name}") is not None


SCRIPTS = sorted(path for path in (TOP / "scripts").rglob("*") if path.is_file() and is_python(path))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(TOP).as_posix())
def test_everything_that_a_script_imports_is_there(path: Path) -> None:
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]

    missing = [
        f"{node.module}.{alias.name}"
        for node in found
        if node.module and node.module.partition(".")[0] in OWN
        for alias in node.names
        if not is_there(node.module, alias.name)
    ]

    assert missing == []


def test_scripts_are_found() -> None:
    names = {path.name for path in SCRIPTS}
    assert {"fault-clone", "fault-fetch", "fault-mirror", "bench-scale", "own_environment.py"} <= names
