"""Finds the weights that entry points of a `hubconf.py` can load, from syntax trees. Pure; no code is ever run.

Most entry points are imported from another module of their repository, which names the weights of many others too::

    from vision.models.resnet import resnet18              hubconf.py
    model_urls = {"resnet18": "https://…", …}              vision/models/resnet.py
    def resnet18(): return _resnet("resnet18", …)

So names are followed from an entry point through definitions and imports within the repository. Of a mapping, only the
values whose keys the entry point spells out are taken.
"""

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ptmtorrent.errors import HubError
from ptmtorrent.model.text import spell_size

MAX_MODULES = 64
MAX_MODULE_BYTES = 1 << 20
MAX_ALL_BYTES = 4 << 20
"""Limit of all parsed modules together (4 MiB)."""

MAX_TREE_BYTES = 64 << 20
"""Limit of the memory of all syntax trees together (64 MiB): a tree takes up to 700 times that of its text."""

_TOKEN_BYTES = 1000
"""Most memory that a word or mark of a module takes while it is parsed, measured on CPython 3.11."""

_NODE_BYTES = 700
_TOKEN = re.compile(rb"\w+|[^\w\s]")

MAX_TEXT = 2048
MAX_NESTING = 40

Module = tuple[str, ...]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass
class Source:
    """One module: its top-level definitions and its imports by local name.

    An import is a module and a name in it; without a name it is the module itself. `stars` are the modules of
    `import *`. `texts` caches the values of expressions.
    """

    definitions: dict[str, Definition] = field(default_factory=dict)
    imports: dict[str, tuple[Module, str | None]] = field(default_factory=dict)
    stars: list[Module] = field(default_factory=list)
    texts: dict[int, str | None] = field(default_factory=dict)


class Repository:
    """The modules of a repository, parsed on demand up to `MAX_MODULES`. `read` returns a file of it, or None."""

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        self._read = read
        self._known: dict[Module, Source | None] = {}
        self._bytes = 0
        self._held = 0

    def source(self, module: Module) -> Source | None:
        """Return a module; None if it is not in this repository or this Python cannot parse it."""
        if module not in self._known:
            self._known[module] = self._parse(module) if len(self._known) < MAX_MODULES else None
        return self._known[module]

    def _parse(self, module: Module) -> Source | None:
        if not all(part.isidentifier() for part in module):
            return None
        path = "/".join(module)
        for name, package in ((f"{path}.py", module[:-1]), (f"{path}/__init__.py", module)):
            for root in ("", "src/"):
                try:
                    data = self._read(f"{root}{name}")
                    self._bytes += len(data or b"")
                    if data is not None and self._bytes <= MAX_ALL_BYTES:
                        tree = parse(data, held=self._held)
                        self._held += sum(_NODE_BYTES for _ in ast.walk(tree))
                        return read_source(tree, package)
                except HubError:
                    return None
        return None


def parse(data: bytes, *, held: int = 0) -> ast.Module:
    """Return the syntax tree of a module; `held` are the bytes of memory that trees take already.

    Raises:
        HubError: this Python cannot parse it, it is too long, or its tree would take too much memory.
    """
    if len(data) > MAX_MODULE_BYTES:
        raise HubError(f"the module is {spell_size(len(data))}, over the limit of {spell_size(MAX_MODULE_BYTES)}")
    if held + sum(_TOKEN_BYTES for _ in _TOKEN.finditer(data)) > MAX_TREE_BYTES:
        raise HubError(f"the module has more parts than fit in {spell_size(MAX_TREE_BYTES)} of memory")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise HubError(f"not valid Python: {error}") from error


