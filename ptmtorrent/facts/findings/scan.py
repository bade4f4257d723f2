"""Scans the files of one package: each by what it is, what is in archives like files, and texts by their names."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ptmtorrent.facts.findings import archives, code, headers, templates
from ptmtorrent.facts.findings.corroborate import Corroborator
from ptmtorrent.facts.findings.found import MAX_READ_BYTES, TOOL, Counted, Exhausted, Findings
from ptmtorrent.facts.findings.pickles import Walker, find_buried
from ptmtorrent.facts.findings.sniff import HEAD_BYTES, Kind, is_pickle_name, kind_of
from ptmtorrent.model.bounds import TooManyParts, check_json
from ptmtorrent.model.containers.source import ByteSource, MemorySource, NotThisFormat
from ptmtorrent.model.findings import Level, Scan, new_scan

MAX_JSON = 4 << 20
_CONFIGS = re.compile(r"(?i)(?:^|[/!])(?:[\w.-]*config[\w.-]*|chat_template[\w.-]*|.*index)\.json$")
_MARKS = (b"auto_map", b"chat_template", b"Lambda", b"custom_pipelines", b"\\u")  # the last: any of them, escaped
_CORROBORATED: frozenset[Kind] = frozenset({"pickle", "zip", "tar", "packed", "npy"})


def is_config(name: str) -> bool:
    """Return whether a JSON file of this name may name code or have a template."""
    return _CONFIGS.search(name) is not None


def needs_scan(name: str, source: ByteSource) -> bool:
    """Return whether a file has to be scanned.

    Texts that cannot name code are left out, so that most files of a package are never sent to a scanner.
    """
    if not source.size:
        return False
    kind = kind_of(name, source.read(0, HEAD_BYTES))
    if kind == "json":
        if not is_config(name):
            return False
        data = source.read(0, min(source.size, MAX_JSON))
        return source.size > MAX_JSON or any(mark in data for mark in _MARKS)
    return kind != "text" or is_pickle_name(name)


def scan_package(files: Sequence[tuple[str, ByteSource]], corroborators: Sequence[Corroborator] = ()) -> Scan:
    """Return what the rules of this folder and the `corroborators` find in the files of a package."""
    findings = Findings()
    package = _Package(findings, corroborators)
    texts = [each for each in files if each[0].lower().endswith((".json", ".py"))]
    for name, source in sorted(files, key=lambda each: each not in texts or not each[0].lower().endswith(".json")):
        package.scan(name, source)
    for name, text in package.code.items():
        stem = name.rpartition("/")[2].removesuffix(".py")
        code.scan_code(text, name, findings, imported=stem in package.imported or code.is_loader(name))
    tools = {TOOL, *(each.tool for each in package.used)}
    return new_scan(tools, findings.found)


class _Package:
    """What is known of a package while its files are scanned."""

    def __init__(self, findings: Findings, corroborators: Sequence[Corroborator]) -> None:
        self._findings = findings
        self._corroborators = corroborators
        self.used: list[Corroborator] = []
        self.imported: set[str] = set()
        self.code: dict[str, str] = {}

    def scan(self, name: str, source: ByteSource) -> None:
        """Scan one file."""
        findings = self._findings
        findings.begin()
        counted = Counted(source, findings)
        try:
            kind = self._scan(counted, name, 0)
        except Exhausted:
            meaning = f"more than {MAX_READ_BYTES >> 20} MiB would have to be read; the rest is unread"
            findings.add(name, "unread", "suspicious", meaning)
            return
        except (NotThisFormat, RecursionError, MemoryError) as error:
            findings.add(name, "unread", "suspicious", f"could not be read to its end: {type(error).__name__}")
            return
        if kind in _CORROBORATED:
            for each in self._corroborators:
                self.used.append(each)
                findings.found += each.scan(name, source)

    def _scan(self, source: ByteSource, name: str, depth: int) -> Kind:
        head = source.read(0, HEAD_BYTES)
        kind = kind_of(name, head)
        if depth > archives.MAX_DEPTH:
            self._findings.add(name, "unread", "suspicious", "archives nested too deeply to be read")
            return kind

        def inner(member: ByteSource, path: str) -> None:
            self._scan(member, path, depth + 1)

        self._dispatch(kind, source, name, head, inner)
        return kind

    def _dispatch(  # noqa: C901, PLR0912  # one case a format
        self, kind: Kind, source: ByteSource, name: str, head: bytes, inner: archives.Inner
    ) -> None:
        findings = self._findings
        match kind:
            case "pickle":
                self._pickle(source, name, head)
            case "zip":
                archives.scan_zip(source, name, findings, inner)
            case "tar":
                archives.scan_tar(source, name, findings, inner)
            case "packed":
                archives.scan_packed(source, head, name, findings, inner)
            case "7z":
                level: Level = "suspicious" if is_pickle_name(name.rpartition("!")[2]) else "notice"
                findings.add(name, "unread", level, "a 7z or rar archive, whose members are not read", 0)
            case "npy":
                headers.scan_npy(source, name, findings)
            case "hdf5":
                headers.scan_keras(source, name, findings)
            case "gguf":
                headers.scan_gguf(source, name, findings)
            case "safetensors":
                headers.scan_safetensors(source, name, findings, inner)
            case "onnx":
                headers.scan_onnx(source, name, findings)
            case "savedmodel":
                headers.scan_savedmodel(source, name, findings)
            case "python":
                self._python(source, name)
            case "json":
                self._json(source, name)
            case "template":
                templates.scan_template(_text(source, templates.MAX_TEMPLATE + 1), name, findings)
            case "text" | "binary":
                headers.search(source, name, findings)

    def _pickle(self, source: ByteSource, name: str, head: bytes) -> None:
        walker = Walker(source, name, self._findings)
        end = walker.walk(certain=head[:1] == b"\x80" or is_pickle_name(name.rpartition("!")[2]))
        for at, data in headers.pieces(source, end):
            find_buried(data, at, name, self._findings)

    def _python(self, source: ByteSource, name: str) -> None:
        if not name.endswith(".py"):
            self._findings.add(name, "package-code", "notice", "compiled code of the package, which is not read")
        elif source.size <= code.MAX_CODE:
            self.code[name] = _text(source, code.MAX_CODE)
        else:
            self._findings.add(name, "unread", "notice", "a Python file too long to be parsed")

    def _json(self, source: ByteSource, name: str) -> None:
        data = source.read(0, min(source.size, MAX_JSON + 1))
        headers.scan_keras(MemorySource(data), name, self._findings)
        try:
            tree = _tree_of(data)
        except TooManyParts:
            self._findings.add(name, "unread", "notice", "a JSON file too large to be parsed")
            headers.search(source, name, self._findings)
            return
        except (ValueError, RecursionError):
            headers.search(MemorySource(data), name, self._findings)
            return
        if not isinstance(tree, dict):
            return
        for target in _auto_map(tree):
            module = target.rpartition("--")[2].rpartition(".")[0]
            self.imported.add(module.rpartition(".")[2] or module)
            where = f" of `{target.partition('--')[0]}`" if "--" in target else ""
            meaning = f"loads `{module}.py`{where} where `trust_remote_code` is set"
            self._findings.add(name, "auto-map", "notice", meaning)
        for text in _templates(tree):
            templates.scan_template(text, name, self._findings)


def _tree_of(data: bytes) -> Any:  # noqa: ANN401  # any JSON value
    """Decode JSON as loaders do, which take NaN. Raises `TooManyParts`, `ValueError` or `RecursionError`."""
    if len(data) > MAX_JSON:
        raise TooManyParts
    check_json(data)
    return json.loads(data)


def _auto_map(tree: Mapping[str, Any]) -> list[str]:
    """Return what a configuration maps classes to: `module.Class`, or `other/package--module.Class`."""
    found: list[str] = []
    for key in ("auto_map", "custom_pipelines"):
        todo = [tree.get(key)]
        while todo and len(found) < 256:
            value = todo.pop()
            if isinstance(value, str) and "." in value:
                found.append(value)
            elif isinstance(value, dict):
                todo += value.values()
            elif isinstance(value, list):
                todo += value
    return sorted(set(found))


def _templates(tree: Mapping[str, Any]) -> list[str]:
    value = tree.get("chat_template")
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        texts = (each.get("template") for each in value[:64] if isinstance(each, dict))
        return [text for text in texts if isinstance(text, str)]
    if isinstance(value, dict):
        return [text for text in list(value.values())[:64] if isinstance(text, str)]
    return []


def _text(source: ByteSource, limit: int) -> str:
    return source.read(0, min(source.size, limit)).decode("utf-8", "replace")
