"""Golden files of texts: the help of every verb, every message template of the code, the JSON Schema of records.

`scripts/update-golden` writes them again after a text or a record was changed; the difference is reviewed as text.
"""

import ast
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer.main

import ptmtorrent
from ptmtorrent.cli import main as program
from ptmtorrent.errors import PtmError
from ptmtorrent.model import records

TOP = Path(__file__).parent.parent
GOLDEN = TOP / "tests" / "golden"
WIDTH = 100


def render_help() -> str:
    """Return the `--help` of the program and of every group and verb, at 100 columns, without colour."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    environment = {**kept, "COLUMNS": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "tests.texts"]
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, check=True)
    return done.stdout.decode()


def collect_messages() -> str:
    """Return every message template of the errors and notes in the code, with its hint, by class and text."""
    for info in pkgutil.walk_packages(ptmtorrent.__path__, "ptmtorrent."):
        if not info.name.endswith("__main__"):
            importlib.import_module(info.name)  # an error class may stand beside what raises it
    own = (kind for kind in _all_errors() if kind.__module__.startswith("ptmtorrent."))
    codes = {kind.__name__: f"{kind.__name__} ({kind.code})" for kind in own}
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((TOP / "ptmtorrent").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and (name := _name(call.func)) in {*codes, "Note"}:
                found[codes.get(name, name)].add(_entry(call))
    sections = (f"{name}\n\n" + "".join(sorted(found[name] - {""})) for name in sorted(found))
    return "\n".join(sections)


def render_schema() -> str:
    """Return the JSON Schema of a line of `--format json` that is a record (docs/guides/json.md)."""
    schema = msgspec.json.schema(records.Event | records.ErrorRecord)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Records of ptmtorrent --format json"}
    return json.dumps({**head, **schema}, indent=2) + "\n"


TEXTS = {
    GOLDEN / "help.txt": render_help,
    GOLDEN / "messages.txt": collect_messages,
    TOP / "docs" / "formats" / "records.schema.json": render_schema,
}
"""Every golden file of texts, with the function that renders it."""


def verbs() -> Iterator[tuple[str, Any]]:
    """Yield the program, its groups and its verbs, each after the words that call it."""
    yield "", (top := typer.main.get_command(program.app))
    for name, command in top.commands.items():
        yield name, command
        for inner, leaf in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", leaf


def _entry(call: ast.Call) -> str:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    message = call.args[0] if call.args else given.get("message")
    if message is None:
        return ""
    hint = given.get("hint")
    return f"  {_template(message)}\n" + ("" if hint is None else f"      hint: {_template(hint)}\n")


def _template(node: ast.expr) -> str:
    """Return an expression as the text it gives, with what is filled in between braces."""
    match node:
        case ast.Constant(value=str(text)):
            return text.replace("\n", "\\n")
        case ast.JoinedStr(values=parts):
            return "".join(map(_template, parts))
        case ast.FormattedValue(value=value):
            return f"{{{ast.unparse(value)}}}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _template(left) + _template(right)
        case ast.IfExp(body=body, orelse=other):
            return f"[{_template(body)}|{_template(other)}]"
    return f"{{{ast.unparse(node)}}}"


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _all_errors(kind: type[PtmError] = PtmError) -> Iterator[type[PtmError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _all_errors(child)


def _print_help() -> None:
    for name, _ in verbs():
        title = " ".join(["$ ptmtorrent", *name.split(), "--help"])
        sys.stdout.write(f"{title}\n")
        sys.stdout.flush()
        if program.run([*name.split(), "--help"]):
            raise SystemExit(1)
        sys.stdout.write("\n")


if __name__ == "__main__":
    _print_help()