def read_source(tree: ast.Module, package: Module) -> Source:
    """Return the definitions of a module of `package`, and its imports, including those inside functions."""
    source = Source()
    for node in tree.body:
        if isinstance(node, Definition):
            source.definitions.update(dict.fromkeys(_defined(node), node))
    for each in ast.walk(tree):
        if isinstance(each, ast.Import):
            for alias in each.names:
                whole = tuple(alias.name.split("."))
                source.imports[alias.asname or whole[0]] = (whole if alias.asname else whole[:1], None)
        elif isinstance(each, ast.ImportFrom):
            base = package[: len(package) - each.level + 1] if each.level else ()
            origin = (*base, *(each.module.split(".") if each.module else ()))
            for alias in each.names:
                if alias.name == "*":
                    source.stars.append(origin)
                else:
                    source.imports[alias.asname or alias.name] = (origin, alias.name)
    return source


def reach(repository: Repository, start: Source, entries: Iterable[str]) -> Iterator[str]:
    """Yield the strings that the entry points of `start` can reach, unordered and with repetitions."""
    spelt: set[str] = set(entries)
    waiting: list[tuple[Source, str]] = [(start, entry) for entry in entries]
    seen: set[tuple[int, str]] = set()
    first = set(spelt)
    while waiting:
        source, name = waiting.pop()
        if (id(source), name) in seen:
            continue
        seen.add((id(source), name))
        node = source.definitions.get(name)
        if node is None:
            waiting += _imported(repository, source, name)
            continue
        if name in first and isinstance(node, ast.FunctionDef):
            spelt.update(_constants(node))
        waiting += _referred(repository, source, node)
        yield from _texts(source, _chosen(node, spelt))


def _imported(repository: Repository, source: Source, name: str) -> Iterator[tuple[Source, str]]:
    origin, there = source.imports.get(name, ((), None))
    if there is not None and (found := repository.source(origin)) is not None:
        yield found, there
    if name not in source.imports:
        for star in source.stars:
            if (found := repository.source(star)) is not None:
                yield found, name


def _referred(repository: Repository, source: Source, node: ast.AST) -> Iterator[tuple[Source, str]]:
    """Yield the names that a definition refers to: those of its own module, and `module.name`."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield source, each.id
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            origin, there = source.imports.get(each.value.id, ((), None))
            module = origin if there is None else (*origin, there)
            if module and (found := repository.source(module)) is not None:
                yield found, each.attr


def _chosen(node: Definition, spelt: set[str]) -> list[ast.AST]:
    """Return the whole definition, or of a mapping the values whose keys are in `spelt` (if any are)."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Dict):
        return [node]
    rows = [
        item
        for key, item in zip(value.keys, value.values, strict=True)
        if isinstance(key, ast.Constant) and key.value in spelt
    ]
    return list(rows) or [node]


def _texts(source: Source, nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        for each in ast.walk(node):
            found = None if isinstance(each, ast.Name) else _text(source, each, 0)
            if found is not None:
                yield found


def _text(source: Source, node: ast.AST, depth: int) -> str | None:
    """Return the string value of a constant, a name, an f-string or a sum of these; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and len(node.value) <= MAX_TEXT else None
    if depth > MAX_NESTING or not isinstance(node, ast.Name | ast.JoinedStr | ast.BinOp):
        return None
    if id(node) not in source.texts:
        source.texts[id(node)] = None  # the value while it is computed: a self-reference has none
        source.texts[id(node)] = _joined(source, node, depth)
    return source.texts[id(node)]


def _joined(source: Source, node: ast.Name | ast.JoinedStr | ast.BinOp, depth: int) -> str | None:
    parts: list[ast.AST] = []
    if isinstance(node, ast.Name):
        definition = source.definitions.get(node.id)
        value = definition.value if isinstance(definition, ast.Assign | ast.AnnAssign) else None
        parts = [] if value is None else [value]
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
    elif isinstance(node.op, ast.Add):
        parts = [node.left, node.right]
    joined = ""
    for part in parts:
        found = _text(source, part, depth + 1)
        if found is None or len(joined) + len(found) > MAX_TEXT:
            return None
        joined += found
    return joined or None


def _constants(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _defined(node: Definition) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]
