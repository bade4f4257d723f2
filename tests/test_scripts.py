"""Scripts are run by hand: what they import must be there, whatever was renamed since."""

import ast
import importlib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
OWN = ("ptmtorrent", "tests")


def is_python(path: Path) -> bool:
    return path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/env python")


SCRIPTS = sorted(path for path in (TOP / "scripts").rglob("*") if path.is_file() and is_python(path))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(TOP).as_posix())
def test_everything_that_a_script_imports_is_there(path: Path) -> None:
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]

    for node in found:
        if node.module and node.module.partition(".")[0] in OWN:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_scripts_are_found() -> None:
    names = {path.name for path in SCRIPTS}
    assert {"fault-clone", "fault-fetch", "fault-mirror", "bench-scale", "own_environment.py"} <= names
