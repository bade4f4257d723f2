"""Imports go downwards only, and every outside library lives in its room (DESIGN section 4)."""

import ast
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent


def test_every_import_contract_is_kept() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "0 broken" in done.stdout


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Imports inside functions count too: they hide a circle, they do not remove it."""
    graph = {name: found - {name} for name, found in imports().items()}
    while leaves := {name for name, found in graph.items() if not found & graph.keys()}:
        graph = {name: found for name, found in graph.items() if name not in leaves}
    assert sorted(graph) == []


def imports() -> dict[str, set[str]]:
    modules = {".".join(path.relative_to(TOP).with_suffix("").parts): path for path in TOP.glob("ptmtorrent/**/*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        targets = {(node.module or "", alias.name) for node in nodes for alias in node.names}
        found[name] = {f"{module}.{item}" if f"{module}.{item}" in modules else module for module, item in targets}
        found[name] &= modules.keys()
    return found
