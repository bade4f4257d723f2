"""Python files that loaders import from a package: which they are, and what they call. They are parsed, never run."""

import ast
import re
from collections.abc import Iterator

from ptmtorrent.facts.findings.found import Findings
from ptmtorrent.facts.findings.names import is_dangerous
from ptmtorrent.model.findings import Level

MAX_CODE = 1 << 20
_LOADERS = frozenset({"hubconf.py", "handler.py", "pipeline.py"})
_CALLS = re.compile(
    r"(?:os\.(?:system|popen|exec\w+|spawn\w+|posix_spawn\w*|fork|startfile)|subprocess\.\w+|pty\.\w+|commands\.\w+|"
    r"(?:builtins\.)?(?:eval|exec|compile|__import__)|runpy\.\w+|ctypes\.\w+|"
    r"(?:c?[pP]ickle|_pickle|dill|cloudpickle|marshal)\.loads?|"
    r"socket\.(?:socket|create_connection)|urllib\.request\.\w+|requests\.(?:get|post|put|request)|"
    r"importlib\.import_module|webbrowser\.\w+|shutil\.rmtree)"
)


def is_loader(name: str) -> bool:
    """Return whether loaders import a file of this name by themselves."""
    return name.rpartition("/")[2] in _LOADERS


def scan_code(text: str, file: str, findings: Findings, *, imported: bool) -> None:
    """Scan Python source; `imported` says that a loader of the package imports it."""
    if imported:
        meaning = "code of the package, which loaders run where `trust_remote_code` is set"
        findings.add(file, "package-code", "notice", meaning)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if imported:
            findings.add(file, "package-code", "notice", f"code that Python cannot parse: {type(error).__name__}")
        return
    aliases = dict(_aliases(tree))
    inside = {id(child) for node in _functions(tree) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _dotted(node.func, aliases)
        if called is None or not _CALLS.fullmatch(called):
            continue
        when = "when called" if id(node) in inside else "when imported"
        level: Level = (
            "runs-code" if imported and when == "when imported" and is_dangerous(_whole(called)) else "suspicious"
        )
        findings.add(file, "package-code", level, f"line {node.lineno} runs `{called}` {when}")


def _functions(tree: ast.Module) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the names that imports bind, and what they are bound to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                first = name.name.partition(".")[0]
                yield (name.asname, name.name) if name.asname else (first, first)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                yield name.asname or name.name, f"{node.module}.{name.name}"


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value, aliases)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def _whole(called: str) -> str:
    return called if "." in called else f"builtins.{called}"
