"""Parses chat templates as Jinja does in its sandbox, and looks for what leads out of it. Nothing is rendered.

Programs that render a template without a sandbox run what it reaches through attributes that begin with an underscore.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ptmtorrent.facts.findings.found import Findings
from ptmtorrent.model.findings import Level

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

MAX_TEMPLATE = 512 << 10
_REACHES = frozenset(
    {"mro", "subclasses", "globals", "builtins", "import", "class", "base", "bases", "init", "code", "func", "closure"}
    | {"dict", "module", "reduce", "getattribute", "getitem", "self", "loader", "spec", "call"}
)
_GATES = frozenset({"self", "lipsum", "cycler", "joiner", "request", "config", "url_for", "get_flashed_messages", "g"})


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The tag `generation` of transformers, as a block without meaning."""

        tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])


def scan_template(text: str, file: str, findings: Findings, offset: int | None = None) -> None:
    """Scan one template."""
    from jinja2 import TemplateError, nodes

    if len(text) > MAX_TEMPLATE:
        findings.add(file, "unread", "notice", "a chat template too long to be parsed", offset)
        return
    try:
        tree = _environment().parse(text)
    except (TemplateError, RecursionError, ValueError) as error:
        level: Level = "suspicious" if "__" in text else "notice"
        findings.add(file, "template", level, f"a chat template that Jinja cannot parse: {error}", offset)
        return
    for reached in dict.fromkeys(_reached(tree)):
        meaning = f"runs code when rendered outside a sandbox: the template reaches `{reached}`"
        findings.add(file, "template", "runs-code", meaning, offset)
    names = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"} & _GATES
    stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    for name in sorted(names - stored - {"config", "g", "request"}):
        findings.add(file, "template", "suspicious", f"the template uses Jinja's `{name}`", offset)
    if any(tree.find_all((nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends))):
        findings.add(file, "template", "suspicious", "the template loads another template", offset)


def _reached(tree: "nodes.Node") -> Iterator[str]:
    """Yield the underscored attributes that a template reaches, by any spelling."""
    from jinja2 import nodes

    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Const, nodes.Concat, nodes.Add)):
        match node:
            case nodes.Getattr(attr=name) if name.startswith("_"):
                yield name
            case nodes.Getattr(attr="mro" | "func_globals" | "gi_frame" | "f_globals" | "cr_frame" as name):
                yield name
            case nodes.Getitem(arg=arg) if _is_reaching(_folded(arg)):
                yield str(_folded(arg))
            case nodes.Filter(name="attr" | "map", args=args) if any(_folded(arg) is None for arg in args):
                if node.name == "attr":
                    yield "attr(…)"
            case nodes.Const() | nodes.Concat() | nodes.Add() if _is_reaching(_folded(node)):
                yield str(_folded(node))
            case _:
                pass


def _is_reaching(value: Any) -> bool:  # noqa: ANN401  # any constant
    if not isinstance(value, str):
        return False
    core = value.strip("_")
    dunder = value.startswith("__") and value.endswith("__") and core in _REACHES
    return dunder or ("__" in value and any(f"__{name}__" in value for name in _REACHES))


def _folded(node: "nodes.Node") -> Any:  # noqa: ANN401  # any constant
    """Return the constant that an expression is, texts joined; None if it is none."""
    from jinja2 import nodes

    match node:
        case nodes.Const():
            return node.value
        case nodes.Concat():
            parts = [_folded(part) for part in node.nodes]
        case nodes.Add():
            parts = [_folded(node.left), _folded(node.right)]
        case _:
            return None
    return "".join(parts) if all(isinstance(part, str) for part in parts) else None
